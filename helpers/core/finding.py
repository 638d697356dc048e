"""A finding of a notebook: a number with its interval and a verdict, shown as a row."""

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from helpers.core import style

TITLE = "What this notebook found"
SHOWN_PX = (720, 560)  # at most: at the head a picture is half as wide as the page
BESIDE = "display: flex; flex-wrap: wrap; align-items: center; gap: 1em"


@dataclass(frozen=True)
class Finding:
    """One number: what it is, its value with a 95 % interval (missing: NaN), and a verdict."""

    what: str
    estimate: float  # a fraction, a difference of fractions, or a count: see `unit`
    low: float = math.nan
    high: float = math.nan
    verdict: str = ""
    # "%" of a fraction ("up to %": rounded up), "points" of a difference of fractions, "": a number
    unit: str = "%"

    @property
    def number(self) -> str:
        """Return the estimate with its interval and unit, as tables show it."""
        ends = self.low, self.high
        if math.isnan(self.estimate):
            return "-"
        if self.unit == "up to %":
            return f"{style.percent_up(self.estimate)} %"
        if self.unit in ("%", "points"):
            sign = "+" if self.unit == "points" else ""
            return f"{style.with_interval(self.estimate, *ends, sign=sign)} {self.unit}"
        value, low, high = (f"{x:,.4g}" for x in (self.estimate, *ends))
        interval = "" if math.isnan(self.low) else f" [{low}, {high}]"
        return f"{value}{interval} {self.unit}".strip()

    def _repr_html_(self) -> str:
        return rows([self]).to_html(index=False, border=0, justify="left")


def rows(findings: Iterable[Finding]) -> pd.DataFrame:
    """Return findings as a table of text: what, its number with unit, and the verdict."""
    columns = ["Finding", "Number [95 % interval]", "Verdict"]
    lines = [(f.what, f.number, f.verdict) for f in findings]
    table = pd.DataFrame(lines, columns=columns)
    return table.drop(columns=[name for name in columns[2:] if not table[name].any()])


def of_json(content: Iterable[dict[str, Any]]) -> list[Finding]:
    """Return the findings that `dataclasses.asdict` described; a missing number is null there."""
    nan: Any = math.nan
    return [Finding(**{k: nan if v is None else v for k, v in f.items()}) for f in content]


class Head:
    """The findings at the head of a notebook; a program without notebook prints them."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._place: Any = None
        self._below: list[Any] = []  # the displays of findings under their cells

    def open(self) -> None:
        """Make a place for all findings in the output of this cell."""
        if _in_notebook():
            from IPython.display import display

            waiting = style.paragraph("(The findings are shown here when all cells have run.)")
            self._place = display(waiting, display_id=True)

    def add(self, *findings: Finding, head: bool = True) -> None:
        """Show findings under this cell; if `head`, they move to the head in the end."""
        self.findings += findings if head else []
        if findings and _in_notebook():
            from IPython.display import display

            if pyplot := sys.modules.get("matplotlib.pyplot"):
                pyplot.show()  # a picture of this cell comes before what is said about it
            below = display(style.styled(rows(findings), "", wrap=True), display_id=True)
            self._below += [below] if head else []
        elif findings:
            print(rows(findings).to_string(index=False))

    def close(self, picture: Path | None = None) -> None:
        """Move all findings to the place at the head, beside a picture (PNG), if any."""
        if not self._place:
            return
        from IPython.display import HTML

        table = rows(self.findings).to_html(index=False, border=0, justify="left")
        text = f"<p><b>{TITLE}</b></p>{table}"
        if picture:
            with Image.open(picture) as image:
                image.thumbnail(SHOWN_PX)
                beside = style.tag(lambda file: image.save(file, format="webp"), picture.stem)
            # where styles are removed, the picture comes below the table
            text = (
                f'<div style="{BESIDE}"><div style="flex: 1 1 18em">{text}</div>'
                f'<div style="flex: 1 1 28em">{beside}</div></div>'
            )
        self._place.update(HTML(text))
        for below in self._below:  # each number stands once
            below.update(style.paragraph("(At the head of this notebook.)"))


def _in_notebook() -> bool:
    """Return True in a notebook or IPython, without importing it: it is slow to import."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None
