"""What `progress=` may be: a function, or True for a bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ._errors import OptionError

if TYPE_CHECKING:
    from ._tessera import Progress


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
def _bar(doing: str) -> Iterator[Callable[[Progress], None]]:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise OptionError(
            "progress: True shows a bar of tqdm, which is not installed: pip install tqdm, or give a function"
        ) from error
    # Shares of the work, counted in video frames.
    with tqdm(desc=doing, unit=" frames", total=None, leave=False) as bar:

        def tell(progress: Progress) -> None:
            bar.total = progress.frames_total
            bar.n = round(progress.share * progress.frames_total, 1)
            bar.refresh()

        yield tell
