"""What nodes are given as a VAE: images [N, H, W, C] from 0 to 1 to latents, and back.

The methods and attributes are those of ComfyUI's own VAE that its nodes, and many others, call and
read. What it computes is in `first_stage`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from . import manager
from .first_stage import FirstStage, Half, Tiles, Tiling
from .latents import Latents

if TYPE_CHECKING:
    from tessera import Session

Ratio = int | tuple[Callable[[int], int], int, int]


class VAE:
    """A VAE that Tessera runs, on the CPU.

    Attributes:
        latent_channels: Channels of latents as ComfyUI has them.
        latent_dim: 3 where latents are [B, C, T, H, W], 2 where they are [B, C, H, W].
        output_channels: Channels of images: 3, or 4 with transparency.
        downscale_ratio: Pixels for one latent in height and width; of videos a function from frames
            to latent frames in front of them.
        upscale_ratio: The same, with the function from latent frames to frames.
        downscale_index_formula: Frames and pixels for one latent, of videos.
        upscale_index_formula: The same.
        first_stage_model: The model, with `encode` and `decode` of its own.
        patcher: What ComfyUI's manager of memory knows it by.
        device: Where it runs.
        output_device: Where results go.
        vae_dtype: The type that it computes in.

    """

    def __init__(
        self, session: Session, *, tiling: Tiling, latents_of: str, file_name: str, vae_dtype: torch.dtype
    ) -> None:
        self._settings: dict[str, Any] = {
            "tiling": tiling,
            "latents_of": latents_of,
            "file_name": file_name,
            "vae_dtype": vae_dtype,
        }
        self._session = session
        model = FirstStage(session, Latents(session, latents_of, file_name), tiling)
        self.first_stage_model = model
        self.patcher = manager.new_patcher(model, model.weight_bytes)
        model.known_as(self.patcher)

        self.device = torch.device("cpu")
        self.output_device = manager.management().intermediate_device()
        self.vae_dtype = vae_dtype
        self.working_dtypes = [torch.bfloat16, torch.float32]
        self.disable_offload = True
        self.size: int = model.weight_bytes

        self.latent_channels = model.latents.channels
        self.latent_dim = 2 if model.is_of_images or model.frames_in_batch else 3
        self.output_channels = model.output_channels
        # What images without transparency get where the model has it.
        self.pad_channel_value = 1.0
        self.crop_input = True
        self.not_video = False
        self.handles_tiling = True
        self.extra_1d_channel = None
        self.format_encoded = None

        space, time = model.space, model.time
        self.downscale_ratio: Ratio = space
        self.upscale_ratio: Ratio = space
        self.downscale_index_formula: tuple[int, int, int] | None = None
        self.upscale_index_formula: tuple[int, int, int] | None = None
        if self.latent_dim == 3:
            self.downscale_ratio = (lambda frames: model.frames_of("encoder", frames), space, space)
            self.upscale_ratio = (lambda frames: model.frames_of("decoder", frames), space, space)
            self.downscale_index_formula = self.upscale_index_formula = (time, space, space)

    def __deepcopy__(self, memo: dict[int, Any]) -> VAE:
        return VAE(self._session, **self._settings)

    def __repr__(self) -> str:
        return f"<VAE by {self._session!r}>"

    def decode(self, samples_in: torch.Tensor, vae_options: dict[str, Any] | None = None) -> torch.Tensor:
        """Decode latents to images [N, H, W, C], or [B, T, H, W, C] of videos, from 0 to 1.

        Args:
            samples_in: Latents as ComfyUI has them.
            vae_options: For decoders that are told how much noise is left in latents, `timestep` and
                `noise_scale` in place of ComfyUI's own.

        """
        return self._decode(samples_in, None, **(vae_options or {}))

    def decode_tiled(
        self,
        samples: torch.Tensor,
        tile_x: int | None = None,
        tile_y: int | None = None,
        overlap: int | None = None,
        tile_t: int | None = None,
        overlap_t: int | None = None,
    ) -> torch.Tensor:
        """Decode in tiles, whose sizes are in latents and latent frames.

        They become the nearest sizes that the model can be cut into. Along time only models are cut
        that have such tiles: others go through a clip step by step, and need none.
        """
        space, time = self.first_stage_model.space, self.first_stage_model.time
        tiles = self._tiles("decoder", (tile_y, tile_x), overlap, (tile_t, overlap_t), space, time)
        return self._decode(samples, tiles)

    def _decode(
        self,
        samples: torch.Tensor,
        tiles: Tiles | None,
        *,
        timestep: float | None = None,
        noise_scale: float | None = None,
    ) -> torch.Tensor:
        frames = self.first_stage_model.decode(
            samples, timestep=timestep, noise_scale=noise_scale, tiles=tiles
        )
        return manager.placed(self.process_output(frames)).movedim(1, -1)

    def encode(self, pixel_samples: torch.Tensor, not_video: bool | None = None) -> torch.Tensor:
        """Encode images [N, H, W, C] from 0 to 1; a model of videos takes them for one clip.

        What is left over of height and width is cut off at both sides.

        Args:
            pixel_samples: Images, or clips [B, T, H, W, C].
            not_video: Whether images are so many clips of one frame.

        """
        return self._encode(pixel_samples, None, not_video)

    def encode_tiled(
        self,
        pixel_samples: torch.Tensor,
        tile_x: int | None = None,
        tile_y: int | None = None,
        overlap: int | None = None,
        tile_t: int | None = None,
        overlap_t: int | None = None,
        not_video: bool | None = None,
    ) -> torch.Tensor:
        """Encode in tiles, whose sizes are in pixels and frames; see `decode_tiled`."""
        tiles = self._tiles("encoder", (tile_y, tile_x), overlap, (tile_t, overlap_t), 1, 1)
        return self._encode(pixel_samples, tiles, not_video)

    def _encode(self, pixels: torch.Tensor, tiles: Tiles | None, not_video: bool | None) -> torch.Tensor:
        model = self.first_stage_model
        pixels = self.vae_encode_crop_pixels(pixels).movedim(-1, 1)
        if model.is_of_images and pixels.ndim == 5:
            raise ValueError(
                f"images of shape {list(pixels.movedim(1, -1).shape)}: this VAE ({self._session.class_name}) "
                "is of images, and takes [N, H, W, C]"
            )
        if self.latent_dim == 3 and pixels.ndim == 4:
            apart = self.not_video if not_video is None else not_video
            pixels = pixels.unsqueeze(2) if apart else pixels.movedim(1, 0).unsqueeze(0)
        return manager.placed(model.encode(self.process_input(pixels), tiles=tiles))

    def _tiles(
        self,
        half: Half,
        size: tuple[int | None, int | None],
        overlap: int | None,
        along_time: tuple[int | None, int | None],
        space: int,
        time: int,
    ) -> Tiles:
        """Tiles in pixels and frames, of numbers that count so many; the model's own where one is missing."""
        usual = self._session.usual_tiles(half)
        height, width = (
            own if asked is None else asked * space for own, asked in zip(usual["size"], size, strict=True)
        )
        overlap = round(usual["overlap"][0] * height) if overlap is None else overlap * space
        frames, frame_overlap = (None if asked is None else asked * time for asked in along_time)
        return Tiles(height, width, overlap, frames, frame_overlap)

    def vae_encode_crop_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the middle of images [..., H, W, C], made of whole latents, with the model's channels."""
        space = self.first_stage_model.space
        height, width, channels = pixels.shape[-3:]
        if min(height, width) < space:
            raise ValueError(
                f"images of {width}x{height} pixels (width x height): one latent of this VAE "
                f"({self._session.class_name}) is made of {space}x{space}; enlarge them"
            )
        for axis, size in ((-3, height), (-2, width)):
            pixels = pixels.narrow(axis, size % space // 2, size // space * space)
        wanted = self.first_stage_model.input_channels
        if channels == 3 and wanted == 4:
            # Opaque.
            return torch.nn.functional.pad(pixels, (0, 1), value=self.pad_channel_value)
        return pixels[..., :wanted]

    @staticmethod
    def process_input(image: torch.Tensor) -> torch.Tensor:
        """From 0 to 1, to from -1 to 1."""
        return image * 2.0 - 1.0

    @staticmethod
    def process_output(image: torch.Tensor) -> torch.Tensor:
        """From -1 to 1, to from 0 to 1, in place."""
        return image.add_(1.0).div_(2.0).clamp_(0.0, 1.0)

    def spacial_compression_decode(self) -> int:
        """Pixels for one latent, in height and width."""
        return self.first_stage_model.space

    def spacial_compression_encode(self) -> int:
        """Pixels for one latent, in height and width."""
        return self.first_stage_model.space

    def temporal_compression_decode(self) -> int | None:
        """Frames for one latent frame; None where latents have no axis of time."""
        return self.first_stage_model.time if self.latent_dim == 3 else None

    def memory_used_decode(self, shape: Any, dtype: torch.dtype | None = None) -> int:
        """Bytes that whole frames of latents of this shape take; types of tensors change nothing."""
        return self._memory("decoder", shape)

    def memory_used_encode(self, shape: Any, dtype: torch.dtype | None = None) -> int:
        """Bytes that whole images of this shape, channels in front of height and width, take."""
        return self._memory("encoder", shape)

    def _memory(self, half: Half, shape: Any) -> int:
        return self.first_stage_model.memory_of(half, tuple(int(size) for size in shape))

    def model_size(self) -> int:
        """Bytes of the weights, as the file has them."""
        return self.size

    def throw_exception_if_invalid(self) -> None:
        """Do nothing: what is no VAE was refused when it was opened."""

    def vae_output_dtype(self) -> torch.dtype:
        """The type of results."""
        return manager.placed(torch.empty(0)).dtype

    def is_dynamic(self) -> bool:
        """Whether ComfyUI streams the weights to its device: it does not."""
        return False

    def get_sd(self) -> dict[str, torch.Tensor]:
        """Return all weights, as the file has them."""
        return self._session.state_dict()
