"""Executes the solutions again, in place, after the notebooks whose profiles they read.

python docs/solve.py [NUMBER ...]     those of these notebooks, as in `01 03`; without any, all
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from locheads.run import outputs
from locheads.run.execution import execute, refresh


def main() -> None:
    """Executes each solution, and replaces it by its executed copy; a check that fails ends all of it."""
    for path in sorted((outputs.ROOT / "notebooks" / "solutions").glob("[0-9]*.ipynb")):
        if not sys.argv[1:] or path.name[:2] in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as folder:
                executed = Path(folder) / path.name
                execute(path, executed, {})
                refresh(path, executed)


if __name__ == "__main__":
    main()
