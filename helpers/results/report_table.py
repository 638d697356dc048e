"""The results table in the shape of the report's Table 2, with the report's own numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from helpers.results.results_table import METRICS, best_model
from helpers.runs.names import FINETUNED, display_name

# Table 2 of the report, on its own 3,000 test images of Nexperia parts: validation accuracy (in
# parentheses on fine-tuned features) and test AUC, per cent. Not this project's numbers.
REPORT = {
    "lda": ("58.0 (96.0)", "-"),
    "rf": ("54.0 (95.6)", "-"),
    "lr": ("55.3 (95.6)", "-"),
    "svm": ("57.0 (95.6)", "-"),
    "ll": ("60.67", "-"),
    "cnn": ("77.0", "-"),
    "fbp": ("97.33", "98.30"),
    "darts_imagenet": ("95.33", "99.06"),
    "darts_searched": ("95.67", "98.57"),
}
REPORT_NAMES = {"darts_searched": "DARTS Nexperia"}  # its search was on its own images
REPORT_COLUMNS = ("Report: Valid Acc", "Report: Test AUC")
TITLES = {"val_accuracy": "Valid Acc", "val_auc": "Valid AUC", "test_auc": "Test AUC"}
TITLES |= {"test_accuracy": "Test Acc", "test_f1": "Test F1"}

Cell = Callable[[Mapping[str, Any]], str]  # a row of the table to the text of one cell


class _Line(NamedTuple):
    """A line of the table for the eye."""

    title: str
    model: str  # empty for the second line of a model with several seeds
    row: Mapping[str, Any]
    twin: Mapping[str, Any] | None  # the same model on fine-tuned features, in parentheses


def paper_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the shape of the report's Table 2: per cent, fine-tuned features in parentheses.

    A model with several seeds has two lines: the mean of their scores with its intervals, and one
    seed as mean ± standard deviation. The validation AUC is shown if test labels are hidden.

    Args:
        table: of `results_table.results_table` or `whole_table`.
    """
    return _shape(_lines(table), _metric_cells(table))


def report_shape(table: pd.DataFrame) -> pd.DataFrame:
    """Return `paper_table` with `p` against the best row, cost, and the report's own numbers.

    The last two columns are the report's. Its rows that the run does not have are added at the
    end, with the report's numbers alone.

    Args:
        table: of `results_table.whole_table`.
    """
    cells = _metric_cells(table) | {"p": _p_value, "Parameters": _parameters, "Seconds": _seconds}
    if table.device.nunique() > 1:  # a single device is named in the caption
        cells["Device"] = lambda row: row["device"] if isinstance(row["device"], str) else "-"
    lines = _lines(table)
    shape = _shape(lines, cells)
    for position, title in enumerate(REPORT_COLUMNS):
        shape[title] = [REPORT.get(line.model, ("-", "-"))[position] for line in lines]
    shown = {line.model for line in lines}
    missing = [
        {"Model": f"{REPORT_NAMES.get(name, display_name(name))} (not in this run)"}
        | dict(zip(REPORT_COLUMNS, numbers, strict=True))
        for name, numbers in REPORT.items()
        if name not in shown
    ]
    return pd.concat([shape, pd.DataFrame(missing)], ignore_index=True).fillna("-")


def table_notes(table: pd.DataFrame) -> str:
    """Return the meaning of the columns of `report_shape` in a few sentences."""
    side = "test" if "test_auc" in table else "validation (test labels are hidden)"
    best = display_name(best_model(table))
    averaged = (
        "A model with several seeds is the mean of their scores, its seconds are their sum; the "
        "line below it is one training, as mean ± standard deviation over the seeds. "
    )
    return (
        f"p: DeLong's test of the {side} AUC against {best}, the best by validation AUC, with "
        "Holm's correction for the number of rows. "
        f"{averaged if 'seeds' in table else ''}"
        "Parameters are the trained ones; seconds are the model's own training, without the "
        "features or members that it builds on. Report: the report's own numbers on its own "
        "Nexperia images, not comparable with the others."
    )


def per_cent(row: Mapping[str, Any], column: str, unit: str = "") -> str:
    """Return a fraction as per cent with its interval or spread: "86.6 [83.1, 89.7]", "86.6 ± 1.2".

    The ends of the interval are read from `<column>_low` and `<column>_high`, a standard deviation
    from `<column>_spread`. A missing value is "-".
    """
    value, low, spread = (row.get(f"{column}{end}", np.nan) for end in ("", "_low", "_spread"))
    if pd.isna(value):
        return "-"
    text = f"{100 * value:.1f}{unit}"
    if not pd.isna(low):
        return f"{text} [{100 * low:.1f}, {100 * row[f'{column}_high']:.1f}]"
    return text if pd.isna(spread) else f"{text} ± {100 * spread:.1f}"


def _lines(table: pd.DataFrame) -> list[_Line]:
    rows = {row["model"]: row for row in table.to_dict("records")}
    lines = []
    for name, row in rows.items():
        if name.endswith(FINETUNED) and name.removesuffix(FINETUNED) in rows:
            continue  # in the parentheses of another line
        seeds = 1 if pd.isna(row.get("seeds")) else int(row["seeds"])
        lines.append(_Line(display_name(name, seeds), name, row, rows.get(name + FINETUNED)))
        if seeds > 1:
            one = {metric: row.get(f"{metric}_mean") for metric in METRICS}
            one |= {f"{metric}_spread": row.get(f"{metric}_std") for metric in METRICS}
            one |= {key: row.get(key) for key in ("parameters", "device")}
            if not pd.isna(row.get("seconds")):
                one["seconds"] = row["seconds"] / seeds
            lines.append(_Line(f"{display_name(name)}, one seed", "", one, None))
    return lines


def _shape(lines: list[_Line], cells: Mapping[str, Cell]) -> pd.DataFrame:
    def text(line: _Line, cell: Cell) -> str:
        """Return a cell with that of the twin in parentheses."""
        own = cell(line.row)
        other = "-" if line.twin is None else cell(line.twin)
        return own if line.twin is None or own == other == "-" else f"{own} ({other})"

    return pd.DataFrame(
        [
            {"Model": line.title} | {title: text(line, cell) for title, cell in cells.items()}
            for line in lines
        ]
    )


def _metric_cells(table: pd.DataFrame) -> dict[str, Cell]:
    shown = [name for name in METRICS if name != "val_auc" or "test_auc" not in table]
    return {TITLES[name]: partial(per_cent, column=name) for name in shown}


def _p_value(row: Mapping[str, Any]) -> str:
    if pd.isna(row.get("p_holm")):
        return "best" if row.get("model", "majority") != "majority" else "-"
    return "<.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}".removeprefix("0")


def _parameters(row: Mapping[str, Any]) -> str:
    if pd.isna(row["parameters"]):
        return "-"
    networks = "" if pd.isna(row.get("seeds")) else f"{int(row['seeds'])} x "
    return f"{networks}{int(row['parameters']):,}"


def _seconds(row: Mapping[str, Any]) -> str:
    seconds = row.get("seconds", np.nan)
    return "-" if pd.isna(seconds) else f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}"
