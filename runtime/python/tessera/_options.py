"""The options of calls, as type checkers see them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy.typing as npt

if TYPE_CHECKING:
    from ._tessera import Cancellation, Progress


class MachineOptions(TypedDict, total=False):
    """Those that the machines of a cluster have in common."""

    backend: Literal["cpu", "pjrt", "interpret"] | None
    """What runs the model: native code, a PJRT plugin, or the evaluator that defines every op."""
    cache_dir: str | os.PathLike[str] | bool | None
    """With a plugin, where compiled programs are kept from run to run, or False."""
    check_finite: bool | None
    """Stop at the first value that is no number, and say where it came from."""
    isa: str | None
    """The instruction set of native code, by default the best of this CPU."""
    keep_all_frames: bool | None
    """Keep the frames that the model drops from the beginning of a clip."""
    noise: Mapping[str, npt.NDArray[Any]] | None
    """For decoders that add noise of their own: its planes [H, W], by their names."""
    optimization: Literal["O0", "O1", "O2", "O3"] | None
    """With a plugin, how hard it optimises."""
    parallel: Literal["auto", "batch", "tiles", "none"] | None
    """What may run at once. Results are the same bits."""
    plugin: str | os.PathLike[str] | None
    """With the backend `pjrt`: cpu, tpu, cuda, or the path of a shared library."""
    precision: Literal["f32", "bf16"] | None
    """What to compute with and keep in memory, whatever the arrays are of."""
    seed: int | None
    """For decoders that add noise of their own: names it."""
    step_frames: int | None
    """Latent frames of every step behind the first, where a model leaves it open."""
    threads: int | None
    """By default as many as the system offers. Results do not depend on it."""
    tile_frames: tuple[int, int] | Literal["off"] | None
    """Tiles along time: their frames and from one to the next, or none."""
    tile_overlap: Sequence[float] | None
    """The shares of a tile's height and width that the next one covers too."""
    tile_stride: Sequence[int] | None
    """Pixels from one tile to the next, down and to the right."""
    tiling: Literal["auto", "off", "default"] | Sequence[int] | None
    """Whole frames if they fit the memory, only those, the model's own tiles, or (height, width)."""
    timestep: float | Sequence[float] | None
    """For decoders that are told how much noise is left in latents: for all samples, or each."""


class FolderOptions(MachineOptions, total=False):
    """Those of a session that makes many clips."""

    cancellation: Cancellation | None
    """Ends the call from another thread."""
    memory: int | str | None
    """The most memory that the process may hold: bytes, "8GiB", or "70%" of what is available."""


class Options(FolderOptions, total=False):
    """How to decode or encode. An option that is None is as if it were not there."""

    progress: bool | Callable[[Progress], object] | None
    """True for a bar of tqdm, or a function that is told how far the call has come."""
