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
