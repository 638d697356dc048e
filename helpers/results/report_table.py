"""The results table in the shape of the report's Table 2, with the report's own numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from helpers.core import style
from helpers.results.results_table import METRICS, best_model
from helpers.runs.names import FINETUNED, display_name

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
REPORT_NAMES = {"darts_searched": "DARTS Nexperia"}  # its search was on its own images
TITLES = {"val_accuracy": "Valid Acc", "val_auc": "Valid AUC", "test_auc": "Test AUC"}
TITLES |= {"test_accuracy": "Test Acc", "test_f1": "Test F1"}
TITLES |= {"test_within_auc": "Test AUC within groups"}
TESTED = ("test_auc", "test_accuracy", "test_f1")  # shown without a number if labels are hidden

CHOSEN = "best on validation"
REFERENCES = ("lr_brightness", "majority")  # rows that every model should beat
_LEADING = r"^(\d+\.\d+)(?!\*)"  # the number of a cell, unless it is starred

Cell = Callable[[Mapping[str, Any]], str]  # a row of the table to the text of one cell


def paper_table(table: pd.DataFrame, chosen: str = CHOSEN) -> pd.DataFrame:
    """Return `results_table` for the eye, in per cent: a row per model, by validation AUC.

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
            line["Valid AUC"] = _short(row, "val_auc", star)
        line[TITLES[auc]] = per_cent(row, auc)
        if "averaged" in table:
            one = {"auc": row[f"{auc}_mean"], "auc_spread": row[f"{auc}_std"]}
            line["one training"] = per_cent(one, "auc")
        if within in table:
            line["within groups"] = per_cent(row, within)
        line["Valid Acc"] = _short(row, "val_accuracy", star)
        if side == "test":
            line |= {TITLES[name]: _short(row, name) for name in ("test_accuracy", "test_f1")}
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
    bold = pd.DataFrame(np.where(best, "font-weight: bold", ""), shape.index, shape.columns)
    bold["Model"] = np.where(shape.Model.str.endswith(chosen), "font-weight: bold", "")
    caption = " ".join(filter(None, [caption, table_legend(table, chosen)]))
    return style.styled(shape, caption, smoke).apply(lambda _: bold, axis=None)


def table_legend(table: pd.DataFrame, chosen: str = CHOSEN) -> str:
    """Return the meaning of the columns and marks of `paper_table` in a few sentences."""
    texts = [
        "Per cent, with 95 % bootstrap intervals; sorted by validation AUC, the best in bold; "
        f"\N{LEFTWARDS ARROW} {chosen}."
    ]
    if "averaged" in table and table.averaged.notna().any():
        texts.append(
            "A model of several trainings is the mean of their scores; one training: mean ± "
            "standard deviation."
        )
    if table.n_val.dropna().nunique() > 1:
        texts.append("* on the first fold alone, which chose its epoch.")
    return " ".join(texts)


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


def _short(row: Mapping[str, Any], column: str, star: str = "") -> str:
    """Return a fraction as per cent without its interval."""
    return f"{100 * row[column]:.1f}{star}" if not pd.isna(row[column]) else "-"


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
