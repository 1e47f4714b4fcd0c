"""The model in the VAE: latents as ComfyUI has them to frames from -1 to 1, channels first, and back.

What is here is what ComfyUI's own `first_stage_model` does, for nodes that call that directly, and
for `vae`, which brings images to it. It chooses tiles, and tells ComfyUI's manager of memory.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

import tessera

from . import manager
from .latents import Latents

if TYPE_CHECKING:
    from tessera import Session

_logger = logging.getLogger("tessera.comfyui")

Half = Literal["decoder", "encoder"]
Tiling = Literal["as memory requires", "never", "the model's own"]

# What ComfyUI's own VAE tells decoders that are told how much noise is left in their latents, and how
# much of it is mixed into them.
_TIMESTEP = 0.05
_NOISE_SCALE = 0.025
# Of that noise: a node that runs twice gives the same frames.
_SEED = 0

# What a call may need when it is asked what it needs; no machine has so much.
_ANY_MEMORY = 1 << 50


# Height and width of an input that every model takes.
_SIDE = 256


@dataclass(frozen=True)
class Tiles:
    """Tiles that a node asks for, in pixels and in frames."""

    height: int
    width: int
    overlap: int
    frames: int | None = None
    frame_overlap: int | None = None


class FirstStage(torch.nn.Module):
    """A model, with no tensor of torch in it."""

    def __init__(self, session: Session, latents: Latents, tiling: Tiling) -> None:
        super().__init__()
        self.session = session
        self.latents = latents
        self.tiling = tiling
        info = session.info()
        self.is_of_images = session.is_of_images
        self.frames_in_batch: bool = info["latents"]["frames_in_batch"]
        self.takes_timestep = "timestep" in info["conditions"]["decoder"]
        self.input_channels: int = info["channels"]["input"]
        self.output_channels: int = info["channels"]["output"]
        self.time: int = info["compression"]["time"]
        # Pixels for one of ComfyUI's latents, which may be patches of the model's.
        self.space: int = info["compression"]["space"] * latents.patch
        self.per_channel_statistics = latents.statistics()
        self.weight_bytes = sum(part["bytes"] for part in info["weights"]["sums"])
        # Not held: ComfyUI takes for a leak what refers in a circle.
        self._patcher: Callable[[], Any] = lambda: None

    def known_as(self, patcher: Any) -> None:
        """Name what ComfyUI's manager knows this model by."""
        self._patcher = weakref.ref(patcher)

    def decode(
        self,
        z: torch.Tensor,
        *,
        timestep: float | None = None,
        noise_scale: float | None = None,
        tiles: Tiles | None = None,
    ) -> torch.Tensor:
        """Decode latents to frames, [B, C, T, H, W] or [B, C, H, W].

        Args:
            z: Latents as ComfyUI's VAE takes them. Of a model of images [B, C, H, W]; of videos
                [B, C, T, H, W], or [B, C, H, W], which are clips of one latent frame. Of a model
                whose latents have their frames in the batch, [T, C, H, W].
            timestep: For decoders that are told how much noise is left in latents, by default 0.05.
            noise_scale: How much noise is mixed into the latents of such ones, by default 0.025.
            tiles: In place of those that follow from the memory.

        """
        z = z.detach().to("cpu", torch.float32)
        if z.ndim not in (4, 5) or z.shape[1] != self.latents.channels:
            axes = "[B, C, H, W]" if self.is_of_images else "[B, C, T, H, W]"
            raise ValueError(
                f"latents of shape {list(z.shape)}: this VAE ({self.session.class_name}) takes {axes} with "
                f"{self.latents.channels} channels; is it the VAE of the model that made them?"
            )
        options: dict[str, Any] = {}
        if self.takes_timestep:
            options["timestep"] = _TIMESTEP if timestep is None else float(timestep)
            share = _NOISE_SCALE if noise_scale is None else float(noise_scale)
            noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(_SEED))
            z = noise * share + (1.0 - share) * z
        elif timestep is not None or noise_scale is not None:
            raise ValueError(
                f"timestep, noise_scale: this VAE ({self.session.class_name}) is not told how much noise "
                "is left"
            )
        clip, is_frames = self._clip(z)
        clip = self.latents.to_model(clip)
        frames = self.session.decode(clip, **options, **self._run(clip, "decoder", tiles))
        return self._unclipped(frames, is_frames)

    def encode(self, x: torch.Tensor, *, tiles: Tiles | None = None) -> torch.Tensor:
        """Encode frames, with the axes that `decode` gives them, to latents as ComfyUI has them.

        They are the mean of what the model gives.
        """
        x = x.detach().to("cpu", torch.float32)
        if x.ndim not in (4, 5) or x.shape[1] != self.input_channels:
            raise ValueError(
                f"images of {x.shape[1]} channels: this VAE ({self.session.class_name}) takes "
                f"{self.input_channels}"
            )
        clip, is_frames = self._clip(x)
        latents = self.session.encode(clip, **self._run(clip, "encoder", tiles))
        return self._unclipped(self.latents.from_model(latents), is_frames)

    def _clip(self, tensor: torch.Tensor) -> tuple[torch.Tensor, bool]:
        """A tensor with the axes of the session, and whether its frames were in the batch, or it had none."""
        if self.is_of_images:
            # A model of videos made these latents, of images: one frame each.
            return (tensor[:, :, 0] if tensor.ndim == 5 else tensor), False
        if tensor.ndim == 5:
            return tensor, False
        return (tensor.swapaxes(0, 1)[None] if self.frames_in_batch else tensor[:, :, None]), True

    def _unclipped(self, tensor: torch.Tensor, is_frames: bool) -> torch.Tensor:
        if not is_frames:
            return tensor
        if self.frames_in_batch:
            return tensor[0].swapaxes(0, 1)
        # More than one where the decoder makes several of the first latent frame.
        return tensor[:, :, 0] if tensor.shape[2] == 1 else tensor

    def _run(self, clip: torch.Tensor, half: Half, tiles: Tiles | None) -> dict[str, Any]:
        """The options of a call over a clip, for which there is room if there can be."""
        shape = tuple(clip.shape)
        # Before the manager is asked for anything.
        told = manager.watched()
        options = self._whole(clip, half) if tiles is None else self._tiled(clip, half, tiles)
        if tiles is None and self.tiling == "the model's own":
            options = {"tiling": "default"}
        patcher = self._patcher()
        if patcher is not None:
            manager.make_room(patcher, self.memory(half, shape, options))
        if tiles is None and self.tiling == "as memory requires" and not self._fits(half, shape, options):
            options = {"tiling": "auto"}
            text = self.session.plan(shape, half=half, **options)["tiling"]["text"]
            _logger.info("%s: %s", self.session.class_name, text)
        return {**options, "progress": told}

    def _whole(self, clip: torch.Tensor, half: Half) -> dict[str, Any]:
        """Whole frames and whole clips, as ComfyUI's VAEs take them."""
        options: dict[str, Any] = {"tiling": "off", "tile_frames": "off"}
        if self.frames_in_batch and half == "decoder":
            # Its decoder looks at so many frames at once.
            options["step_frames"] = max(clip.shape[2], 1)
        return options

    def _tiled(self, clip: torch.Tensor, half: Half, tiles: Tiles) -> dict[str, Any]:
        """Tiles that were asked for, or the nearest that the model can be cut into."""
        scale = self.space // self.latents.patch if half == "decoder" else 1
        frame = [size * scale for size in clip.shape[-2:]]
        sizes = [self._nearest(size) for size in (tiles.height, tiles.width)]
        options = {**self._whole(clip, half), **self._along_time(clip, half, tiles)}
        while any(size < pixels for size, pixels in zip(sizes, frame, strict=True)):
            # Half of each tile at least is its own.
            strides = [size - min(self._whole_units(tiles.overlap), size // 2) for size in sizes]
            cut = {"tiling": sizes, "tile_stride": [self._nearest(stride) for stride in strides]}
            try:
                self.memory(half, tuple(clip.shape), {**options, **cut})
            except tessera.OptionError as error:
                # What is left over at the border would be less than the model takes.
                _logger.info("%s: larger tiles: %s", self.session.class_name, error)
                sizes = [size + self.space for size in sizes]
            else:
                return {**options, **cut}
        return options

    def _along_time(self, clip: torch.Tensor, half: Half, tiles: Tiles) -> dict[str, Any]:
        """Tiles along time, of models that have them: others go through a clip step by step."""
        if tiles.frames is None or self.session.usual_tiles(half)["frames"] is None:
            return {}
        count = clip.shape[2] * (self.time if half == "decoder" else 1)
        length = max(tiles.frames // self.time, 1) * self.time
        overlap = min((tiles.frame_overlap or 0) // self.time * self.time, length - self.time)
        return {"tile_frames": (length, length - overlap)} if length < count else {}

    def _whole_units(self, pixels: int) -> int:
        return pixels // self.space * self.space

    def _nearest(self, pixels: int) -> int:
        """The nearest size that is made of whole latents."""
        return max(self._whole_units(pixels + self.space // 2), self.space)

    def memory(self, half: Half, shape: tuple[int, ...], options: dict[str, Any] | None = None) -> int:
        """Bytes that a call over an input of this shape takes beside what the process holds."""
        options = options or {"tiling": "off", "tile_frames": "off"}
        plan = self.session.plan(shape, half=half, **{**options, "memory": _ANY_MEMORY})
        parts = plan["tiling"]["memory"]
        return int(parts["total"] - parts["process"])

    def memory_of(self, half: Half, shape: tuple[int, ...]) -> int:
        """Bytes that whole frames take, of an input with the shape that ComfyUI has it in."""
        clip, _ = self._clip(torch.empty(shape, device="meta"))
        if half == "decoder":
            clip = torch.nn.functional.pixel_shuffle(clip, self.latents.patch)
        return self.memory(half, tuple(clip.shape))

    def frames_of(self, half: Half, count: int) -> int:
        """How many frames a half makes of so many."""
        channels = self.session.info()["channels"]["latents"] if half == "decoder" else self.input_channels
        try:
            return self.session.result_shape((1, channels, count, _SIDE, _SIDE), half=half)[2]
        except tessera.InputError:
            # Fewer than one latent frame is made of.
            return 0

    def _fits(self, half: Half, shape: tuple[int, ...], options: dict[str, Any]) -> bool:
        try:
            self.session.plan(shape, half=half, **options)
        except tessera.BudgetError:
            return False
        return True
