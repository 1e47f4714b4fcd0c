"""The node: which files there are, what its inputs mean, and what to do where Tessera is missing.

Files are those of ComfyUI's own Load VAE. Small image models come as a file of each half there, and
are opened as one, from a copy that goes with the VAE.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .small_models import BY_NAME, CHOICES, model_of, pairs

if TYPE_CHECKING:
    from .first_stage import Tiling

_MISSING = (
    "Tessera's package for Python is not installed. In ComfyUI's environment, `pip install "
    "./runtime/python` from a checkout of Tessera builds it, which takes a Rust toolchain and some minutes."
)

if importlib.util.find_spec("tessera") is None:
    logging.getLogger("tessera.comfyui").warning("Load VAE (Tessera): %s", _MISSING)

_PRECISIONS = ("auto", "f32", "bf16")
_TILINGS = ("as memory requires", "never", "the model's own")


class LoadVAE:
    """Load VAE (Tessera)."""

    DESCRIPTION = "Loads a VAE that runs on the CPU, compiled by Tessera; for the nodes that take any VAE."
    CATEGORY = "loaders"
    RETURN_TYPES = ("VAE",)
    OUTPUT_TOOLTIPS = ("For VAE Decode, VAE Encode, both in tiles, and for inpainting.",)
    FUNCTION = "load_vae"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Return the inputs, as ComfyUI asks for them."""
        return {
            "required": {
                "vae_name": (_names(), {"tooltip": "A file in models/vae or models/vae_approx."}),
                "precision": (
                    _PRECISIONS,
                    {
                        "default": "auto",
                        "tooltip": "What is computed in. auto: f32, or bf16 where ComfyUI was started with "
                        "--bf16-vae, which takes half the memory for what is in between.",
                    },
                ),
                "tiling": (
                    _TILINGS,
                    {
                        "default": "as memory requires",
                        "tooltip": "Of VAE Decode and VAE Encode: whole frames and whole clips where they "
                        "fit the memory, only those, or the tiles that the model's authors cut.",
                    },
                ),
                "threads": (
                    "INT",
                    {"default": 0, "min": 0, "max": 1024, "tooltip": "0: as many as the machine offers."},
                ),
            },
            "optional": {
                "latents_of": (
                    CHOICES,
                    {
                        "default": BY_NAME,
                        "advanced": True,
                        "tooltip": "Of small models that stand in for a VAE: whose latents they take.",
                    },
                ),
            },
        }

    def load_vae(
        self,
        vae_name: str,
        precision: str = "auto",
        tiling: Tiling = "as memory requires",
        threads: int = 0,
        latents_of: str = BY_NAME,
    ) -> tuple[Any]:
        """Open a file as a VAE.

        Raises:
            RuntimeError: Tessera is not installed.
            FileNotFoundError: There is no such file.

        """
        try:
            import tessera
        except ImportError as error:
            raise RuntimeError(f"{_MISSING} ({error})") from error
        import torch

        from . import manager
        from .vae import VAE

        if precision == "auto":
            precision = "bf16" if manager.computing_type() == torch.bfloat16 else "f32"
        options: dict[str, Any] = {"precision": precision, "threads": threads or None}
        halves = _pairs().get(vae_name)
        if halves is None:
            session = tessera.open(_path(vae_name), **options)
        else:
            folder = tempfile.TemporaryDirectory(prefix="tessera-")
            try:
                session = tessera.open(
                    _joined(halves, Path(folder.name) / f"{vae_name}.safetensors"), **options
                )
            except BaseException:
                folder.cleanup()
                raise
            weakref.finalize(session, folder.cleanup)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        return (VAE(session, tiling=tiling, latents_of=latents_of, file_name=vae_name, vae_dtype=dtype),)


def _files(kind: str) -> list[str]:
    import folder_paths

    found: list[str] = folder_paths.get_filename_list(kind)
    return list(found)


def _pairs() -> dict[str, tuple[str, str]]:
    return pairs(_files("vae_approx"))


def _names() -> list[str]:
    """The files that there are, and the pairs of them."""
    both = _pairs()
    halves = {half for pair in both.values() for half in pair}
    small = [file for file in _files("vae_approx") if file not in halves and model_of(file) is not None]
    return list(dict.fromkeys([*_files("vae"), *small, *both]))


def _path(name: str) -> str:
    import folder_paths

    for kind in ("vae", "vae_approx"):
        if name in _files(kind):
            path: str = folder_paths.get_full_path(kind, name)
            return path
    raise FileNotFoundError(f"vae_name: no file {name!r} in models/vae or models/vae_approx")


def _joined(halves: tuple[str, str], path: Path) -> Path:
    """Write a file of both halves, each under a prefix of its own."""
    import comfy.utils
    import folder_paths
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {}
    for prefix, file in zip(("taesd_encoder", "taesd_decoder"), halves, strict=True):
        stored = comfy.utils.load_torch_file(folder_paths.get_full_path("vae_approx", file), safe_load=True)
        tensors |= {f"{prefix}.{name}": tensor.contiguous() for name, tensor in stored.items()}
    save_file(tensors, path)
    return path
