"""Show the sentences that a notebook computes: below their cells, and together at its head."""

from __future__ import annotations

import base64
import html
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from helpers.core import style

if TYPE_CHECKING:
    from IPython.display import HTML

TITLE = "What this notebook found"
SHOWN_PX = (720, 560)  # at most: at the head a picture is half as wide as the page
BESIDE = "display: flex; flex-wrap: wrap; align-items: center; gap: 1em"


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

    def close(self, picture: Path | None = None) -> None:
        """Write all findings into the place at the head, beside a picture (PNG), if any."""
        if self._head:
            said = self.sentences or ["Nothing that can be said in a sentence."]
            self._head.update(_box(said, picture))


def _in_notebook() -> bool:
    """Return True in a notebook or IPython, without importing it: it is slow to import."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _box(sentences: Sequence[str], picture: Path | None = None) -> HTML:
    from IPython.display import HTML

    lines = "".join(f"<li>{html.escape(sentence, quote=False)}</li>" for sentence in sentences)
    text = f"<p><b>{TITLE}</b></p><ul>{lines}</ul>"
    if picture is None:
        return HTML(text)
    buffer = io.BytesIO()
    with Image.open(picture) as image:
        image.thumbnail(SHOWN_PX)
        image.save(buffer, format="webp")
    data = base64.b64encode(buffer.getvalue()).decode()
    beside = f'<img alt="{picture.stem}" src="data:image/webp;base64,{data}">'
    # where styles are removed, the picture comes below the sentences
    return HTML(
        f'<div style="{BESIDE}"><div style="flex: 1 1 18em">{text}</div>'
        f'<div style="flex: 1 1 28em">{beside}</div></div>'
    )
