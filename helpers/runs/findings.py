"""Sentences that a notebook computes: shown where they are found, and all together at its head."""

from __future__ import annotations

import html
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from helpers.core import style

if TYPE_CHECKING:
    from IPython.display import HTML

TITLE = "What this notebook found"


class Findings:
    """The findings of a notebook; a program without notebook prints them.

    Example::

        findings = Findings()
        findings.open()  # in one of the first cells: makes a place at the head
        findings.add("FBP has the best validation AUC, .951.")  # under the table that shows it
        findings.close()  # in the last cell: writes all of them into the head
    """

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self._head: Any = None

    def open(self) -> None:
        """Make a place for all findings in the output of this cell."""
        if _in_notebook():
            from IPython.display import display

            self._head = display(_box(["(shown here when all cells have run)"]), display_id=True)

    def add(self, *sentences: str, head: bool = True) -> None:
        """Show sentences under this cell, and if `head` at the head; empty ones are left out."""
        new = [sentence for sentence in sentences if sentence]
        self.sentences += new if head else []
        if new and _in_notebook():
            from IPython.display import display

            if pyplot := sys.modules.get("matplotlib.pyplot"):
                pyplot.show()  # a picture of this cell comes before what is said about it
            display(style.paragraph(*new))
        elif new:
            print("\n".join(new))

    def close(self) -> None:
        """Write all findings into the place at the head."""
        if self._head:
            self._head.update(_box(self.sentences or ["Nothing that can be said in a sentence."]))


def _in_notebook() -> bool:
    """Return True in a notebook or IPython, without importing it: it is slow to import."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _box(sentences: Sequence[str]) -> HTML:
    from IPython.display import HTML

    lines = "".join(f"<li>{html.escape(one, quote=False)}</li>" for one in sentences)
    return HTML(f"<p><b>{TITLE}</b></p><ul>{lines}</ul>")
