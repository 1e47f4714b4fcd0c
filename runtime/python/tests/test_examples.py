"""Every file of `examples` runs, on small models."""

import importlib.util
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import GOLDENS

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MODEL = GOLDENS / "four-level"
TESTED = {
    "README.md",
    "slurm.sh",
    "kubernetes.yaml",
    "ray_cluster.py",
    "ray_data.py",
    "diffusers_pipeline.py",
}


@pytest.fixture
def latents(tmp_path):
    """Five clips, [B, C, T, H, W]."""
    folder = tmp_path / "latents"
    folder.mkdir()
    for seed in range(5):
        values = np.random.default_rng(seed).standard_normal((1, 16, 2, 4, 6), dtype=np.float32)
        np.save(folder / f"{seed}.npy", values)
    return folder


@pytest.fixture
def pipeline_latents(latents):
    """The same as `output_type="latent"` gives them, [B, T, C, H, W]."""
    for path in latents.iterdir():
        np.save(path, np.load(path).swapaxes(1, 2))
    return latents


def run(program, **environment):
    found = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environment}
    done = subprocess.run(program, env=found, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_all_of_them_are_tested_and_listed():
    names = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert names == TESTED
    listed = (EXAMPLES / "README.md").read_text()
    assert all(f"`{name}`" in listed for name in TESTED - {"README.md"})


def test_slurm(pipeline_latents, tmp_path):
    script = EXAMPLES / "slurm.sh"
    run(["bash", "-n", script])
    output = tmp_path / "clips"
    array = {"SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_COUNT": "2"}
    machine = {"SLURM_CPUS_PER_TASK": "1", "SLURM_MEM_PER_NODE": "2048"}
    tasks = [
        run([script, MODEL, pipeline_latents, output], SLURM_ARRAY_TASK_ID=task, **array, **machine)
        for task in ("3", "4", "4")
    ]
    assert tasks == ["3 clips are there\n", "2 clips are there\n", "2 clips are there\n"]
    assert sorted(path.name for path in output.iterdir()) == [f"{clip}.mp4" for clip in range(5)]


def test_kubernetes(pipeline_latents, tmp_path):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    job = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    values = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert int(values["SHARES"]) == spec["completions"]
    assert spec["completionMode"] == "Indexed"
    output = tmp_path / "clips"
    here = {"MODEL": str(MODEL), "LATENTS": str(pipeline_latents), "OUTPUT": str(output)}
    assert set(values) == {"SHARES", "THREADS", "MEBIBYTES", *here}
    for pod in range(2):
        run(
            container["command"],
            **here,
            SHARES="2",
            JOB_COMPLETION_INDEX=str(pod),
            THREADS="1",
            MEBIBYTES="2048",
        )
    assert sorted(path.name for path in output.iterdir()) == [f"{clip}.mp4" for clip in range(5)]


def example(name, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_ray(cluster, pipeline_latents, tmp_path, monkeypatch, capsys):
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    output = tmp_path / "clips"
    example("ray_cluster.py", monkeypatch, MODEL, pipeline_latents, output, "--cpus", 1)
    assert "5 clips are there" in capsys.readouterr().out
    assert sorted(path.name for path in output.iterdir()) == [f"{clip}.mp4" for clip in range(5)]


def test_ray_data(cluster, latents, tmp_path, monkeypatch):
    import ray.data

    example("ray_data.py", monkeypatch, MODEL, latents, tmp_path / "brightness")
    rows = ray.data.read_parquet(str(tmp_path / "brightness")).take_all()
    assert sorted(Path(row["path"]).name for row in rows) == [f"{clip}.npy" for clip in range(5)]
    assert all(len(row["brightness"]) == 8 for row in rows)


def test_diffusers(tmp_path):
    for module in ("torch", "diffusers", "transformers", "accelerate"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from tiny_pipelines import FAMILIES, PIPELINES, pipeline, vae_of

    spec = importlib.util.spec_from_file_location("diffusers_pipeline", EXAMPLES / "diffusers_pipeline.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert list(script.PIPELINES) == [FAMILIES[family].pipelines[kind] for family, kind in PIPELINES]
    for family, kind in PIPELINES:
        pipe = pipeline(family, kind, vae_of(family, kind))
        arguments = FAMILIES[family].arguments(kind)
        named = script.PIPELINES[FAMILIES[family].pipelines[kind]][1]
        # What the example would pass is what the pipeline takes.
        assert set(named) <= set(pipe.__call__.__wrapped__.__code__.co_varnames)
        assert {"image", "video"} & set(named) == {"image", "video"} & set(arguments)
        still = "images" if "Image" in family or family in ("FLUX", "SDXL") else "frames"
        output = tmp_path / f"{family}-{kind}.{'png' if still == 'images' else 'gif'}"
        script.make(pipe, output, num_inference_steps=2, **arguments)
        assert output.stat().st_size > 0
