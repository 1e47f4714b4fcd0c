"""What tests have in common: the goldens of the workspace, and sessions over them."""

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import tessera

WORKSPACE = Path(__file__).resolve().parents[3]
GOLDENS = WORKSPACE / "tests" / "goldens"

# Bounds of every golden, relative to the largest value where that is over 1.
MEAN_BOUND, MAXIMUM_BOUND = 1e-5, 2e-4


@dataclass(frozen=True)
class Case:
    """A golden case, without its activations."""

    path: Path
    metadata: dict
    tensors: dict

    @property
    def name(self):
        return f"{self.path.parent.parent.name}/{self.path.stem}"


def read_case(path):
    with safe_open(path, "np") as file:
        metadata = {key: as_json(value) for key, value in (file.metadata() or {}).items()}
        names = [name for name in file.keys() if not name.startswith("tap.")]  # noqa: SIM118
        return Case(path, metadata, {name: file.get_tensor(name) for name in names})


def as_json(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


@functools.cache
def opened(model):
    return tessera.open(GOLDENS / model, threads=2)


def assert_near(expected, found):
    expected, found = np.asarray(expected), np.asarray(found)
    assert found.shape == expected.shape
    error = np.abs(found - expected) / max(1.0, np.abs(expected).max())
    assert error.mean() <= MEAN_BOUND
    assert error.max() <= MAXIMUM_BOUND


LOOPBACK = "127.0.0.1"
# Ray's own way to stay there, read when it is imported; on Linux it looks for another address.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# A machine of the cluster, on this one.
MACHINE = {"num_cpus": 1, "node_ip_address": LOOPBACK, "object_store_memory": 100 << 20, "memory": 2 << 30}


@pytest.fixture(scope="session")
def cluster():
    """A cluster of Ray: a head that computes nothing, and two machines of a core each."""
    ray = pytest.importorskip("ray", reason="ray is not installed")
    data = pytest.importorskip("ray.data", reason="ray[data] is not installed")
    from ray.cluster_utils import Cluster

    head = {**MACHINE, "num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.machines = [cluster.add_node(**MACHINE) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    data.DataContext.get_current().enable_progress_bars = False
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="session")
def vae():
    """A small model of videos, of random weights."""
    return opened("four-level")


@pytest.fixture(scope="session")
def images():
    """A small model of images."""
    return opened("models/autoencoder-kl")


@pytest.fixture(scope="session")
def latents():
    """Latents for `vae`, which become nine frames in two steps."""
    return np.random.default_rng(0).standard_normal((1, 16, 3, 4, 6), dtype=np.float32)


@pytest.fixture(scope="session")
def long_latents():
    """Latents for `vae` that take a second or more to decode."""
    return np.random.default_rng(0).standard_normal((1, 16, 21, 24, 32), dtype=np.float32)


@pytest.fixture
def comfy(tmp_path, monkeypatch):
    """ComfyUI with an empty folder of models."""
    pytest.importorskip("torch", reason="torch is not installed")
    from comfyui_stand_in import Comfy

    found = Comfy(tmp_path)
    found.install(monkeypatch)
    return found
