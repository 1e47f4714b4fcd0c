"""Types and style of the package, where mypy and ruff are installed."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1]


def check(module, *arguments):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    program = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(program, cwd=PACKAGE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_types():
    check("mypy", "--strict", "tessera", "comfyui")


def test_style():
    check("ruff", "check", ".")
    check("ruff", "format", "--check", ".")
