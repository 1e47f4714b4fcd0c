"""The exceptions, which the extension module raises by these names."""

from __future__ import annotations

__all__ = [
    "BudgetError",
    "Cancelled",
    "FileError",
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


for _error in __all__:
    globals()[_error].__module__ = "tessera"
