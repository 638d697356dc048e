"""Tables of notebook 06 as they are on its page, beside the results table (`report_table`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from helpers.core.style import SIDES, told_apart
from helpers.results import decision
from helpers.results.report_table import REPORT, per_cent, plain
from helpers.runs.names import display_name

Row = Mapping[str, Any]


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
