"""Errors of PyTorch's bf16 on the golden cases of tests/goldens/models, which ours are compared with (tests/tests/models.rs).

usage: bfloat16.py [--models NAME,...]
needs: pip install -r requirements.txt

Of every case that is not tiled: the mean of the absolute error of the model and its input in bf16, from the case's output, which is
PyTorch's in f32; relative to the largest value where that is over 1. Writes tests/goldens/models/bfloat16.json.
"""

import argparse
import json

import diffusers
import torch
from documents import ROOT
from safetensors import safe_open

GOLDENS = ROOT / "tests" / "goldens" / "models"


def direct(vae: torch.nn.Module, op: str, value: torch.Tensor) -> torch.Tensor:
    """What the halves of AutoencoderKLAllegro make, which as a whole runs in tiles alone."""

    def by_frames(convolution: torch.nn.Module, video: torch.Tensor) -> torch.Tensor:
        images = convolution(video.permute(0, 2, 1, 3, 4).flatten(0, 1))
        return images.unflatten(0, (len(video), -1)).permute(0, 2, 1, 3, 4)

    with torch.inference_mode():
        if op == "decode":
            return vae.decoder(by_frames(vae.post_quant_conv, value))
        return by_frames(vae.quant_conv, vae.encoder(value))


def result(vae: torch.nn.Module, metadata: dict, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the model makes of a case's input, with the noise that the case drew."""
    given = {name: tensors[name] for name in ("temb",) if name in tensors}
    if "num_frames" in metadata:
        given["num_frames"] = metadata["num_frames"]
    if isinstance(vae, diffusers.AutoencoderKLAllegro):
        return direct(vae, metadata["op"], tensors["input"].to(vae.dtype))
    drawn = iter(sorted((name for name in tensors if name.startswith("noise.")), key=lambda name: int(name.split(".")[1])))
    randn, value = torch.randn, tensors["input"].to(vae.dtype)
    torch.randn = lambda *sizes, **options: tensors[next(drawn)].to(options.get("dtype") or torch.float32).clone()
    try:
        with torch.inference_mode():
            if metadata["op"] == "decode":
                return vae.decode(value, **given).sample
            found = vae.encode(value)
    finally:
        torch.randn = randn
    found = next(getattr(found, field) for field in ("latent_dist", "latent", "latents") if hasattr(found, field))
    return getattr(found, "parameters", found)


def errors(name: str) -> dict[str, float]:
    folder = GOLDENS / name
    cls = json.loads((folder / "config.json").read_text())["_class_name"]
    found = {}
    for path in sorted((folder / "cases").glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            metadata = {key: json.loads(value) for key, value in file.metadata().items()}
            tensors = {key: file.get_tensor(key) for key in file.keys() if not key.startswith("tap.")}
        if "tiling" in metadata:
            continue
        vae = getattr(diffusers, cls).from_pretrained(folder, torch_dtype=torch.bfloat16).eval()
        for key, value in metadata.get("attributes", {}).items():
            setattr(vae, key, tuple(value) if isinstance(value, list) else value)
        try:
            difference = (result(vae, metadata, tensors).double() - tensors["output"].double()).abs().mean().item()
        except RuntimeError as error:
            print(f"{name} {path.stem}: PyTorch cannot in bf16: {error}")
            continue
        found[path.stem] = float(f"{difference / max(1.0, tensors['output'].abs().max().item()):.3e}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = sorted(path.parent.name for path in GOLDENS.glob("*/config.json"))
    parser.add_argument("--models", type=lambda text: text.split(","), default=every, metavar="NAME,...")
    arguments = parser.parse_args()
    output = GOLDENS / "bfloat16.json"
    known = json.loads(output.read_text()) if output.exists() else {}
    known |= {name: errors(name) for name in arguments.models}
    output.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n")


if __name__ == "__main__":
    main()
