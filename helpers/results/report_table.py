"""The results table of a notebook, and the numbers of the report's Table 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from helpers.core import style
from helpers.models.names import display_name
from helpers.results.results_table import best_model

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

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
TITLES = {"val_auc": "Valid AUC", "test_auc": "Test AUC"}
TITLES |= {"test_accuracy": "Test Acc", "test_f1": "Test F1"}

CHOSEN = "best on validation"
REFERENCES = ("lr_on_brightness", "majority")  # rows that every model should beat
_LEADING = r"^(\d+\.\d+)(?!\*)"  # the number of a cell, unless it is starred
NEVER_BEST = ["p", "Parameters", "Time"]


def paper_table(table: pd.DataFrame, chosen: str = CHOSEN) -> pd.DataFrame:
    """Return `results_table` or `whole_table` for the eye, in per cent, by validation AUC.

    AUCs on the judged side have their interval. If a model was trained several times, "one
    training" is the mean ± standard deviation of its trainings, and the other columns are those of
    the mean of their scores. The best model on validation is marked by the word `chosen`, rows that
    every model should beat are references; `*` is explained by `table_legend`.
    """
    best, most = best_model(table), table.n_val.max()
    side = "test" if "test_auc" in table else "val"
    auc, within = f"{side}_auc", f"{side}_within_auc"
    marks = {best: f" \N{LEFTWARDS ARROW} {chosen}"} | dict.fromkeys(REFERENCES, " (reference)")
    order = table.assign(last=table.model == "majority")
    order = order.sort_values(["last", "val_auc"], ascending=[True, False], kind="stable")
    lines = []
    for row in order.to_dict("records"):
        star = "*" if row["n_val"] < most else ""  # judged on the first of several folds
        line = {"Model": display_name(row["model"]) + marks.get(row["model"], "")}
        if "averaged" in table:
            line["Trainings"] = row["averaged"] if isinstance(row["averaged"], str) else "-"
        if side == "test":
            line["Valid AUC"] = plain(row, "val_auc") + star
        line[TITLES[auc]] = per_cent(row, auc)
        if "averaged" in table:
            line["one training"] = one_training(row, auc)
        if within in table:
            line[f"{TITLES[auc]} within groups"] = per_cent(row, within)
        line["Valid Acc"] = plain(row, "val_accuracy") + star
        if side == "test":
            line |= {TITLES[name]: plain(row, name) for name in ("test_accuracy", "test_f1")}
        if "p_holm" in table:
            line |= {"p": _p(row), "Parameters": _parameters(row), "Time": _time(row)}
        lines.append(line)
    return pd.DataFrame(lines)


def shown(
    table: pd.DataFrame, caption: str = "", smoke: bool = False, chosen: str = CHOSEN
) -> Styler:
    """Return `paper_table` for a notebook: the best number of each column is bold.

    Its legend is the caption, after a caption of the notebook's own.
    """
    shape = paper_table(table, chosen)
    numbers = shape.apply(lambda column: pd.to_numeric(column.str.extract(_LEADING)[0]))
    best = (numbers == numbers.max()) & (shape != "-")
    best[best.columns.intersection(NEVER_BEST)] = False
    best["Model"] = shape.Model.str.endswith(chosen)
    caption = " ".join(filter(None, [caption, table_legend(table, chosen)]))
    return style.bold(style.styled(shape, caption, smoke, wrap=True), best)


def table_legend(table: pd.DataFrame, chosen: str = CHOSEN) -> str:
    """Return the meaning of the columns and marks of `paper_table` in a few sentences."""
    texts = [
        "Per cent, with 95 % intervals (groups count as the units for the AUC within groups, "
        "and everywhere if the split keeps them apart); sorted by validation AUC, the best in "
        f"bold; \N{LEFTWARDS ARROW} {chosen}."
    ]
    if "averaged" in table and table.averaged.notna().any():
        texts.append(
            "A model of several trainings is the mean of their scores; one training: mean ± "
            "standard deviation."
        )
    if table.n_val.dropna().nunique() > 1:
        texts.append("Valid: each image by the fold that has not seen it; * the first fold alone.")
    if "p_holm" in table:
        texts.append(
            f"p: paired test against the {chosen} row, after Holm's correction. Parameters: those "
            "that are trained. Time: the model's own training, without features or members it "
            "builds on."
        )
    return " ".join(texts)


def beside_report(table: pd.DataFrame) -> pd.DataFrame:
    """Return the report's Table 2 beside the same rows of this run, in per cent.

    The report's numbers are those of its own images.
    """
    rows = {row["model"]: row for row in table.to_dict("records")}
    lines = []
    for name, (accuracy, area) in REPORT.items():
        own = [rows[key] for key in (name, f"{name}_on_fbp") if key in rows]
        line = {"Model": display_name(name)}
        for title, column in (("Valid acc.", "val_accuracy"), ("Test AUC", "test_auc")):
            first, *others = [plain(row, column) for row in own] or ["-"]
            line[f"{title}, this run"] = first + "".join(f" ({text})" for text in others)
        lines.append(line | {"Valid acc., report": accuracy, "Test AUC, report": area})
    return pd.DataFrame(lines)


def per_cent(row: Mapping[str, Any], column: str, unit: str = "") -> str:
    """Return a fraction as per cent with its interval: "86.6 [83.1, 89.7]"; "-" if it is missing.

    The ends of the interval are read from `<column>_low` and `<column>_high`.
    """
    value, low, high = (row.get(f"{column}{end}", np.nan) for end in ("", "_low", "_high"))
    return "-" if pd.isna(value) else style.with_interval(value, low, high, unit)


def plain(row: Mapping[str, Any], column: str) -> str:
    """Return a fraction as per cent without its interval; "-" if it is missing."""
    value = row.get(column, np.nan)
    return "-" if pd.isna(value) else style.percent(value)


def one_training(row: Mapping[str, Any], column: str) -> str:
    """Return the mean ± standard deviation over the trainings in per cent; "-" if there is one."""
    mean, spread = (plain(row, f"{column}_{end}") for end in ("mean", "std"))
    return "-" if spread == "-" else f"{mean} ± {spread}"


def in_points(row: Mapping[str, Any], column: str = "difference", prefix: str = "") -> str:
    """Return a difference in points with its interval: "+0.8 [+0.1, +1.5]".

    The ends of the interval are read from `<prefix>low` and `<prefix>high`.
    """
    ends = row[f"{prefix}low"], row[f"{prefix}high"]
    return style.with_interval(row[column], *ends, sign="+")


def _p(row: Mapping[str, Any]) -> str:
    p = row.get("p_holm", np.nan)
    if pd.isna(p):
        return "-"
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def _parameters(row: Mapping[str, Any]) -> str:
    n = row.get("parameters", np.nan)
    if pd.isna(n):
        return "-"
    text = f"{n / 1e6:.1f} M" if n >= 1e6 else f"{n / 1e3:.0f} k" if n >= 1e3 else f"{n:.0f}"
    return text if pd.isna(row.get("members")) else f"{int(row['members'])} x {text}"


def _time(row: Mapping[str, Any]) -> str:
    seconds = row.get("seconds", np.nan)
    return "-" if pd.isna(seconds) else style.duration(seconds)
