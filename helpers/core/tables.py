"""Format tables for people: each column is a template, filled with the values of a row.

    tables.filled(results, {"Model": "{title}", "Test AUC": "{test_auc:%[]}"})

A template is one of `str.format`, with these formats besides Python's own:

    {auc:%}    a fraction in per cent: 91.3
    {auc:%[]}  with its interval, from the columns auc_low and auc_high: 91.3 [89.0, 93.2]
    {gain:+%[]} a difference in points: +0.8 [+0.1, +1.5]; {gain:+%} without its interval
    {rate:up}  a promised rate in per cent, rounded up: 1.1
    {p:p}      a p-value: <.001, .013
    {n:n}      a large number: 3.4 M, 120 k, 56
    {s:time}   a duration in seconds: 42 s, 2 h 5 min
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from helpers.core import style

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

MISSING = "-"  # a cell of which a value is missing


class _Value(NamedTuple):
    value: Any
    low: float
    high: float


class _Formatter(string.Formatter):
    def get_field(self, field_name: str, args: Any, kwargs: Any) -> tuple[_Value, str]:
        """Return the value of a column with its ends; raise LookupError if it is missing."""
        value, low, high = (kwargs.get(field_name + end) for end in ("", "_low", "_high"))
        if pd.isna(value):
            raise LookupError(field_name)
        return _Value(value, *(float("nan") if v is None else v for v in (low, high))), field_name

    def format_field(self, value: _Value, format_spec: str) -> str:
        """Return a value as text, in one of the formats that the module's docstring lists."""
        kind, sign = format_spec.lstrip("+"), "+" if format_spec.startswith("+") else ""
        number = value.value
        if kind == "%[]":
            return style.with_interval(*value, sign=sign)
        if kind == "%":
            return f"{round(100 * number, 1) + 0.0:{sign}.1f}"  # never -0.0
        if kind == "up":
            return style.percent_up(number)
        if kind == "p":
            return "<.001" if number < 0.001 else f"{number:.3f}".removeprefix("0")
        if kind == "n" and number >= 1e3:
            return f"{number / 1e6:.1f} M" if number >= 1e6 else f"{number / 1e3:.0f} k"
        if kind == "n":
            return f"{number:.0f}"
        return style.duration(number) if kind == "time" else format(number, format_spec)


def fill(template: str, row: Mapping[str, Any]) -> str:
    """Return a template filled with the values of a row, `MISSING` if one is missing."""
    try:
        return _Formatter().vformat(template, (), row)
    except LookupError:
        return MISSING


def filled(
    table: pd.DataFrame, columns: Mapping[str, str], drop_empty: bool = False
) -> pd.DataFrame:
    """Return a table of text; `columns` maps each title to its template.

    `drop_empty` leaves out the columns without any value.
    """
    rows = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    lines = [{title: fill(text, row) for title, text in columns.items()} for row in rows]
    text = pd.DataFrame(lines, columns=list(columns))
    return text.loc[:, (text != MISSING).any()] if drop_empty else text


def shown(
    table: pd.DataFrame, columns: Mapping[str, str], caption: str = "", smoke: bool = False
) -> Styler:
    """Return `filled` for a notebook without empty columns, with a caption above it."""
    return style.styled(filled(table, columns, drop_empty=True), caption, smoke, wrap=True)
