"""Say what the groups of a split are called."""

from __future__ import annotations

import pandas as pd

UNITS = ("module", "lot", "wafer")  # what groups may be called, as "module07" is


def unit(split: pd.DataFrame) -> str:
    """Return what the groups are called: a word of `UNITS` or "group"; "" if there are none."""
    if "group" not in split or split.group.isna().all():
        return ""
    names = split.group.dropna().astype(str)
    return next((word for word in UNITS if names.str.startswith(word).all()), "group")
