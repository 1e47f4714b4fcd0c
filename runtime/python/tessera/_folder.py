"""Folders of clips on one machine, or its share of them.

An output appears whole or not at all, so what is there is finished. Whoever makes a folder again,
after a failure or on another machine, makes only what is missing. `tessera.ray` has the same over
many machines.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import _session, _tessera
from ._errors import FolderError, InputError, OptionError
from ._progress import ClipProgress, shown_clips

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import FolderOptions

Layout = Literal["auto", "bcthw", "btchw", "bchw"]
Location = str | os.PathLike[str]
# A folder, or files one by one.
Sources = Location | Iterable[Location]


@dataclass(frozen=True)
class Decoding:
    """Files of latents to clips."""

    fps: float
    layout: Layout
    scaled: bool | None

    # Of files that are latents.
    endings = (".safetensors", ".npy", ".npz", ".pt", ".pth", ".latent")
    takes_folders = False
    doing = "decoding"

    def make(self, session: _session.Session, source: Path, target: Path, folder: Path) -> list[Path]:
        """Make the clips of a file in `folder`, unless they are at `target`; return what they are called."""
        latents = session.read_latents(source, layout=self.layout, scaled=self.scaled)
        made = [Path(path) for path in _tessera.outputs(target, len(latents))]
        if not all(path.exists() for path in made):
            session.decode_to(latents, folder / target.name, fps=self.fps)
        return made


@dataclass(frozen=True)
class Encoding:
    """Clips to files of latents."""

    size: tuple[int, int] | None
    frames: int | None
    moments: bool
    sample: int | None
    scaled: bool

    # Of files that are clips; folders are pictures.
    endings = (
        ".mp4",
        ".m4v",
        ".mov",
        ".gif",
        ".y4m",
        ".png",
        ".jpg",
        ".jpeg",
        ".webp",
        ".npy",
        ".safetensors",
    )
    takes_folders = True
    doing = "encoding"

    def make(self, session: _session.Session, source: Path, target: Path, folder: Path) -> list[Path]:
        """Make the latents of a clip in `folder`; return what they are called."""
        clip = session.read_frames(source, size=self.size, frames=self.frames)
        session.encode_to(
            clip, folder / target.name, moments=self.moments, sample=self.sample, scaled=self.scaled
        )
        return [target]


@dataclass(frozen=True)
class Work:
    """What is to be made of every clip, by which model, and where."""

    model: _session.Model
    config: _session.Model | None
    task: Decoding | Encoding
    output: Path
    suffix: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _session._check(self.options)
        # Whether there is such a format.
        _tessera.outputs(self.target(Path("clip")), 1)

    def target(self, source: Path) -> Path:
        """What a clip's output is called; of a batch there is one for each sample, named after it."""
        return self.output / (source.stem + self.suffix)

    def open(self, **options: Any) -> _session.Session:
        """Open the model, with these options where others are not asked for."""
        return _session.open(self.model, config=self.config, **{**options, **self.options})

    def make(self, session: _session.Session, source: Path, staging: Path | None = None) -> list[Path]:
        """Make a clip's outputs, unless they are there; return their paths.

        With `staging`, a folder on the same file system, they are written there and put in their
        place once they are whole.
        """
        target = self.target(source)
        if target.exists():
            return [target]
        made = self.task.make(session, source, target, staging or self.output)
        if staging is not None:
            for path in made:
                staged = staging / path.name
                # A folder cannot replace another, which somebody else has made of the same clip meanwhile.
                if staged.is_file() or (staged.is_dir() and not path.exists()):
                    staged.replace(path)
        return made

    def sources(self, given: Sources) -> list[Path]:
        """List the clips, by their names."""
        if isinstance(given, str | os.PathLike):
            folder = Path(given)
            if not folder.is_dir():
                raise InputError(f"{folder}: expected a folder, of {self.wanted}")
            found = [path for path in folder.iterdir() if self._takes(path)]
            if not found:
                raise InputError(f"{folder}: nothing in it ends in {self.wanted}")
        else:
            found = [Path(path) for path in given]
        found.sort(key=lambda path: (path.name, path))
        owners: dict[Path, Path] = {}
        for path in found:
            other = owners.setdefault(self.target(path), path)
            if other != path:
                raise InputError(
                    f"{other} and {path} would both become {self.target(path)}: rename one of them"
                )
        return list(owners.values())

    @property
    def wanted(self) -> str:
        """The endings of files that are taken."""
        return ", ".join(self.task.endings)

    def _takes(self, path: Path) -> bool:
        if path.name.startswith("."):
            return False
        return path.suffix.lower() in self.task.endings or (self.task.takes_folders and path.is_dir())


