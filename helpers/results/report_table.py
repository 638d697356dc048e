"""The results table of a notebook, and the numbers of the report's Table 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from helpers.core import style, tables
from helpers.models.record import BASES
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
    "darts_v2": ("95.33", "99.06"),
    "darts_searched": ("95.67", "98.57"),
}
CHOSEN = "best on validation"
_LEADING = r"^(\d+\.\d+)(?!\*)"  # the number of a cell, unless it is starred
NEVER_BEST = ["p", "Parameters", "Time"]


def paper_table(table: pd.DataFrame, chosen: str = CHOSEN) -> pd.DataFrame:
    """Return `results_table`, with or without tests and costs, for the eye, by validation AUC.

    AUCs on the judged side have their interval. The best model on validation is marked by the word
    `chosen`, rows that every model should beat are references; `*` is explained by `table_legend`.
    """
    best, most = best_model(table), table.n_val.max()
    side = "test" if "test_auc" in table else "val"
    rows = table.assign(last=table.model == "majority").sort_values(
        ["last", "val_auc"], ascending=[True, False], kind="stable"
    )
    rows["mark"] = (rows.kind == "reference").map({True: " (reference)", False: ""})
    rows.loc[rows.model == best, "mark"] = f" \N{LEFTWARDS ARROW} {chosen}"
    rows["star"] = (rows.n_val < most).map({True: "*", False: ""})  # the first of several folds
    if "averaged" in rows:
        rows["title"] += rows.averaged.map(", mean of {}".format, na_action="ignore").fillna("")
    columns = {"Model": "{title}{mark}"}
    if side == "test":
        columns |= {"Valid AUC": "{val_auc:%}{star}", "Test AUC": "{test_auc:%[]}"}
    else:
        columns |= {"Valid AUC": "{val_auc:%[]}{star}", "Valid Acc": "{val_accuracy:%}{star}"}
    if f"{side}_within_auc" in table:
        columns["within groups"] = f"{{{side}_within_auc:%[]}}"
    if side == "test":
        columns["Test Acc"] = "{test_accuracy:%}"
    if "p_holm" in table:
        columns |= {"p": "{p_holm:p}", "Parameters": "{parameters:n}", "Time": "{seconds:time}"}
    return tables.filled(rows, columns)


def shown(
    table: pd.DataFrame, caption: str = "", smoke: bool = False, chosen: str = CHOSEN
) -> Styler:
    """Return `paper_table` for a notebook: the best number of each column is bold.

    Its legend is the caption, after a caption of the notebook's own.
    """
    text = paper_table(table, chosen)
    numbers = text.apply(lambda column: pd.to_numeric(column.str.extract(_LEADING)[0]))
    best = (numbers == numbers.max()) & (text != tables.MISSING)
    best[best.columns.intersection(NEVER_BEST)] = False
    best["Model"] = text.Model.str.endswith(chosen)
    caption = " ".join(filter(None, [caption, table_legend(table, chosen)]))
    return style.bold(style.styled(text, caption, smoke, wrap=True), best)


def table_legend(table: pd.DataFrame, chosen: str = CHOSEN) -> str:
    """Return the meaning of the columns and marks of `paper_table` in a few sentences."""
    texts = ["Per cent, with 95 % intervals; sorted by validation AUC, the best in bold."]
    if table.n_val.dropna().nunique() > 1:
        texts.append("* on the first fold alone.")
    if "p_holm" in table:
        texts.append(
            f"p: paired test against the {chosen} row, after Holm's correction. Parameters of one "
            "network, time of all its trainings."
        )
    return " ".join(texts)


def beside_report(table: pd.DataFrame) -> pd.DataFrame:
    """Return the report's Table 2 beside the same rows of this run, in per cent.

    The report's numbers are those of its own images. In parentheses: on fine-tuned features.
    """
    rows = {row["model"]: row for row in table.to_dict("records")}
    lines = []
    for name, (accuracy, area) in REPORT.items():
        line = {"Model": BASES[name]}
        slugs = [slug for slug in (name, f"{name}_on_fbp") if slug in rows]
        for title, column in (("Valid acc.", "val_accuracy"), ("Test AUC", "test_auc")):
            texts = [tables.fill(f"{{{column}:%}}", rows[slug]) for slug in slugs]
            first, *more = texts or [tables.MISSING]
            line[f"{title}, this run"] = first + "".join(f" ({text})" for text in more)
        lines.append(line | {"Valid acc., report": accuracy, "Test AUC, report": area})
    return pd.DataFrame(lines)
