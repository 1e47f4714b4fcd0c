"""Errors of Tessera and of PyTorch on the golden cases, and BENCHMARKS.md's table of them.

usage: accuracy.py --tessera PATH [--documents]
needs: pip install -r requirements.txt

f32 is judged by PyTorch in f64, bf16 by PyTorch in f32: of each, the mean and the maximum of the absolute error. --documents
rewrites what stands between `<!-- accuracy -->` and `<!-- /accuracy -->`.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKLCogVideoX
from documents import ROOT, markdown, replace
from safetensors import safe_open
from safetensors.torch import load_file, save_file

GOLDENS = ROOT / "tests" / "goldens"
# Of "trained" only the cases are kept there: its model is the one in the binary.
CHECKPOINTS = ("two-level", "four-level")


def peer(model: Path, case: dict, metadata: dict, dtype: torch.dtype) -> torch.Tensor:
    vae = AutoencoderKLCogVideoX.from_pretrained(model, torch_dtype=dtype).eval()
    if tiling := metadata.get("tiling"):
        vae.enable_tiling(
            tiling["sample_height"], tiling["sample_width"], tiling["overlap_height"], tiling["overlap_width"]
        )
    value = case["input"].to(dtype)
    with torch.inference_mode():
        if metadata["op"] == "decode":
            return vae.decode(value).sample.double()
        return vae.encode(value).latent_dist.parameters.double()


def tessera(binary: Path, model: Path, case: dict, metadata: dict, dtype: str) -> torch.Tensor:
    tiling = ["--tiling", "off"]
    if sizes := metadata.get("tiling"):
        overlap = f"{sizes['overlap_height']},{sizes['overlap_width']}"
        tiling = ["--tiling", f"{sizes['sample_height']}x{sizes['sample_width']}", "--tile-overlap", overlap]
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "input.safetensors", Path(folder) / "output.safetensors"
        if metadata["op"] == "decode":
            save_file({"latents": case["input"]}, source)
            task, key = ["decode", "--latents", source, "--unscaled", "--latents-layout", "bcthw"], "sample"
        else:
            save_file({"sample": case["input"]}, source)
            task, key = ["encode", "--video", source, "--moments"], "parameters"
        command = [binary, *task, "--model", model, "--output", output, *tiling, "--dtype", dtype, "--quiet"]
        ended = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if ended.returncode:
            raise SystemExit(ended.stderr.strip())
        return load_file(output)[key].double()


def errors(found: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    difference = (found - expected).abs()
    return difference.mean().item(), difference.max().item()


def row(name: str, binary: Path, path: Path) -> list[str]:
    model, case = path.parent.parent, load_file(path)
    with safe_open(path, "pt") as file:
        metadata = {key: json.loads(value) for key, value in file.metadata().items()}
    exact, single, half = (peer(model, case, metadata, dtype) for dtype in (torch.float64, torch.float32, torch.bfloat16))
    cells = [name]
    for expected, theirs, dtype in ((exact, single, "f32"), (single, half, "bf16")):
        ours = tessera(binary, model, case, metadata, dtype)
        both = errors(theirs, expected), errors(ours, expected)
        cells += [f"{mean:.1e}, {most:.1e}" for mean, most in both] + [f"{both[1][0] / both[0][0]:.2f}"]
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tessera", type=Path, metavar="PATH", required=True, help="the release binary")
    parser.add_argument("--documents", action="store_true", help="rewrite the table of BENCHMARKS.md")
    arguments = parser.parse_args()
    rows = []
    for checkpoint in CHECKPOINTS:
        for path in sorted((GOLDENS / checkpoint / "cases").glob("*.safetensors")):
            rows.append(row(f"{checkpoint} {path.stem}", arguments.tessera.resolve(), path))
    head = ["case", "PyTorch f32", "Tessera f32", "ratio of means", "PyTorch bf16", "Tessera bf16", "ratio of means"]
    text = markdown(head, rows)
    if arguments.documents:
        replace("BENCHMARKS.md", "accuracy", text)
    print(text)


if __name__ == "__main__":
    main()
