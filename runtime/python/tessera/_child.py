"""`python -m tessera._child FOLDER`: looks at a PJRT plugin for another process."""

from __future__ import annotations

import sys
from pathlib import Path

from ._tessera import serve_child

if __name__ == "__main__":
    serve_child(Path(sys.argv[1]))
