"""The lines that the documents show run as they stand there."""

import re

import numpy as np
import pytest
from conftest import WORKSPACE


def block(document, number=0):
    """A block of Python of a document."""
    text = (WORKSPACE / document).read_text()
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[number]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the demo's model, under the name that the documents use."""
    (tmp_path / "CogVideoX-2b").symlink_to(WORKSPACE / "runtime" / "demo")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small():
    """Latents for it."""
    return np.random.default_rng(0).standard_normal((1, 16, 2, 6, 8), dtype=np.float32)


def test_the_ten_lines(workplace, small, capsys):
    exec(block("docs/PYTHON.md").replace("threads=8", "threads=2"), {"latents": small})
    assert (workplace / "clip.mp4").exists()
    assert "whole frames" in capsys.readouterr().out


def test_the_readme(workplace, small):
    code, _, drop_in = block("README.md").partition("import tessera.diffusers")
    exec(code, {"latents": small})
    assert (workplace / "clip.mp4").exists()
    assert "accelerate(pipe)" in drop_in


@pytest.fixture
def latents(workplace, small):
    """A folder of latents as a pipeline keeps them."""
    folder = workplace / "latents"
    folder.mkdir()
    for clip in range(2):
        np.save(folder / f"{clip}.npy", small.swapaxes(1, 2))
    return folder


def test_a_folder(workplace, latents):
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    exec(block("docs/PYTHON.md", 1).replace("share=(0, 8)", "share=(0, 1)"))
    assert sorted(path.name for path in (workplace / "clips").iterdir()) == ["0.mp4", "1.mp4"]


def test_folders_on_a_cluster(cluster, workplace, latents, capsys):
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    exec(block("docs/PYTHON.md", 2))
    (workplace / "clips" / "1.mp4").unlink()
    # Ray Data's actors run elsewhere, and take paths by which they find things there.
    lines = block("docs/PYTHON.md", 3)
    for name in ("latents/0.npy", "latents/1.npy", "CogVideoX-2b", "clips/"):
        lines = lines.replace(f'"{name}"', repr(str(workplace / name)))
    exec(lines)
    assert sorted(path.name for path in (workplace / "clips").iterdir()) == ["0.mp4", "1.mp4"]
    assert "'error': ''" in capsys.readouterr().out
