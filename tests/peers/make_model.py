"""Write what the comparison runs on: a checkpoint with random weights, latents and clips. All are the same for the same
seed; time does not depend on the numbers.

usage: make_model.py FOLDER [--small] [--latents FxHxW] [--clip FxHxW] [--seed N]

FOLDER gets model/ (config.json and weights, as diffusers saves them), clip.npy ([1, 3, T, H, W], in [-1, 1]) and three
files of unscaled `latents` [1, C, T, H, W]: latents.safetensors, tile.safetensors (three frames of a default tile) and
frame.safetensors (two frames of the size that the model is made for).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX
from safetensors.torch import save_file

LEVELS = 4
# The architecture in little, for a quick look at whether everything runs.
SMALL = {"block_out_channels": (32, 32, 64, 64), "layers_per_block": 1, "norm_num_groups": 8, "latent_channels": 16}


def sizes(text: str) -> tuple[int, int, int]:
    """`2x12x16` as frames, height and width."""
    frames, height, width = (int(part) for part in text.split("x"))
    return frames, height, width


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--small", action="store_true", help="a small model in place of the published one's size")
    parser.add_argument("--latents", type=sizes, default=(2, 12, 16), metavar="FxHxW")
    parser.add_argument("--clip", type=sizes, default=(9, 96, 128), metavar="FxHxW")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    model = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * LEVELS,
        up_block_types=("CogVideoXUpBlock3D",) * LEVELS,
        **(SMALL if arguments.small else {}),
    )
    arguments.folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(arguments.folder / "model")
    latents = torch.randn(1, model.config.latent_channels, *arguments.latents)
    save_file({"latents": latents}, arguments.folder / "latents.safetensors")
    frame = [size // 2 ** (LEVELS - 1) for size in (model.config.sample_height, model.config.sample_width)]
    for name, size in ("tile", (3, frame[0] // 2, frame[1] // 2)), ("frame", (2, *frame)):
        save_file({"latents": torch.randn(1, model.config.latent_channels, *size)}, arguments.folder / f"{name}.safetensors")
    clip = torch.rand(1, model.config.in_channels, *arguments.clip) * 2 - 1
    np.save(arguments.folder / "clip.npy", clip.numpy())


if __name__ == "__main__":
    main()
