"""The results table in the shape of the report's Table 2, with the report's own numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

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
TITLES = {"val_accuracy": "Valid Acc", "val_auc": "Valid AUC", "test_auc": "Test AUC"}
TITLES |= {"test_accuracy": "Test Acc", "test_f1": "Test F1"}
TITLES |= {"test_within_auc": "Test AUC within groups"}
TESTED = ("test_auc", "test_accuracy", "test_f1")  # shown without a number if labels are hidden

Cell = Callable[[Mapping[str, Any]], str]  # a row of the table to the text of one cell


def paper_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return `results_table` in the shape of the report's Table 2, in per cent.

    A model on fine-tuned features is in parentheses. A model of several trainings has two lines:
    the mean of their scores with its intervals, and one training as mean ± standard deviation. The
    validation AUC is shown if test labels are hidden.
    """
    return _shape(table, {}).reset_index(drop=True)


def report_shape(table: pd.DataFrame) -> pd.DataFrame:
    """Return `whole_table` as `paper_table` with `p` against the best row, and the costs.

    The last two columns are the report's own numbers. Its rows that the run does not have are added
    at the end.
    """
    cells: dict[str, Cell] = {"p": _p_value, "Parameters": _parameters, "Seconds": _seconds}
    if table.device.nunique() > 1:  # a single device is named in the caption
        cells["Device"] = lambda row: row["device"] if isinstance(row["device"], str) else "-"
    shape = _shape(table, cells)
    missing = [name for name in REPORT if name not in shape.index]
    titles = [REPORT_NAMES.get(name, display_name(name)) for name in missing]
    lacking = pd.DataFrame({"Model": [f"{title} (not in this run)" for title in titles]}, missing)
    shape = pd.concat([shape, lacking])
    for position, title in enumerate(("Report: Valid Acc", "Report: Test AUC")):
        shape[title] = [REPORT.get(name, ("-", "-"))[position] for name in shape.index]
    return shape.fillna("-").reset_index(drop=True)


def table_notes(table: pd.DataFrame, by_groups: bool = False) -> str:
    """Return the meaning of the columns of `report_shape` in a few sentences.

    `by_groups` is True if the split keeps groups apart.
    """
    side = "test" if "test_auc" in table else "validation (test labels are hidden)"
    best = display_name(best_model(table))
    averaged = (
        "A model of several trainings (seeds or folds) is the mean of their scores, its seconds "
        "are their sum; the line below it is one training, as mean ± standard deviation. "
        if "members" in table
        else ""
    )
    test = "paired bootstrap over groups" if by_groups else "DeLong's test"
    within = (
        "Within groups: the mean AUC inside each group (module, lot) with at least two images of "
        "each class, weighted by its smaller class. "
        if "test_within_auc" in table
        else ""
    )
    folds = (
        "Validation numbers are those of all folds if the model is cross-fitted, otherwise those "
        "of the first. "
        if table.n_val.nunique() > 1
        else ""
    )
    return (
        f"p: {test} of the {side} AUC against {best}, the best by validation AUC, with "
        "Holm's correction for the number of rows. "
        f"{folds}{averaged}{within}"
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


def _shape(table: pd.DataFrame, more: Mapping[str, Cell]) -> pd.DataFrame:
    """Return texts with the models as index, which is empty for the line of one training."""
    shown = [name for name in METRICS if name in table or name in TESTED]
    shown = [name for name in shown if name != "val_auc" or "test_auc" not in table]
    cells: dict[str, Cell] = {TITLES[name]: partial(per_cent, column=name) for name in shown}
    cells |= more
    rows = {row["model"]: row for row in table.to_dict("records")}
    lines: list[dict[str, str]] = []
    index = []
    for name, row in rows.items():
        if name.endswith(FINETUNED) and name.removesuffix(FINETUNED) in rows:
            continue  # in the parentheses of another line
        both = [row, rows[name + FINETUNED]] if name + FINETUNED in rows else [row]
        several = not pd.isna(row.get("members"))
        title = display_name(name, row["averaged"] if several else "")
        lines.append({"Model": title} | _line(both, cells))
        index.append(name)
        if several:
            singles = [_one_training(own) for own in both]
            lines.append({"Model": f"{display_name(name)}, one model"} | _line(singles, cells))
            index.append("")
    return pd.DataFrame(lines, index)


def _line(rows: Sequence[Mapping[str, Any]], cells: Mapping[str, Cell]) -> dict[str, str]:
    """Return the cells of a row, those of a second row in parentheses behind them."""
    first, *others = [{title: cell(row) for title, cell in cells.items()} for row in rows]
    for other in others:
        first = {title: f"{text} ({other[title]})" for title, text in first.items()}
    return {title: "-" if text == "- (-)" else text for title, text in first.items()}


def _one_training(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of one of a model's trainings: mean and spread of each metric."""
    one = {metric: row.get(f"{metric}_mean", np.nan) for metric in METRICS}
    one |= {f"{metric}_spread": row.get(f"{metric}_std") for metric in METRICS}
    one |= {key: row.get(key) for key in ("parameters", "device")}
    if not pd.isna(row.get("seconds")) and not pd.isna(row.get("members")):
        one["seconds"] = row["seconds"] / row["members"]
    return one


def _p_value(row: Mapping[str, Any]) -> str:
    if pd.isna(row.get("p_holm")):
        return "best" if row.get("model", "majority") != "majority" else "-"
    return "<.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}".removeprefix("0")


def _parameters(row: Mapping[str, Any]) -> str:
    if pd.isna(row["parameters"]):
        return "-"
    networks = "" if pd.isna(row.get("members")) else f"{int(row['members'])} x "
    return f"{networks}{int(row['parameters']):,}"


def _seconds(row: Mapping[str, Any]) -> str:
    seconds = row.get("seconds", np.nan)
    return "-" if pd.isna(seconds) else f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}"