def decode_folder(
    model: _session.Model,
    latents: Sources,
    output: Location,
    *,
    suffix: str = ".mp4",
    fps: float = 8.0,
    layout: Layout = "auto",
    scaled: bool | None = None,
    config: _session.Model | None = None,
    share: tuple[int, int] = (0, 1),
    progress: ClipProgress = None,
    **options: Unpack[FolderOptions],
) -> list[Path]:
    """Decode every file of latents in a folder; what is there already is left as it is.

    A clip that fails does not stop the others.

    Args:
        model: As `tessera.open` takes it.
        latents: A folder of .safetensors, .npy, .npz, .pt, .pth or .latent, or files one by one.
        output: The folder that clips go to, `NAME.mp4` for `NAME.safetensors`; it is made.
        suffix: The ending that chooses the format, as for `Session.decode_to`; "" is a folder of PNGs.
        fps: Frames a second.
        layout: As for `Session.read_latents`.
        scaled: As for `Session.read_latents`.
        config: As for `tessera.open`.
        share: Which part of the clips, from 0, and of how many: (3, 8) makes every eighth, from the
            fourth. Whoever makes another share may do so at the same time.
        progress: True for a bar of tqdm, or a function that is told how many clips are there, and of
            how many.
        **options: Options of the session.

    Returns:
        The paths of all outputs of the share.

    Raises:
        FolderError: Clips failed; it says which, and why.
        InputError: There are no clips, or two would have the same output.
        ModelError: The model cannot be opened.

    """
    task = Decoding(fps, layout, scaled)
    work = Work(model, config, task, Path(output), suffix, dict(options))
    return _make_share(work, latents, share, progress)


def encode_folder(
    model: _session.Model,
    clips: Sources,
    output: Location,
    *,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    moments: bool = False,
    sample: int | None = None,
    scaled: bool = False,
    config: _session.Model | None = None,
    share: tuple[int, int] = (0, 1),
    progress: ClipProgress = None,
    **options: Unpack[FolderOptions],
) -> list[Path]:
    """Encode every clip in a folder to `NAME.safetensors`; what is there already is left as it is.

    As `decode_folder`, but that entries of the folder are clips, pictures or folders of pictures.
    A clip is held in memory whole.

    Args:
        model: As `tessera.open` takes it.
        clips: A folder of clips, or clips one by one.
        output: The folder that latents go to; it is made.
        size: As for `Session.read_frames`.
        frames: As for `Session.read_frames`.
        moments: As for `Session.encode_to`.
        sample: As for `Session.encode_to`.
        scaled: As for `Session.encode_to`.
        config: As for `tessera.open`.
        share: As for `decode_folder`.
        progress: As for `decode_folder`.
        **options: Options of the session.

    """
    task = Encoding(size, frames, moments, sample, scaled)
    work = Work(model, config, task, Path(output), ".safetensors", dict(options))
    return _make_share(work, clips, share, progress)


def _make_share(work: Work, given: Sources, share: tuple[int, int], progress: ClipProgress) -> list[Path]:
    index, count = share
    if not 0 <= index < count:
        raise OptionError(f"share: expected one of {count}, from 0, found {index}")
    sources = work.sources(given)[index::count]
    prepare(work.output)
    made: dict[Path, list[Path]] = {}
    failed: dict[Path, Exception] = {}
    # Opened only if there is something to do.
    session: _session.Session | None = None
    with shown_clips(progress, work.task.doing) as tell:
        for source in sources:
            if (target := work.target(source)).exists():
                made[source] = [target]
            else:
                session = session or work.open()
                try:
                    made[source] = work.make(session, source)
                except Exception as error:
                    failed[source] = error
            tell(len(made) + len(failed), len(sources))
    return result(sources, made, failed)


def prepare(output: Path) -> None:
    """Make the folder, and remove what killed processes left in it."""
    output.mkdir(parents=True, exist_ok=True)
    _tessera.remove_leftovers(output)


def result(
    sources: Sequence[Path], made: dict[Path, list[Path]], failed: dict[Path, Exception]
) -> list[Path]:
    """All outputs, in the order of their clips, whatever the order in which they were made."""
    paths = [path for source in sources for path in made.get(source, ())]
    if failed:
        raise FolderError({source: failed[source] for source in sources if source in failed}, paths)
    return paths
