"""The parts of README.md and BENCHMARKS.md that scripts write: what stands between `<!-- NAME -->` and `<!-- /NAME -->`."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def replace(document: str, name: str, text: str) -> None:
    """Puts `text` between the markers of this name."""
    path = ROOT / document
    markers = re.compile(rf"<!-- {name} -->.*?<!-- /{name} -->", re.DOTALL)
    changed, count = markers.subn(lambda _: f"<!-- {name} -->\n{text}\n<!-- /{name} -->", path.read_text())
    if count != 1:
        raise SystemExit(f"{path}: expected one pair of markers <!-- {name} --> and <!-- /{name} -->, found {count}")
    path.write_text(changed)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
