"""What of ComfyUI Tessera's nodes touch, as its published interface has it: PyPI does not have ComfyUI.

`install` puts modules under ComfyUI's names, which note what is asked of them; the functions below
call a VAE as its stock nodes do.
"""

import math
import os
import sys
import types
import weakref
from pathlib import Path
from typing import ClassVar

import torch


class InterruptProcessingException(Exception):
    """What ComfyUI's button raises."""


class LoadedModel:
    """A model that the manager has loaded."""

    def __init__(self, patcher):
        self._patcher = weakref.ref(patcher)
        self.device = patcher.load_device

    @property
    def model(self):
        return self._patcher()


class ModelPatcher:
    """What the manager knows a model by."""

    def __init__(self, model, load_device, offload_device, size=0, weight_inplace_update=False):
        self.model, self.size = model, size
        self.load_device, self.offload_device = load_device, offload_device

    def model_size(self):
        return self.size

    def detach(self, unpatch_all=True):
        return self.model


class Manager(types.ModuleType):
    """`comfy.model_management`, of a machine without an accelerator."""

    InterruptProcessingException = InterruptProcessingException

    def __init__(self):
        super().__init__("comfy.model_management")
        self.current_loaded_models = []
        self.asked = []
        self.interrupted_at = math.inf
        self.looked = 0
        self.bf16_vae = False
        self.fp16_intermediates = False

    def load_models_gpu(self, models, memory_required=0, force_patch_weights=False):
        self.asked.append(("load", memory_required))
        for model in models:
            if all(loaded.model is not model for loaded in self.current_loaded_models):
                self.current_loaded_models.insert(0, LoadedModel(model))

    def free_memory(self, memory_required, device, keep_loaded=()):
        self.asked.append(("free", memory_required))
        for loaded in [one for one in self.current_loaded_models if one not in keep_loaded]:
            if loaded.device == device:
                self.current_loaded_models.remove(loaded)
                if loaded.model is not None:
                    loaded.model.detach()

    def throw_exception_if_processing_interrupted(self):
        self.looked += 1
        if self.looked > self.interrupted_at:
            self.interrupted_at = math.inf
            raise InterruptProcessingException

    def intermediate_device(self):
        return torch.device("cpu")

    def intermediate_dtype(self):
        return torch.float16 if self.fp16_intermediates else torch.float32

    def vae_dtype(self, device=None, allowed_dtypes=()):
        return torch.bfloat16 if self.bf16_vae else torch.float32


class ProgressBar:
    """ComfyUI's bar; `shown` has all that any of them was told."""

    shown: ClassVar[list[float]] = []

    def __init__(self, total, node_id=None):
        self.total = total

    def update_absolute(self, value, total=None, preview=None):
        self.total = total or self.total
        self.shown.append(value / self.total)


class Comfy:
    """The modules, and the folder of models."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.manager = Manager()
        for kind in ("vae", "vae_approx"):
            (self.folder / kind).mkdir(parents=True, exist_ok=True)

    def files(self, kind):
        root = self.folder / kind
        walked = os.walk(root, followlinks=True)
        found = (Path(folder, name).relative_to(root) for folder, _, names in walked for name in names)
        return sorted(str(path) for path in found if path.suffix in (".safetensors", ".pth", ".pt"))

    def modules(self):
        def module(name, **members):
            made = types.ModuleType(name)
            vars(made).update(members)
            return made

        def load_torch_file(path, safe_load=False):
            from safetensors.torch import load_file

            return load_file(path)

        utils = module("comfy.utils", ProgressBar=ProgressBar, load_torch_file=load_torch_file)
        patcher = module("comfy.model_patcher", ModelPatcher=ModelPatcher)
        members = {"model_management": self.manager, "utils": utils, "model_patcher": patcher}
        paths = module(
            "folder_paths",
            get_filename_list=self.files,
            get_full_path=lambda kind, name: str(self.folder / kind / name),
        )
        under = {f"comfy.{name}": found for name, found in members.items()}
        return {"comfy": module("comfy", **members), **under, "folder_paths": paths}

    def install(self, monkeypatch):
        ProgressBar.shown = []
        for name, module in self.modules().items():
            monkeypatch.setitem(sys.modules, name, module)


def as_frames(images):
    """Images of all clips in one row, as IMAGE has them."""
    return images.reshape(-1, *images.shape[-3:]) if images.ndim == 5 else images


def vae_decode(vae, latent):
    return as_frames(vae.decode(latent))


def vae_decode_tiled(vae, latent, tile_size=512, overlap=64, temporal_size=64, temporal_overlap=8):
    overlap = min(overlap, tile_size // 4)
    time = vae.temporal_compression_decode()
    along_time = {"tile_t": None, "overlap_t": None}
    if time is not None:
        if temporal_size < 2 * temporal_overlap:
            temporal_overlap //= 2
        tile_t = max(2, temporal_size // time)
        along_time = {"tile_t": tile_t, "overlap_t": max(1, min(tile_t // 2, temporal_overlap // time))}
    space = vae.spacial_compression_decode()
    tile = tile_size // space
    images = vae.decode_tiled(latent, tile_x=tile, tile_y=tile, overlap=overlap // space, **along_time)
    return as_frames(images)


def vae_encode(vae, pixels):
    return vae.encode(pixels)


def vae_encode_tiled(vae, pixels, tile_size=512, overlap=64, temporal_size=64, temporal_overlap=8):
    along_time = {"tile_t": temporal_size, "overlap_t": temporal_overlap}
    return vae.encode_tiled(pixels, tile_x=tile_size, tile_y=tile_size, overlap=overlap, **along_time)


def vae_encode_for_inpaint(vae, pixels, mask, grow_mask_by=6):
    """Latents of the images with what the mask covers grey, and the mask cut as they are, grown."""
    space = vae.spacial_compression_encode()
    height, width = pixels.shape[1:3]
    mask = torch.nn.functional.interpolate(
        mask.reshape(-1, 1, *mask.shape[-2:]), size=(height, width), mode="bilinear"
    )
    rows, columns = (
        slice(size % space // 2, size % space // 2 + size // space * space) for size in (height, width)
    )
    pixels, mask = pixels[:, rows, columns].clone(), mask[:, :, rows, columns].round()
    grown = mask
    if grow_mask_by:
        kernel = torch.ones(1, 1, grow_mask_by, grow_mask_by)
        padding = math.ceil((grow_mask_by - 1) / 2)
        grown = torch.nn.functional.conv2d(mask, kernel, padding=padding).clamp(0, 1)
    kept = 1 - mask[:, 0, :, :, None]
    pixels[..., :3] = (pixels[..., :3] - 0.5) * kept + 0.5
    return vae.encode(pixels), grown[:, :, : pixels.shape[1], : pixels.shape[2]]
