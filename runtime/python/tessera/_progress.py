"""What `progress=` may be: a function, or True for a bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ._errors import OptionError

if TYPE_CHECKING:
    from ._tessera import Progress

# Of folders: True for a bar, or a function that is told how many clips are there, and of how many.
ClipProgress = bool | Callable[[int, int], object] | None


@contextmanager
def shown(options: dict[str, Any], doing: str) -> Iterator[dict[str, Any]]:
    """Options whose `progress` is a function: that of a bar, if one is asked for."""
    asked = options.get("progress")
    if asked is None or asked is False:
        yield {**options, "progress": None}
    elif asked is True:
        with _bar(doing) as tell:
            yield {**options, "progress": tell}
    else:
        yield options


@contextmanager
def shown_clips(progress: ClipProgress, doing: str) -> Iterator[Callable[[int, int], object]]:
    """A function to tell how many clips are there, of how many; it shows a bar if one is asked for."""
    if progress is None or progress is False:
        yield lambda done, total: None
    elif progress is True:
        with _tqdm(doing, " clips") as bar:

            def tell(done: int, total: int) -> None:
                bar.n, bar.total = done, total
                bar.refresh()

            yield tell
    else:
        yield progress


@contextmanager
def _bar(doing: str) -> Iterator[Callable[[Progress], None]]:
    # Shares of the work, counted in video frames.
    with _tqdm(doing, " frames") as bar:

        def tell(progress: Progress) -> None:
            bar.total = progress.frames_total
            bar.n = round(progress.share * progress.frames_total, 1)
            bar.refresh()

        yield tell


def _tqdm(doing: str, unit: str) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise OptionError(
            "progress: True shows a bar of tqdm, which is not installed: pip install tqdm, or give a function"
        ) from error
    return tqdm(desc=doing, unit=unit, total=None, leave=False)
