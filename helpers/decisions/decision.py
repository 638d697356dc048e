"""Choose thresholds; report escapes (false negatives), overkill (false positives), calibration.

Everything is chosen on validation and reported on test. Give cross-fitted models as they are
deployed (`Scored.deployed`), or their promises are not exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import brier_score_loss

from helpers.core import metrics
from helpers.core.finding import Finding
from helpers.core.metrics import Interval
from helpers.core.style import LABEL_NAMES, SIGNIFICANT, percent_up, told_apart
from helpers.decisions import calibration, operating_point
from helpers.decisions.operating_point import RULES, Bins, Line
from helpers.decisions.settings import DecisionSettings
from helpers.results.comparison import holm, with_ends
from helpers.results.predictions import Scored

PER_PARTS = 1000  # costs are given per so many parts
# columns of tables for the eye, see `core.tables`
OPERATING = {
    "Threshold chosen by": "{rules}",
    "Pass below / reject from": "{thresholds}",
    "Good that pass": "{good_passed:%} %",
    "Looked at again": "{reviewed:%} %",
    "Escapes of the bad": "{escapes:.0f} of {bad:.0f}: {escape_rate:%[]} %",
    "Overkill of the good": "{overkilled:.0f} of {good:.0f}: {overkill_rate:%[]} %",
}
COST = {f"Cost per {PER_PARTS:,}": "{cost:,.1f}"}
NEVER = 1.0  # PatchCore's scores are below it


class Decision(NamedTuple):
    """Two thresholds, and the escape rate that they promise (NaN if they promise none)."""

    bins: Bins
    promised: float = np.nan
    is_kept: bool = True  # False if the rate that was asked for cannot be promised


def line_of(settings: DecisionSettings, bad_rate: float) -> Line:
    """Return the production line that the settings describe."""
    costs = settings.escape_cost, settings.false_alarm_cost
    return Line(bad_rate, *costs, settings.review_share, settings.review_cost)


def decisions(scored: Scored, settings: DecisionSettings, bad_rate: float) -> dict[str, Decision]:
    """Return the thresholds of one model by the rule that chose them on validation.

    Those of `RULES` promise that at most `max_escape_rate` of the bad parts escape, with the least
    overkill (`operating_point.threshold_for_escape_rate`). If both costs are above 0, "cheapest"
    has the least expected cost; "most accurate" makes the fewest mistakes and has no third bin.
    Good and bad parts are weighted as on the line, where `bad_rate` is bad.
    """
    labels, scores = scored.labels_scores("val")
    line, chosen = line_of(settings, bad_rate), dict[str, Decision]()
    for rule in RULES:
        threshold, rate, is_kept = operating_point.threshold_for_escape_rate(
            labels, scores, settings.max_escape_rate, rule
        )
        reject_from = operating_point.reject_threshold(labels, scores, threshold, line)
        chosen[rule] = Decision(Bins(threshold, reject_from), rate, is_kept)
    if line.escape_cost:
        chosen["cheapest"] = Decision(operating_point.cheapest_bins(labels, scores, line))
    threshold = metrics.most_accurate_threshold(labels, scores, bad_rate)
    chosen["most accurate"] = Decision(Bins(threshold, threshold))
    return chosen


def operating_table(
    scored: Mapping[str, Scored], settings: DecisionSettings, bad_rate: float
) -> pd.DataFrame:
    """Return what each of the `decisions` does: a row per model, rule and side of the split.

    The column `side` is "val", and "test" if its labels are known. A row has counts (`escapes, bad,
    overkilled, good`) and rates of the class (`escape_rate, overkill_rate, good_passed`) with 95 %
    intervals, by groups if they are known (parts of one lot fail together); the share of all parts
    on the line that are looked at again (`reviewed`); and with costs the `cost` per 1,000 parts.
    """
    line, rows = line_of(settings, bad_rate), []
    for name, model in scored.items():
        for rule, (bins, promised, is_kept) in decisions(model, settings, bad_rate).items():
            about: dict[str, Any] = {"model": name, "title": model.title, "kind": model.model.kind}
            about |= {"rule": rule, "asked": settings.max_escape_rate}
            about |= {"promised": promised, "is_kept": is_kept}
            about |= {"threshold": bins.pass_below, "reject_threshold": bins.reject_from}
            for side in dict.fromkeys(["val", model.judged_on]):
                effect = _effect(model, side, bins, line)
                rows.append(about | {"side": side} | effect)
    return pd.DataFrame(rows)


def _effect(scored: Scored, side: str, bins: Bins, line: Line) -> dict[str, Any]:
    data, groups = scored.labels_scores(side), scored.groups(side)
    point = operating_point.escape_and_overkill(*data, *bins, groups)
    held = operating_point.escape_and_overkill(*data, bins.pass_below, groups=groups).overkill_rate
    row: dict[str, Any] = dict(
        zip(("escapes", "bad", "overkilled", "good"), point[2:], strict=True)
    )
    row |= with_ends("escape_rate", point.escape_rate)
    row |= with_ends("overkill_rate", point.overkill_rate)
    row |= with_ends("good_passed", Interval(*(1 - held[end] for end in (0, 2, 1))))
    row["reviewed"] = operating_point.reviewed_share(*data, bins, line.bad_rate)
    if line.escape_cost:
        rates = point.escape_rate.estimate, point.overkill_rate.estimate
        cost = operating_point.expected_cost(*rates, row["reviewed"], line)
        row["cost"] = PER_PARTS * float(cost)
    return row


def kept(points: pd.DataFrame) -> list[Finding]:
    """Return for each model the escapes on test, and whether its promise held (`operating_table`).

    The verdict is "broken" if the 95 % interval is above the promised rate, and if so many escapes
    are improbable (`chance_of_escapes`, after Holm's correction for the number of promises). A
    promise holds on average over such runs, for parts that are drawn like those held out.
    """
    rows = points[(points.rule == "expected") & (points.kind != "reference")]
    test, val = (rows[rows.side == side].set_index("model") for side in ("test", "val"))
    counts = test.escapes, test.bad, val.bad[test.index], test.promised
    p_values = holm([operating_point.chance_of_escapes(*row) for row in zip(*counts, strict=True)])
    above = (test.escape_rate_low > test.promised) & (p_values < SIGNIFICANT / 2)  # one-sided
    return [
        Finding(
            f"{row.title}: escapes of {row.bad} bad test parts, {percent_up(row.promised)} % "
            "promised on average",
            *(row.escape_rate, row.escape_rate_low, row.escape_rate_high),
            "broken" if is_broken else "not contradicted",
        )
        for row, is_broken in zip(test.itertuples(), above, strict=True)
    ]


def good_alone(scored: Scored, settings: DecisionSettings) -> pd.DataFrame:
    """Return the threshold chosen from good parts alone: a row like those of `operating_table`.

    At most the fraction `overkill_promised` of the good parts does not pass. A person looks at
    these again; none is rejected, as long as no bad part has shown that its score is high. Bad
    parts do not affect the threshold, and nothing is promised about them: all may pass.
    """
    labels, scores = scored.labels_scores("val")
    asked = settings.max_overkill_rate
    promise = operating_point.threshold_for_overkill_rate(scores[labels == 0], asked)
    row = {"model": scored.name, "rule": "expected", "asked": settings.max_escape_rate}
    row |= {"promised": 1.0, "threshold": promise.threshold, "reject_threshold": NEVER}
    row |= {"overkill_asked": asked, "overkill_promised": promise.rate, "is_kept": promise.is_kept}
    row |= {"side": "val", "overkill_rate": 0.0}  # of good parts that are rejected
    for label, word in LABEL_NAMES.items():
        of_class = (scores >= promise.threshold)[labels == label]
        row |= {word: of_class.size, f"{word}_stopped": int(of_class.sum())}
    return pd.DataFrame([row])


def rule_text(row: Mapping[str, Any]) -> str:
    """Return the rule of a row of `operating_table` in words, and what it cannot promise."""
    rule, asked = row["rule"], f"{100 * row['asked']:g} %"
    if rule not in RULES:
        return rule
    if row["is_kept"]:
        return f"at most {asked} promised {RULES[rule].words}"
    needed = operating_point.parts_needed(row["asked"], rule)
    enough = f"needs {needed:,.0f} bad parts" if np.isfinite(needed) else "cannot be promised"
    return f"{percent_up(row['promised'])} % promised {RULES[rule].words} ({asked} {enough})"


def calibration_table(scored: Mapping[str, Scored], bad_rate: float) -> pd.DataFrame:
    """Return each model's temperature, and its Brier score before and after scaling.

    The temperature is fitted on validation, with good and bad parts weighted as on the line. The
    Brier scores are those on test, or on validation if test labels are hidden.
    """
    rows = []
    for name, model in scored.items():
        temperature = calibration.temperature_scale(*model.labels_scores("val"), bad_rate)
        labels, scores = model.labels_scores()
        scaled = calibration.apply_temperature(scores, temperature)
        briers = (brier_score_loss(labels, each) for each in (scores, scaled))
        rows.append([name, temperature, *briers])
    return pd.DataFrame(rows, columns=["model", "temperature", "brier", "brier_scaled"])


def operating_rows(points: pd.DataFrame, model: str) -> pd.DataFrame:
    """Return `operating_table` of one model with a row per pair of thresholds and side.

    The added columns are `rules` (all that chose these thresholds, in words) and `thresholds`; show
    it by `OPERATING`.
    """
    own = points[points.model == model].reset_index(drop=True)
    pair = ["threshold", "reject_threshold"]
    own["rules"] = [rule_text(row) for row in own.to_dict("records")]
    own["rules"] = own.groupby([*pair, "side"], sort=False).rules.transform("; ".join)
    own["thresholds"] = [" / ".join(told_apart(*both)) for both in own[pair].to_numpy()]
    return own.drop_duplicates([*pair, "side"], ignore_index=True)
