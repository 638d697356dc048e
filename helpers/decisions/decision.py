"""Choose a model's thresholds and its temperature; report escapes, overkill and Brier scores.

Everything is chosen on validation and reported on test. Give cross-fitted models as they are
deployed (`Scored.deployed`), or their promises are not exact.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, special
from sklearn.metrics import brier_score_loss

from helpers.core import metrics
from helpers.core.finding import Finding
from helpers.core.style import LABEL_NAMES, SIGNIFICANT, percent_up
from helpers.decisions import operating_point
from helpers.decisions.operating_point import RULES, Bins, Line
from helpers.decisions.settings import DecisionSettings
from helpers.results.comparison import holm
from helpers.results.predictions import Scored

PER_PARTS = 1000  # costs are given per so many parts
LOT = "next lot"  # the rule whose units are lots
NEVER = 1.0  # PatchCore's scores are below it
# Scores of exactly 0 or 1 have no logit; float64 distinguishes 1 - 1e-15 from 1.
NEAREST_TO_CERTAIN = 1e-15
TEMPERATURE_LIMITS = (0.05, 20.0)


def line_of(settings: DecisionSettings, bad_rate: float) -> Line:
    """Return the production line that the settings describe."""
    costs = settings.escape_cost, settings.false_alarm_cost
    return Line(bad_rate, *costs, settings.review_share, settings.review_cost)


def decisions(
    scored: Scored, settings: DecisionSettings, bad_rate: float
) -> dict[str, tuple[Bins, float, bool]]:
    """Return the thresholds of one model by the rule that chose them on validation.

    With them come the promised escape rate, and False if `max_escape_rate` cannot be promised.
    "next lot" promises it for a lot, if the split keeps lots apart, from those of all folds
    (`Scored.whole`); the `RULES` promise it for a part of lots like these, all with the least
    overkill. "cheapest" (if there are costs) and "most accurate" (without third bin) promise
    nothing (NaN); they weigh parts as on the line.
    """
    data, line, chosen = scored.labels_scores("val"), line_of(settings, bad_rate), {}
    whole = scored.whole or scored
    if (known := lots(whole)) is not None:
        every = whole.labels_scores("val")
        promise = operating_point.threshold_for_lots(*every, known, settings.max_escape_rate)
        reject_from = operating_point.reject_threshold(*every, promise.threshold, line)
        chosen[LOT] = Bins(promise.threshold, reject_from), promise.rate, promise.is_kept
    for rule in RULES:
        promise = operating_point.threshold_for_escape_rate(*data, settings.max_escape_rate, rule)
        reject_from = operating_point.reject_threshold(*data, promise.threshold, line)
        chosen[rule] = Bins(promise.threshold, reject_from), promise.rate, promise.is_kept
    if line.escape_cost:
        chosen["cheapest"] = operating_point.cheapest_bins(*data, line), np.nan, True
    threshold = metrics.most_accurate_threshold(*data, bad_rate)
    return chosen | {"most accurate": (Bins(threshold, threshold), np.nan, True)}


def operating_table(
    scored: Mapping[str, Scored], settings: DecisionSettings, bad_rate: float
) -> pd.DataFrame:
    """Return the `operating_point.effect` of `decisions`: a row per model, rule and side.

    The column `side` is "val", and "test" if its labels are known. Intervals are by groups if these
    are known (parts of one lot fail together). `reviewed` is the share of all parts on the line
    that are looked at again, `cost` (if costs are given) that of 1,000 parts.
    """
    line, rows = line_of(settings, bad_rate), []
    for name, model in scored.items():
        for rule, (bins, promised, is_kept) in decisions(model, settings, bad_rate).items():
            about: dict[str, Any] = {"model": name, "title": model.title, "kind": model.model.kind}
            about |= {"rule": rule, "asked": settings.max_escape_rate}
            about |= {"promised": promised, "is_kept": is_kept}
            about |= {"threshold": bins.pass_below, "reject_threshold": bins.reject_from}
            for side in dict.fromkeys(["val", model.judged_on]):
                data = model.labels_scores(side)
                row = operating_point.effect(*data, bins, model.groups(side))
                row["reviewed"] = operating_point.reviewed_share(*data, bins, bad_rate)
                if line.escape_cost:
                    rates = row["escape_rate"], row["overkill_rate"], row["reviewed"]
                    row["cost"] = PER_PARTS * float(operating_point.expected_cost(*rates, line))
                rows.append(about | {"side": side} | row)
    return pd.DataFrame(rows)


def of_lots(points: pd.DataFrame) -> str:
    """Return the rule that verdicts follow: "next lot" if `operating_table` has it."""
    return LOT if (points.rule == LOT).any() else "expected"


def broken(points: pd.DataFrame) -> pd.Series:
    """Return for each model whether its escapes on test break its promise (`operating_table`).

    They do if the 95 % interval is above the promised rate, and if so many escapes are improbable
    (`chance_of_escapes`, after Holm's correction for the number of promises). No test can show that
    a promise on average holds.
    """
    rows = points[(points.rule == "expected") & (points.kind != "reference")]
    test, val = (rows[rows.side == side].set_index("model") for side in ("test", "val"))
    counts = test.escapes, test.bad, val.bad[test.index], test.promised
    p_values = holm([operating_point.chance_of_escapes(*row) for row in zip(*counts, strict=True)])
    return (test.escape_rate_low > test.promised) & (p_values < SIGNIFICANT / 2)  # one-sided


def lots(scored: Scored) -> np.ndarray | None:
    """Return the lots (groups) of the validation parts if the split keeps them apart, else None.

    None too if the lot of a bad part is unknown: lots could not be counted.
    """
    labels, known = scored.labels_scores("val")[0], scored.blocks("val")
    return None if known is None or pd.isna(known[labels == 1]).any() else known


def bad_lots(scored: Scored) -> int:
    """Return the number of lots of a model's bad validation parts; 0 if unknown."""
    labels, known = scored.labels_scores("val")[0], lots(scored)
    return 0 if known is None else len({*known[labels == 1]})


def held_out(scored: Scored, point: pd.Series) -> Finding:
    """Return how many bad parts, or lots with some, set a row's promise (`operating_table`), and
    how many are missing.

    Give the model itself, not `deployed`: if it is cross-fitted, the calibration fold sets the
    promise, with its share of the bad parts of all folds. This share stays the same if there are
    more bad parts; with CROSS_FIT=2 it is half.
    """
    needed, promised = operating_point.parts_needed(point.asked), percent_up(point.promised)
    too_few = f"too few: {promised} % is promised, {100 * point.asked:g} % needs {needed:,.0f}"
    if point.rule == LOT:
        verdict = "enough" if point.is_kept else too_few
        return Finding("lots with bad parts held out", bad_lots(scored), verdict=verdict, unit="")
    in_all, n = (int(each.labels_scores("val")[0].sum()) for each in (scored, scored.deployed))
    n_folds = len({member.fold for member in scored.model.members})
    folds = " in all folds" if n_folds > 1 else ""
    verdict = "enough"
    if not point.is_kept:
        total = np.ceil(needed * in_all / n)
        verdict = f"{too_few}{folds and f' ({total:,.0f}{folds})'}, "
        verdict += f"{total - in_all:,.0f} more"
        if n_folds > 2:
            verdict += f" ({max(0, 2 * needed - in_all):,.0f} with CROSS_FIT=2)"
    unit = f"of {in_all}{folds}" if folds else ""
    return Finding("bad parts held out", n, verdict=verdict, unit=unit)


def good_alone(scored: Scored, settings: DecisionSettings) -> pd.DataFrame:
    """Return the threshold chosen from good parts alone: a row like those of `operating_table`.

    At most the fraction `overkill_promised` of the good parts does not pass. A person looks at
    these again; none is rejected. Nothing is promised about bad parts: all may pass.
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


def calibration_table(scored: Mapping[str, Scored], bad_rate: float) -> pd.DataFrame:
    """Return each model's temperature, fitted on validation, and its Brier scores.

    These are before and after scaling, on test, or on validation if test labels are hidden.
    """
    rows = []
    for name, model in scored.items():
        temperature = temperature_scale(*model.labels_scores("val"), bad_rate)
        labels, scores = model.labels_scores()
        scaled = apply_temperature(scores, temperature)
        briers = (brier_score_loss(labels, each) for each in (scores, scaled))
        rows.append([name, temperature, *briers])
    return pd.DataFrame(rows, columns=["model", "temperature", "brier", "brier_scaled"])


def temperature_scale(labels: ArrayLike, scores: ArrayLike, bad_rate: float) -> float:
    """Return the temperature with the least cross-entropy of `apply_temperature`.

    Above 1 the model was overconfident (Guo et al. 2017). Labels and scores are those of
    validation, weighted as on a line where the fraction `bad_rate` is bad. The targets are Platt's
    (1999): (b + 1) / (b + 2) for each of b bad parts and 1 / (g + 2) for each of g good ones, as if
    one more of each class had been seen; so two separated parts do not give a certain answer.
    """
    labels, scores = metrics.check_both_classes(labels, scores)
    of_scores, rate = logits(scores), labels.mean()
    n_bad, n_good = labels.sum(), (1 - labels).sum()
    weights = np.where(labels == 1, bad_rate / rate, (1 - bad_rate) / (1 - rate))
    targets = np.where(labels == 1, (n_bad + 1) / (n_bad + 2), 1 / (n_good + 2))

    def cross_entropy(log_temperature: float) -> float:
        z = of_scores / np.exp(log_temperature)
        return float(np.average(np.logaddexp(0, z) - targets * z, weights=weights))

    limits = np.log(TEMPERATURE_LIMITS)
    fit = optimize.minimize_scalar(cross_entropy, bounds=limits, options={"xatol": 1e-8})
    return float(np.exp(fit.x))


def apply_temperature(scores: ArrayLike, temperature: float) -> np.ndarray:
    """Return scores (N,) with their logits divided by `temperature`, which keeps the ranking."""
    scores = np.asarray(scores, dtype=np.float64)
    return special.expit(logits(scores) / temperature)


def at_bad_rate(probabilities: ArrayLike, data_rate: float, line_rate: float) -> np.ndarray:
    """Return probabilities of bad (N,) on a line with another bad rate than that of the data.

    Good and bad parts are assumed to look as in the data. Then the odds are multiplied by those of
    `line_rate` over those of `data_rate` (Saerens, Latinne and Decaestecker 2002, equation 4).
    """
    # equal rates may be 0, whose logit is infinite
    ratio = 0.0 if line_rate == data_rate else special.logit(line_rate) - special.logit(data_rate)
    return special.expit(special.logit(np.asarray(probabilities, dtype=np.float64)) + ratio)


def logits(scores: ArrayLike) -> np.ndarray:
    """Return the logits (N,) of scores (N,), finite for scores of 0 and 1 too."""
    return special.logit(np.clip(scores, NEAREST_TO_CERTAIN, 1 - NEAREST_TO_CERTAIN))
