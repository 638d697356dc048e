"""One line about the work inside a long cell, for the command that runs the notebook.

`helpers.run` names a file in the environment of the kernel. A training there, or in a process
that the kernel starts, writes a line into this file, and the command shows it beside its bar.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

VARIABLE = "GOOD_BAD_STATUS"  # path of the file; if it is not set, no line is written


def tell(line: str) -> None:
    """Replace the line; "" if the work is done. A line that cannot be written is left out."""
    if path := os.environ.get(VARIABLE):
        with contextlib.suppress(OSError):
            Path(path).write_text(line, encoding="utf-8")


def heard(path: Path) -> str:
    """Return the latest lines, joined; several workers write files beside it (PATH.3)."""
    lines = []
    for file in sorted(path.parent.glob(f"{path.name}*")):
        with contextlib.suppress(OSError):
            lines.append(file.read_text(encoding="utf-8", errors="replace"))
    return " | ".join(filter(None, lines))
