"""Tessera: the VAEs of video and image models, compiled.

    import tessera

    vae = tessera.open("CogVideoX-2b", threads=2)
    frames = vae.decode(latents, scaled=True)          # NumPy in, NumPy out; torch in, torch out
    vae.decode_to(latents, "clip.mp4", fps=8, scaled=True)
    latents = vae.encode(frames)

`tessera.decode_folder` makes a folder of clips, or a share of it; `tessera.ray` does that on many
machines. `tessera.diffusers` puts the model into the pipelines of diffusers. What is logged goes to
the loggers below `tessera`.
"""

from ._errors import (
    BudgetError,
    Cancelled,
    FileError,
    FolderError,
    ForkError,
    InputError,
    MissingFileError,
    ModelError,
    NonFiniteError,
    OptionError,
    PluginError,
    TesseraError,
)
from ._folder import decode_folder, encode_folder
from ._options import Options
from ._session import Session, open, published_scaling  # noqa: A004
from ._tessera import Cancellation, Progress, __version__

__all__ = [
    "BudgetError",
    "Cancellation",
    "Cancelled",
    "FileError",
    "FolderError",
    "ForkError",
    "InputError",
    "MissingFileError",
    "ModelError",
    "NonFiniteError",
    "OptionError",
    "Options",
    "PluginError",
    "Progress",
    "Session",
    "TesseraError",
    "__version__",
    "decode_folder",
    "encode_folder",
    "open",
    "published_scaling",
]
