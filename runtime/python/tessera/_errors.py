"""The exceptions, which the extension module raises by these names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "BudgetError",
    "Cancelled",
    "FileError",
    "FolderError",
    "ForkError",
    "InputError",
    "MissingFileError",
    "ModelError",
    "NonFiniteError",
    "OptionError",
    "PluginError",
    "TesseraError",
]


class TesseraError(Exception):
    """What Tessera refuses or cannot do; every other exception of it is one of these."""


class ModelError(TesseraError):
    """No model where one was looked for, or one that cannot be used."""


class InputError(TesseraError, ValueError):
    """An array that the model does not take."""


class OptionError(TesseraError, ValueError):
    """An option with a value that it, or the model, does not take."""


class BudgetError(TesseraError, MemoryError):
    """What was asked for does not fit the memory budget, or the memory that there is."""


class NonFiniteError(TesseraError, ArithmeticError):
    """A result that is no number."""


class FileError(TesseraError, OSError):
    """A file that cannot be read or written, or holds something else."""


class MissingFileError(FileError, FileNotFoundError):
    """A file that is not there."""


class PluginError(TesseraError):
    """A PJRT plugin that cannot be had, or refuses something."""


class ForkError(TesseraError, RuntimeError):
    """A call in the fork of a process that has run Tessera."""


class Cancelled(TesseraError):
    """A call that was ended by its `Cancellation`."""


class FolderError(TesseraError):
    """Clips of a folder that could not be made; all others were.

    Attributes:
        failed: What was wrong, by the file that it was wrong with.
        done: The outputs that are there.

    """

    def __init__(self, failed: Mapping[Path, Exception], done: Sequence[Path]) -> None:
        clips = "clip" if len(failed) == 1 else "clips"
        lines = [f"{len(failed)} {clips} of {len(failed) + len(done)} failed:"]
        lines += [f"{path}: {error or type(error).__name__}" for path, error in failed.items()]
        super().__init__("\n".join(lines))
        self.failed = dict(failed)
        self.done = list(done)

    def __reduce__(self) -> tuple[Any, ...]:
        return FolderError, (self.failed, self.done)


for _error in __all__:
    globals()[_error].__module__ = "tessera"
