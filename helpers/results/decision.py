"""From scores to a decision: thresholds, what they let escape and throw away, and calibration.

Everything is chosen on validation and reported on test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from helpers.results import calibration, metrics, operating_point
from helpers.results.report_table import per_cent
from helpers.runs.names import display_name
from helpers.runs.predictions import Scored
from helpers.runs.settings import AnalysisSettings

PER_PARTS = 1000  # costs are given per so many parts
KINDS = ("escape", "overkill")


def thresholds(scored: Scored, settings: AnalysisSettings, bad_rate: float) -> dict[str, float]:
    """Return the thresholds of one model by the rule that chose them on validation.

    The rules: at most `max_escape_rate` of the bad parts escape, with the least overkill; if both
    costs are above 0, the least expected cost; and the fewest mistakes. For the last two, good and
    bad parts are weighted as on the line, where the fraction `bad_rate` is bad.
    """
    labels, scores = scored.labels_scores("val")
    most, costs = settings.max_escape_rate, (settings.escape_cost, settings.false_alarm_cost)
    at_most = operating_point.threshold_for_escape_rate(labels, scores, most)
    found = {f"escapes <= {100 * most:g} %": at_most}
    if min(costs) > 0:
        found["cheapest"] = operating_point.cheapest_threshold(labels, scores, *costs, bad_rate)
    found["most accurate"] = operating_point.cheapest_threshold(labels, scores, 1, 1, bad_rate)
    return found


def operating_table(
    scored: Mapping[str, Scored], settings: AnalysisSettings, bad_rate: float
) -> pd.DataFrame:
    """Return what each of the `thresholds` does: a row per model and rule.

    Returns:
        `model, rule, threshold`, then for `val` and, if its labels are known, `test`:
        `*_escapes, *_bad, *_overkilled, *_good` (counts), `*_escape_rate, *_overkill_rate` with
        `*_low, *_high` (exact 95 %), and with costs `*_cost` per 1,000 parts.
    """
    costs = settings.escape_cost, settings.false_alarm_cost
    rows = []
    for name, own in scored.items():
        for rule, threshold in thresholds(own, settings, bad_rate).items():
            row: dict[str, Any] = {"model": name, "rule": rule, "threshold": threshold}
            for side in dict.fromkeys(["val", own.judged_on]):
                point = operating_point.escape_and_overkill(*own.labels_scores(side), threshold)
                counts = ("escapes", "bad", "overkilled", "good")
                rates = (f"{kind}_rate{end}" for kind in KINDS for end in ("", "_low", "_high"))
                values = (*point[2:], *point.escape_rate, *point.overkill_rate)
                columns = (f"{side}_{name}" for name in (*counts, *rates))
                row |= dict(zip(columns, values, strict=True))
                if min(costs) > 0:
                    cost = operating_point.expected_cost(point, *costs, bad_rate)
                    row[f"{side}_cost"] = PER_PARTS * cost
            rows.append(row)
    return pd.DataFrame(rows)


def operating_shape(table: pd.DataFrame) -> pd.DataFrame:
    """Return `operating_table` with counts, per cent and intervals in one cell each."""
    columns = {"Model": table.model.map(display_name), "Threshold chosen by": table.rule}
    shape = pd.DataFrame(columns | {"Threshold": table.threshold.map("{:.3g}".format)})
    rows = table.to_dict("records")
    for side, word in (("val", "Valid"), ("test", "Test")):
        if f"{side}_escapes" not in table:
            continue
        for kind, count, of in (("escape", "escapes", "bad"), ("overkill", "overkilled", "good")):
            shape[f"{word} {kind}"] = [
                f"{row[f'{side}_{count}']:.0f} of {row[f'{side}_{of}']:.0f}: "
                f"{per_cent(row, f'{side}_{kind}_rate', ' %')}"
                for row in rows
            ]
        if f"{side}_cost" in table:
            shape[f"{word} cost per {PER_PARTS:,}"] = table[f"{side}_cost"].map("{:,.1f}".format)
    return shape


def calibration_table(scored: Mapping[str, Scored], bad_rate: float, seed: int = 0) -> pd.DataFrame:
    """Return each model's temperature, and its Brier score before and after scaling.

    The temperature is fitted on validation, with good and bad parts weighted as on the line. The
    Brier scores are those on test, or on validation if test labels are hidden.

    Returns:
        `model, temperature, brier, brier_low, brier_high, brier_scaled`; a last row `base rate`
        is the Brier score of giving every part the judged side's own fraction of bad as its score.
    """
    columns = ["model", "temperature", "brier", "brier_low", "brier_high", "brier_scaled"]
    rows: list[list[Any]] = []
    for name, own in scored.items():
        temperature = calibration.temperature_scale(*own.labels_scores("val"), bad_rate)
        labels, scores = own.labels_scores()
        found = metrics.bootstrap_interval(labels, scores, calibration.brier, seed=seed)
        scaled = calibration.apply_temperature(scores, temperature)
        rows.append([name, temperature, *found, calibration.brier(labels, scaled)])
    share = float(np.mean(next(iter(scored.values())).labels_scores()[0]))
    rows.append(["base rate", np.nan, share * (1 - share), np.nan, np.nan, np.nan])
    return pd.DataFrame(rows, columns=columns)
