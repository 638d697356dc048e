"""Saved figures and tables, each with the settings behind it."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from helpers.core import files
from helpers.core.style import SMOKE_NOTE
from helpers.core.writing import atomic_path
from helpers.runs import stages
from helpers.runs.stages import Stage


def save(stage: Stage, figure: Figure, name: str, credit: str = "") -> None:
    """Write a figure to the run's folder and register it as the stage's output.

    A line below says which run it is from, with what backbone, and whose images it shows.
    """
    backbone = stage.notes.get("backbone")
    about = [f"run {stage.paths.name}", backbone and f"backbone {backbone}", credit]
    footnote = "; ".join(part for part in about if part)
    figure.text(0, -0.01, footnote, ha="left", va="top", fontsize=8, color="0.35")
    if stage.is_smoke:
        figure.text(0, 1.01, SMOKE_NOTE, ha="left", va="bottom", fontsize=9, color="firebrick")
    path = stage.paths.figure(name)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight")
    stage.output(path)


def with_settings(table: pd.DataFrame, stage: stages.Stage) -> pd.DataFrame:
    """A table that says, in columns of its own, what a CSV taken out of its folder must say."""
    backbone = stage.notes.get("backbone") or "none"
    return table.assign(run=stage.paths.name, preset=stage.preset, backbone=backbone)


def save_table(stage: stages.Stage, name: str, table: pd.DataFrame) -> None:
    """Write a table as an output of the stage, with the columns of `with_settings`."""
    files.save_csv(stage.output(stage.paths.table(name)), with_settings(table, stage))
