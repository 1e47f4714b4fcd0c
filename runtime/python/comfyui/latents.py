"""What ComfyUI has done to latents before a VAE sees them, and what the model needs done to them.

ComfyUI undoes a model's scaling in front of the VAE where the numbers are the diffusion model's
(`latent_formats`), and leaves it to the VAE where they are in the VAE's own file. Small models that
stand in for a VAE take its latents scaled, so that what was undone is done again: by whose numbers,
`small_models` tells from the file's name.

Axes, devices and types are the caller's (`first_stage`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from .small_models import AS_THEY_ARE, BY_NAME, model_of

if TYPE_CHECKING:
    from tessera import Session

_logger = logging.getLogger("tessera.comfyui")


class Latents:
    """The latents of one model, as ComfyUI has them and as a session takes them.

    Tensors are [B, C, H, W] of models of images and [B, C, T, H, W] of models of videos, in f32, on
    the CPU.
    """

    def __init__(self, session: Session, latents_of: str, file_name: str) -> None:
        info = session.info()
        self._session = session
        self._unscaling = info["latents"]["unscaling"]
        numbers = session.latent_scaling()
        # Only where the VAE undoes the scaling are latents in patches, which its numbers are of.
        self.patch: int = numbers["patch"] if self._unscaling == "inside" else 1
        self._frames: int = numbers["frames"]
        self.channels: int = info["channels"]["latents"] * self.patch**2
        self.stands_for = AS_THEY_ARE
        self._numbers: dict[str, Any] | None = None
        if self._unscaling == "nowhere":
            self.stands_for = _stands_for(info, latents_of, file_name)
            if self.stands_for != AS_THEY_ARE:
                self._numbers = _published(self.stands_for, self.channels)
        elif latents_of not in (BY_NAME, AS_THEY_ARE):
            raise ValueError(
                f"latents_of: {info['class']} stands in for no other model: leave it at {BY_NAME!r}"
            )

    def to_model(self, latents: torch.Tensor) -> torch.Tensor:
        """ComfyUI's latents as the session decodes them."""
        if self._unscaling == "inside":
            if self.patch > 1:
                latents = torch.nn.functional.pixel_shuffle(latents, self.patch)
            return self._rescaled(latents, self._session.unscale)
        if self._numbers is None:
            return latents
        factor, offset, deviation = _broadcast(self._numbers, latents.ndim)
        return (latents - offset) * factor / deviation

    def from_model(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents that the session made as ComfyUI has them."""
        if self._unscaling == "inside":
            latents = self._rescaled(latents, self._session.scale)
            if self.patch > 1:
                latents = torch.nn.functional.pixel_unshuffle(latents, self.patch)
            return latents
        if self._numbers is None:
            return latents
        factor, offset, deviation = _broadcast(self._numbers, latents.ndim)
        return latents * deviation / factor + offset

    def statistics(self) -> Statistics | None:
        """The numbers of a VAE that undoes its latents' scaling by those of each channel."""
        of_channels = self._unscaling == "inside" and self.patch == 1 and self._frames == 1
        return Statistics(self._session) if of_channels else None

    def _rescaled(
        self, latents: torch.Tensor, rescale: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """Latents rescaled; numbers that are of some frames begin anew behind these, as in ComfyUI."""
        if self._frames == 1 or latents.ndim < 5:
            return rescale(latents)
        return torch.cat([rescale(part) for part in latents.split(self._frames, dim=2)], dim=2)


class Statistics:
    """What nodes that work on latents as the model takes them call (`per_channel_statistics`)."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def un_normalize(self, latents: torch.Tensor) -> torch.Tensor:
        """Turn latents [B, C, T, H, W] as nodes hand them on into those that the model takes."""
        return self._session.unscale(latents).to(latents.dtype)

    def normalize(self, latents: torch.Tensor) -> torch.Tensor:
        """Turn them back."""
        return self._session.scale(latents).to(latents.dtype)


def _stands_for(info: dict[str, Any], latents_of: str, file_name: str) -> str:
    """Whose latents a small model takes."""
    if latents_of != BY_NAME:
        return latents_of
    named = model_of(file_name)
    if named is not None:
        return named
    guessed = AS_THEY_ARE
    if info["medium"] == "video":
        # By which ComfyUI tells them apart: channels, and the type of the weights.
        dtypes = {part["dtype"] for part in info["weights"]["sums"]}
        channels = info["channels"]["latents"]
        if channels == 16 and dtypes == {"F16"}:
            guessed = "HunyuanVideo"
        elif channels == 32:
            guessed = "HunyuanVideo-1.5"
    _logger.warning(
        "%s: no name of a small model that is known; its latents are taken for: %s. latents_of says others.",
        file_name,
        guessed,
    )
    return guessed


def _published(name: str, channels: int) -> dict[str, Any]:
    import tessera

    numbers = tessera.published_scaling(name)
    mean = numbers["latents_mean"]
    if mean is not None and len(mean) != channels:
        raise ValueError(
            f"latents_of: those of {name} have {len(mean)} channels, and this model's {channels}"
        )
    return numbers


def _broadcast(
    numbers: dict[str, Any], axes: int
) -> tuple[float, float | torch.Tensor, float | torch.Tensor]:
    """Factor, mean and shift together, and deviation, to be computed with tensors of so many axes."""
    shift = numbers["shift_factor"] or 0.0
    mean, deviation = numbers["latents_mean"], numbers["latents_std"]
    if mean is None or deviation is None:
        return numbers["scaling_factor"], shift, 1.0
    shape = (1, -1, *[1] * (axes - 2))
    return (
        numbers["scaling_factor"],
        torch.tensor(mean).view(shape) + shift,
        torch.tensor(deviation).view(shape),
    )
