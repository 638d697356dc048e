"""Choose thresholds; report escapes (false negatives), overkill (false positives), calibration.

Everything is chosen on validation and reported on test. Give cross-fitted models as they are
deployed (`Scored.deployed`), or their promises are not exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import brier_score_loss

from helpers.core.members import one_holds_a_class, stratified_folds
from helpers.core.metrics import Interval
from helpers.core.style import LABEL_NAMES, SIDES, percent_up, told_apart
from helpers.results import calibration, operating_point
from helpers.results.comparison import with_ends
from helpers.results.operating_point import Bins, Line
from helpers.results.predictions import Scored
from helpers.results.settings import DecisionSettings

PER_PARTS = 1000  # costs are given per so many parts
BY_GROUPS = " by groups"  # suffix of rules that promise a rate for a new group (lot, module)
PROMISES: dict[operating_point.Rule, str] = {
    "expected": "on average",
    "confident": "at 95 % confidence",
}
# columns of tables for the eye, see `core.tables`
OPERATING = {
    "Threshold chosen by": "{rules}",
    "Pass below / reject from": "{thresholds}",
    "On": "{side}",
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

    The rules: "expected" and "confident" promise that at most `max_escape_rate` of the bad parts
    escape, with the least overkill (`operating_point.threshold_for_escape_rate`); with the suffix
    `BY_GROUPS` they promise it for a new group, if the split keeps groups apart. If both costs are
    above 0, "cheapest" has the least expected cost; "most accurate" makes the fewest mistakes and
    has no third bin. Good and bad parts are weighted as on the line, where `bad_rate` is bad.
    """
    labels, scores = scored.labels_scores("val")
    line, chosen = line_of(settings, bad_rate), dict[str, Decision]()
    groups = scored.blocks("val")
    lots = {"": None} if groups is None else {"": None, BY_GROUPS: groups}
    for (by, units), rule in itertools.product(lots.items(), PROMISES):
        threshold, rate, is_kept = operating_point.threshold_for_escape_rate(
            labels, scores, settings.max_escape_rate, rule, units
        )
        reject_from = operating_point.reject_threshold(labels, scores, threshold, line)
        chosen[rule + by] = Decision(Bins(threshold, reject_from), rate, is_kept)
    if line.escape_cost:
        chosen["cheapest"] = Decision(operating_point.cheapest_bins(labels, scores, line))
    threshold = operating_point.most_accurate_threshold(labels, scores, bad_rate)
    chosen["most accurate"] = Decision(Bins(threshold, threshold))
    return chosen


def operating_table(
    scored: Mapping[str, Scored], settings: DecisionSettings, bad_rate: float
) -> pd.DataFrame:
    """Return what each of the `decisions` does: a row per model and rule.

    For `val` and, if its labels are known, `test` it has counts (`*_escapes, *_bad, *_overkilled,
    *_good`) and rates of the class (`*_escape_rate, *_overkill_rate, *_good_passed`) with 95 %
    intervals, by groups if they are known (parts of one lot fail together); the share of all parts
    on the line that are looked at again (`*_reviewed`); and with costs `*_cost` per 1,000 parts.
    """
    line, rows = line_of(settings, bad_rate), []
    for name, model in scored.items():
        for rule, (bins, promised, is_kept) in decisions(model, settings, bad_rate).items():
            row: dict[str, Any] = {"model": name, "title": model.title, "kind": model.model.kind}
            row |= {"rule": rule, "asked": settings.max_escape_rate}
            row |= {"promised": promised, "is_kept": is_kept}
            row |= {"threshold": bins.pass_below, "reject_threshold": bins.reject_from}
            for side in dict.fromkeys(["val", model.judged_on]):
                data, groups = model.labels_scores(side), model.groups(side)
                point = operating_point.escape_and_overkill(*data, *bins, groups)
                counts = zip(("escapes", "bad", "overkilled", "good"), point[2:], strict=True)
                row |= {f"{side}_{count}": value for count, value in counts}
                rates = {"escape_rate": point.escape_rate, "overkill_rate": point.overkill_rate}
                held = operating_point.escape_and_overkill(*data, bins.pass_below, groups=groups)
                rates["good_passed"] = Interval(*(1 - held.overkill_rate[end] for end in (0, 2, 1)))
                for rate, interval in rates.items():
                    row |= with_ends(f"{side}_{rate}", interval)
                looked = operating_point.reviewed_share(*data, bins, bad_rate)
                row[f"{side}_reviewed"] = looked
                if line.escape_cost:
                    escapes, overkill = point.escape_rate.estimate, point.overkill_rate.estimate
                    cost = operating_point.expected_cost(escapes, overkill, looked, line)
                    row[f"{side}_cost"] = PER_PARTS * float(cost)
            rows.append(row)
    return pd.DataFrame(rows)


