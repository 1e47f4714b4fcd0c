"""Files of small models that stand in for a VAE: what they are called, and whose latents they take.

They take them scaled, and ComfyUI has undone the scaling: `latents` does it again. Here are names
alone, and no torch.
"""

from __future__ import annotations

from pathlib import PurePath

BY_NAME = "by the file's name"
AS_THEY_ARE = "as they are"

# What files begin with, the longer names first, and the published model whose latents they take.
_BEGINNINGS = (
    ("taesdxl", "SDXL"),
    ("taesd3", "SD-3"),
    ("taesd", "SD-1.5"),
    ("taef1", "FLUX.1"),
    ("taew2_1", "Wan-2.1"),
    ("taew2_2", "Wan-2.2"),
    ("taehv1_5", "HunyuanVideo-1.5"),
    ("lighttaehy1_5", "HunyuanVideo-1.5"),
    ("taehv", "HunyuanVideo"),
    # Trained on latents as the large VAE takes them.
    ("lighttaew", AS_THEY_ARE),
    # That VAE undoes the scaling by itself: ComfyUI's latents are still scaled.
    ("taeltx", AS_THEY_ARE),
)

CHOICES = (BY_NAME, AS_THEY_ARE, *dict.fromkeys(model for _, model in _BEGINNINGS if model != AS_THEY_ARE))


def model_of(file_name: str) -> str | None:
    """Whose latents a file of this name takes, or None if no small model is called so."""
    name = PurePath(file_name).name.lower()
    return next((model for beginning, model in _BEGINNINGS if name.startswith(beginning)), None)


def pairs(files: list[str]) -> dict[str, tuple[str, str]]:
    """Of files of one half each, encoder and decoder by what they are called together."""
    halves: dict[str, dict[str, str]] = {}
    for file in files:
        for half in ("encoder", "decoder"):
            stem, found, _ = file.partition(f"_{half}.")
            if found:
                halves.setdefault(stem, {})[half] = file
    return {
        stem: (both["encoder"], both["decoder"])
        for stem, both in halves.items()
        if len(both) == 2 and model_of(stem) is not None
    }
