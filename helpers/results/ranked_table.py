"""The tables of notebook 06 as they are on its page: sorted by merit, rounded, the best in bold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from helpers.core.style import SIDES, bold, duration, styled, told_apart
from helpers.results import decision
from helpers.results.report_table import REPORT, one_training, per_cent, plain
from helpers.runs.names import display_name

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

SUBMITTED = " (submitted)"
MARKED = {"background-color": "#e3eef8"}
TITLES = {
    "val_auc": "Valid AUC",
    "test_auc": "Test AUC",
    "test_within_auc": "Test AUC within groups",
    "test_accuracy": "Test acc.",
    "test_f1": "F1",
}
Row = Mapping[str, Any]


def whole(table: pd.DataFrame, submitted: str, side: str, caption: str, smoke: bool) -> Styler:
    """Return `results_table.whole_table` for the page, in per cent.

    The best AUC is first, the majority last. The submitted row is the reference of the p-values and
    has a colour; the best number of each column is bold.
    """
    order = np.lexsort((-table[f"{side}_auc"].fillna(0), table.model == "majority"))
    ranked = table.iloc[order].reset_index(drop=True)
    metrics = [name for name in TITLES if name in ranked and ranked[name].notna().any()]
    if side == "val":
        metrics = [name for name in metrics if not name.startswith("test")]
    rows = ranked.to_dict("records")
    shape = pd.DataFrame({"Model": [_title(row, submitted) for row in rows]})
    best = pd.DataFrame(False, shape.index, [])
    for name in metrics:
        show = per_cent if name == "test_auc" or side == "val" else plain
        shape[TITLES[name]] = [show(row, name) for row in rows]
        best[TITLES[name]] = ranked[name] == ranked[name].max()
    if "members" in ranked:
        shape["one training"] = [one_training(row, f"{side}_auc") for row in rows]
    cells: dict[str, Callable[[Row], str]] = {"p": _p, "Parameters": _parameters, "Time": _time}
    for title, cell in cells.items():
        shape[title] = [cell(row) for row in rows]
    style = bold(styled(shape, f"{caption} {notes(table, side)}", smoke, wrap=True), best)
    marked = shape.index[ranked.model == submitted]
    return style.set_properties(subset=(marked, shape.columns), **MARKED)


def notes(table: pd.DataFrame, side: str) -> str:
    """Return what the columns of `whole` mean."""
    several = " One training: mean ± standard deviation over seeds or folds." * ("members" in table)
    inside = " Within groups: mean AUC inside each group (module, lot)." * (
        "test_within_auc" in table
    )
    return (
        f"Per cent, sorted by {side} AUC, with 95 % intervals; the best is bold. p: paired test "
        f"against the submitted row, the best by validation AUC, after Holm's correction.{inside}"
        f"{several} Parameters: those that are trained. Time: the model's own training, without "
        "features or members it builds on."
    )


def beside_report(table: pd.DataFrame) -> pd.DataFrame:
    """Return the report's Table 2 beside the same rows of this run, in per cent.

    The report's numbers are those of its own images.
    """
    rows = {row["model"]: row for row in table.to_dict("records")}
    lines = []
    for name, (accuracy, area) in REPORT.items():
        own = [rows[key] for key in (name, f"{name}_finetuned") if key in rows]
        line = {"Model": display_name(name)}
        for title, column in (("Valid acc.", "val_accuracy"), ("Test AUC", "test_auc")):
            first, *others = [plain(row, column) for row in own] or ["-"]
            line[f"{title}, this run"] = first + "".join(f" ({text})" for text in others)
        lines.append(line | {"Valid acc., report": accuracy, "Test AUC, report": area})
    return pd.DataFrame(lines)


def ensembles_shape(joined: pd.DataFrame) -> pd.DataFrame:
    """Return `ensembles.write_ensembles` for the page."""
    rows = joined.to_dict("records")
    return pd.DataFrame(
        {
            "Ensemble": joined.ensemble.map(display_name),
            "Valid AUC": [f"{100 * row['val_auc']:.2f}" for row in rows],
            "Gain over the best single model": [
                f"{100 * row['gain']:+.2f} ± {100 * row['error']:.2f} ({display_name(row['best'])})"
                for row in rows
            ],
            "Kept": joined.kept.map({True: "yes", False: "no"}),
            "Weights": joined.weights,
        }
    )


def operating_rows(points: pd.DataFrame, model: str) -> pd.DataFrame:
    """Return `decision.operating_table` of one model for the page, a row per threshold and side."""
    rows: list[dict[str, str]] = []
    rule = "Threshold chosen by"
    for point in points[points.model == model].to_dict("records"):
        for side in ("val", "test"):
            if f"{side}_escapes" not in point:
                continue
            row = {rule: decision.rule_text(point), "Promised": per_cent(point, "promised")}
            thresholds = told_apart(point["threshold"], point["reject_threshold"])
            row["Pass below / reject from"] = " / ".join(thresholds)
            row["On"] = SIDES[side]
            for share, title in decision.SHARES.items():
                row[title] = f"{plain(point, f'{side}_{share}')} %"
            row["Escapes"] = _counted(point, side, "escapes", "bad", "escape_rate")
            row["Overkill"] = _counted(point, side, "overkilled", "good", "overkill_rate")
            if f"{side}_cost" in point:
                row[f"Cost per {decision.PER_PARTS:,}"] = f"{point[f'{side}_cost']:,.1f}"
            rows.append(row)
    shape = pd.DataFrame(rows)
    same = shape.columns.drop(rule).tolist()  # rules may have chosen the same thresholds
    shape[rule] = shape.groupby(same, sort=False)[rule].transform("; and ".join)
    return shape.drop_duplicates(same).drop(columns="Promised")


def _counted(row: Row, side: str, count: str, of: str, rate: str) -> str:
    counted = f"{row[f'{side}_{count}']:.0f} of {row[f'{side}_{of}']:.0f}"
    return f"{counted}: {per_cent(row, f'{side}_{rate}', ' %')}"


def _title(row: Row, submitted: str) -> str:
    averaged = row.get("averaged")
    title = display_name(row["model"], averaged if isinstance(averaged, str) else "")
    return title + (SUBMITTED if row["model"] == submitted else "")


def _p(row: Row) -> str:
    p = row.get("p_holm", np.nan)
    if pd.isna(p):
        return "-"
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def _parameters(row: Row) -> str:
    n = row.get("parameters", np.nan)
    if pd.isna(n):
        return "-"
    text = f"{n / 1e6:.1f} M" if n >= 1e6 else f"{n / 1e3:.0f} k" if n >= 1e3 else f"{n:.0f}"
    return text if pd.isna(row.get("members")) else f"{int(row['members'])} x {text}"


def _time(row: Row) -> str:
    seconds = row.get("seconds", np.nan)
    return "-" if pd.isna(seconds) else duration(seconds)