def check_promise(scored: Scored, max_escape_rate: float, seed: int) -> pd.DataFrame:
    """Check the rule "expected" without a test set: halves of a fold judge each other's thresholds.

    The halves have whole groups if the split keeps these apart. They are scored by the trainings
    that have not seen the fold. A half can promise less than a whole fold.

    Returns:
        A row per bad part: `escaped`, the `promised` rate, by how many bad parts `held_out`, the
        number of the `half`, and the `group`; none if classes are too small.
    """
    folds = {member.fold for member in scored.model.members if member.fold is not None}
    judged = [pd.DataFrame(columns=["escaped", "promised", "held_out", "half", "group"])]
    for own in [scored.without(fold) for fold in sorted(folds)] or [scored]:
        labels, scores = own.labels_scores("val")
        if np.bincount(labels, minlength=2).min() < 2:
            continue
        halves = stratified_folds(labels, 2, seed, own.blocks("val"))
        if one_holds_a_class(halves, labels):
            continue
        parts = pd.DataFrame({"score": scores, "group": own.groups("val")})
        for half in (0, 1):
            threshold, promised, _ = operating_point.threshold_for_escape_rate(
                labels[halves == half], scores[halves == half], max_escape_rate
            )
            bad = parts[(halves != half) & (labels == 1)]
            about = {"promised": promised, "held_out": int(labels[halves == half].sum())}
            judged.append(bad.assign(escaped=bad.score < threshold, half=len(judged), **about))
    return pd.concat(judged)[[*judged[0]]]


def good_alone(scored: Scored, settings: DecisionSettings) -> pd.DataFrame:
    """Return the threshold chosen from good parts alone: a row like those of `operating_table`.

    At most the fraction `overkill_promised` of the good parts does not pass. A person looks at
    these again; none is rejected, as long as no bad part has shown that its score is high. Bad
    parts do not affect the threshold, and nothing is promised about them: all may pass.
    """
    labels, scores = scored.labels_scores("val")
    groups, asked = scored.blocks("val"), settings.max_overkill_rate
    promise = operating_point.threshold_for_overkill_rate(scores[labels == 0], asked)
    row = {"model": scored.name, "rule": "expected", "asked": settings.max_escape_rate}
    row |= {"promised": 1.0, "threshold": promise.threshold, "reject_threshold": NEVER}
    row |= {"overkill_asked": asked, "overkill_promised": promise.rate, "is_kept": promise.is_kept}
    for label, word in LABEL_NAMES.items():
        of_class = (scores >= promise.threshold)[labels == label]
        row |= {f"val_{word}": of_class.size, f"val_{word}_stopped": int(of_class.sum())}
    # the promise is for all good parts, not for those of a new group
    row["val_good_groups"] = 0 if groups is None else pd.Series(groups[labels == 0]).nunique()
    return pd.DataFrame([row | {"val_overkill_rate": 0.0}])  # of good parts that are rejected


def rule_text(row: Mapping[str, Any]) -> str:
    """Return the rule of a row of `operating_table` in words, and what it cannot promise."""
    rule, asked = row["rule"].removesuffix(BY_GROUPS), f"{100 * row['asked']:g} %"
    if rule not in PROMISES:
        return rule
    where, units = ("", "bad parts") if rule == row["rule"] else (" for a new group", "groups")
    if row["is_kept"]:
        return f"at most {asked} promised{where} {PROMISES[rule]}"
    enough = what_promises(row["asked"], [rule], f" {units}")
    return f"{percent_up(row['promised'])} % promised{where} {PROMISES[rule]} ({asked} {enough})"


def what_promises(rate: float, rules: Iterable[operating_point.Rule], units: str) -> str:
    """Return in words how many held-out units each rule needs to promise a rate."""
    needed = [operating_point.units_needed(rate, rule) for rule in rules]
    numbers = " and ".join(f"{n:,.0f}" for n in needed)
    return f"needs {numbers}{units}" if np.isfinite(needed).all() else "cannot be promised"


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

    The columns are those of `operating_table` without the side in their names, and `rules` (all
    that chose these thresholds, in words), `thresholds` and `side`; show it by `OPERATING`.
    """
    rows: list[dict[str, Any]] = []
    both = ["threshold", "reject_threshold"]
    for _, alike in points[points.model == model].groupby(both, sort=False, dropna=False):
        point, *others = alike.to_dict("records")  # rules may choose the same thresholds
        row = {"rules": "; ".join(map(rule_text, [point, *others]))}
        row["thresholds"] = " / ".join(told_apart(point["threshold"], point["reject_threshold"]))
        for side in ("val", "test"):
            if f"{side}_escapes" in point:
                counts = {k[len(side) + 1 :]: v for k, v in point.items() if k.startswith(side)}
                rows.append(row | {"side": SIDES[side]} | counts)
    return pd.DataFrame(rows)
