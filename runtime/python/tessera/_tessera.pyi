"""The extension module; what people call is around it."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_Array = tuple[npt.NDArray[Any], str]
_Path = str | os.PathLike[str]

__version__: str
OPTIONS: list[str]

class Progress:
    """How far a call has come."""

    @property
    def frames_done(self) -> int:
        """Video frames of all samples that are done."""
    @property
    def frames_total(self) -> int:
        """Video frames of all samples."""
    @property
    def tile(self) -> int:
        """Which tile is under way, from 0."""
    @property
    def tiles(self) -> int:
        """Tiles of a frame."""
    @property
    def share(self) -> float:
        """The share of all steps that is done, from 0 to 1."""
    @property
    def seconds_left(self) -> float | None:
        """Seconds that the rest will take; unknown at first."""

class Cancellation:
    """Ends calls from another thread: given to calls as their option `cancellation`."""

    def __init__(self) -> None: ...
    def cancel(self) -> None:
        """End the calls that have it, also those that have yet to begin: they raise `Cancelled`."""
    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""

class Blocks(Iterator[tuple[int, int, npt.NDArray[np.float32]]]):
    def __iter__(self) -> Blocks: ...
    def __next__(self) -> tuple[int, int, npt.NDArray[np.float32]]: ...
    def close(self) -> None: ...
    @property
    def report(self) -> dict[str, Any] | None: ...

class Model:
    def __init__(
        self,
        model: _Path,
        *,
        config: _Path | None = None,
        offline: bool | None = None,
        on_download: Callable[[str, int, int], object] | None = None,
    ) -> None: ...
    @property
    def class_name(self) -> str: ...
    @property
    def is_of_images(self) -> bool: ...
    @property
    def config(self) -> dict[str, Any]: ...
    @property
    def config_path(self) -> Path | None: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def account(self) -> list[str]: ...
    def info(self) -> dict[str, Any]: ...
    def result_shape(self, half: str, shape: Sequence[int], options: dict[str, Any]) -> tuple[int, ...]: ...
    def usual_tiles(self, half: str) -> dict[str, Any]: ...
    def plan(self, half: str, shape: Sequence[int], options: dict[str, Any]) -> dict[str, Any]: ...
    def unscaled(self, latents: _Array) -> npt.NDArray[np.float32]: ...
    def scaled(self, latents: _Array) -> npt.NDArray[np.float32]: ...
    def drawn(self, moments: _Array, seed: int | None = None) -> npt.NDArray[np.float32]: ...
    def decode(self, latents: _Array, frames: _Array, options: dict[str, Any]) -> dict[str, Any]: ...
    def encode(self, clip: _Array, moments: _Array, options: dict[str, Any]) -> dict[str, Any]: ...
    def decode_blocks(self, latents: _Array, options: dict[str, Any]) -> Blocks: ...
    def decode_to(
        self, latents: _Array, path: _Path, fps: float, options: dict[str, Any]
    ) -> tuple[list[Path], int, dict[str, Any]]: ...
    def verify(
        self,
        half: str,
        given: _Array | None,
        against: str,
        threshold: float | None,
        options: dict[str, Any],
    ) -> dict[str, Any]: ...
    def compile(self, asked: dict[str, Any]) -> dict[str, Any]: ...
    def free(self) -> None: ...

def check_options(options: dict[str, Any]) -> None: ...
def convert(given: _Array, to: _Array) -> None: ...
def serve_child(folder: Path) -> None: ...
