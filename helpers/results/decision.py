"""From scores to a decision: which threshold, what it lets escape and throws away, and how far a
score can be read as a probability. Everything is chosen on validation and reported on test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from helpers.results import calibration, metrics, operating_point
from helpers.runs.names import display_name
from helpers.runs.predictions import Scored
from helpers.runs.settings import AnalysisSettings

PER_PARTS = 1000  # costs are given per so many parts


def thresholds(scored: Scored, settings: AnalysisSettings, bad_rate: float) -> dict[str, float]:
    """The thresholds of one model by the rule that chose them on validation.

    At most `max_escape_rate` of the bad parts escape, with the least overkill; with both costs
    above 0 the least expected cost; and the fewest mistakes. For the last two validation is weighed
    as on the line, where the fraction `bad_rate` is bad.
    """
    labels, scores = scored.labels_scores("val")
    most, costs = settings.max_escape_rate, (settings.escape_cost, settings.false_alarm_cost)
    found = {
        f"escapes <= {100 * most:g} %": operating_point.threshold_for_escape_rate(
            labels, scores, most
        )
    }
    if min(costs) > 0:
        found["cheapest"] = operating_point.cheapest_threshold(labels, scores, *costs, bad_rate)
    found["most accurate"] = operating_point.cheapest_threshold(labels, scores, 1, 1, bad_rate)
    return found


def operating_table(
    scored: Mapping[str, Scored], settings: AnalysisSettings, bad_rate: float
) -> pd.DataFrame:
    """A row per model and rule for its threshold.

    Args:
        scored: the models.
        settings: the largest escape rate; with both costs above 0 the cheapest threshold comes too.
        bad_rate: the fraction of bad parts on the line.

    Returns:
        `model, rule, threshold`, then for `val` and, where its labels are known, `test`:
        `*_escapes, *_bad, *_overkilled, *_good` (counts), `*_escape_rate, *_overkill_rate` with
        `*_low, *_high` (exact 95 %), and with costs `*_cost` per 1,000 parts.
    """
    with_costs = min(settings.escape_cost, settings.false_alarm_cost) > 0
    rows = []
    for name, own in scored.items():
        for rule, threshold in thresholds(own, settings, bad_rate).items():
            row: dict[str, Any] = {"model": name, "rule": rule, "threshold": threshold}
            for side in dict.fromkeys(["val", own.judged_on]):
                point = operating_point.escape_and_overkill(*own.labels_scores(side), threshold)
                row |= _point_columns(side, point)
                if with_costs:
                    cost = operating_point.expected_cost(
                        point, settings.escape_cost, settings.false_alarm_cost, bad_rate
                    )
                    row[f"{side}_cost"] = PER_PARTS * cost
            rows.append(row)
    return pd.DataFrame(rows)


def operating_shape(table: pd.DataFrame) -> pd.DataFrame:
    """`operating_table` for the eye: counts, per cent and intervals in one cell each."""
    shape = pd.DataFrame(
        {"Model": table.model.map(display_name), "Threshold chosen by": table.rule}
    )
    shape["Threshold"] = table.threshold.map("{:.3g}".format)
    for side, word in (("val", "Valid"), ("test", "Test")):
        if f"{side}_escapes" not in table:
            continue
        for kind, count, of in (("escape", "escapes", "bad"), ("overkill", "overkilled", "good")):
            shape[f"{word} {kind}"] = [
                f"{row[f'{side}_{count}']:.0f} of {row[f'{side}_{of}']:.0f}: "
                f"{_rate(row, f'{side}_{kind}_rate')}"
                for _, row in table.iterrows()
            ]
        if f"{side}_cost" in table:
            shape[f"{word} cost per {PER_PARTS:,}"] = table[f"{side}_cost"].map("{:,.1f}".format)
    return shape


def calibration_table(scored: Mapping[str, Scored], bad_rate: float, seed: int = 0) -> pd.DataFrame:
    """Temperature fitted on validation (weighed as on the line), and the Brier score before and
    after it on test, or on validation where test labels are hidden.

    Returns:
        `model, temperature, brier, brier_low, brier_high, brier_scaled`; a last row `base rate`
        is the Brier score of calling every part bad with the judged side's own fraction of bad.
    """
    rows: list[dict[str, Any]] = []
    for name, own in scored.items():
        temperature = calibration.temperature_scale(*own.labels_scores("val"), bad_rate)
        labels, scores = own.labels_scores()
        found = metrics.bootstrap_interval(labels, scores, calibration.brier, seed=seed)
        scaled = calibration.apply_temperature(scores, temperature)
        rows.append(
            {
                "model": name,
                "temperature": temperature,
                "brier": found.estimate,
                "brier_low": found.low,
                "brier_high": found.high,
                "brier_scaled": calibration.brier(labels, scaled),
            }
        )
    share = float(np.mean(next(iter(scored.values())).labels_scores()[0]))
    return pd.DataFrame([*rows, {"model": "base rate", "brier": share * (1 - share)}])


def _point_columns(side: str, point: operating_point.OperatingPoint) -> dict[str, float]:
    row: dict[str, float] = {
        f"{side}_escapes": point.n_escaped,
        f"{side}_bad": point.n_bad,
        f"{side}_overkilled": point.n_overkilled,
        f"{side}_good": point.n_good,
    }
    for kind, rate in (("escape", point.escape_rate), ("overkill", point.overkill_rate)):
        row[f"{side}_{kind}_rate"] = rate.estimate
        row |= {f"{side}_{kind}_rate_low": rate.low, f"{side}_{kind}_rate_high": rate.high}
    return row


def _rate(row: pd.Series, column: str) -> str:
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    return f"{100 * row[column]:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
