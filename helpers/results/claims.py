"""Compare the report's numbers and claims (about Nexperia's parts) with those of a run.

Claims about what the network looks at need masks of the damage: BSData and drawn chips have them.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from helpers.core import metrics
from helpers.core.metrics import Interval
from helpers.results.comparison import paired, with_ends
from helpers.results.predictions import Scored, common

# Table 2: validation accuracy and test AUC, per cent. Not this project's numbers.
ACCURACIES = {
    **{"lda": "58.0", "rf": "54.0", "lr": "55.3", "svm": "57.0", "ll": "60.67", "cnn": "77.0"},
    **{"lda_on_fbp": "96.0", "rf_on_fbp": "95.6", "lr_on_fbp": "95.6", "svm_on_fbp": "95.6"},
    **{"fbp": "97.33", "darts_v2": "95.33", "darts_searched": "95.67"},
}
AUCS = {"fbp": "98.30", "darts_v2": "99.06", "darts_searched": "98.57"}
PRETRAINED = ("lda", "rf", "lr", "svm", "ll")  # models on features that are not fine-tuned
ON_FBP = ("lda_on_fbp", "rf_on_fbp", "lr_on_fbp", "svm_on_fbp")
ACCURACY, AUC = "held-out accuracy", "AUC"
REPORT = {ACCURACY: ACCURACIES, AUC: AUCS}
SEPARATED = "neighbours that share a label, fine-tuned less pretrained"
# measures of maps: the class, and the place of the highest pixel, or of the sum, less chance
FOCUS = "map for bad: highest pixel in the damage, less chance"
ELSEWHERE = "map for good: highest pixel outside of the damage, less chance"
CENTRE = "map for good: its share in the middle quarter, less 25 %"
OUTSIDE = "map for bad: its share outside of the middle quarter, less 75 %"


class Claim(NamedTuple):
    """A claim of the report, and its place: models `better` beat models `worse` on average."""

    text: str
    measure: str
    better: tuple[str, ...] = ()  # without models, a notebook measures it
    worse: tuple[str, ...] = ()

    @property
    def reported(self) -> float:
        """Return the mean difference in the report's Table 2, a fraction; NaN without a number."""
        known = REPORT.get(self.measure, {})
        better, worse = ([float(known.get(name, "nan")) for name in row] for row in self[2:])
        return float(np.mean(better) - np.mean(worse)) / 100 if better else np.nan


_NOT_ENOUGH = "Pretrained features are not enough: fine-tuning beats the mean of five such models"
_GOOD = "Fine-tuned features make classical models good: 56 % become 96 % on average"
_EFFECTIVE = "The cells that DARTS finds are effective, so better than random ones (section 3)"
CLAIMS = (
    Claim(_NOT_ENOUGH, ACCURACY, ("fbp",) * 5, PRETRAINED),
    Claim(_GOOD, ACCURACY, ON_FBP, PRETRAINED[:-1]),
    Claim("Even a two-layer CNN beats the last layer, LL (Table 2)", ACCURACY, ("cnn",), ("ll",)),
    Claim("Fine-tuning is more accurate than DARTS (section 3)", ACCURACY, ("fbp",), ("darts_v2",)),
    Claim("DARTS has a better AUC than fine-tuning (abstract)", AUC, ("darts_v2",), ("fbp",)),
    Claim("The searched cell beats fine-tuning too (Table 2)", AUC, ("darts_searched",), ("fbp",)),
    Claim(_EFFECTIVE, AUC, ("darts_searched",), ("random_cell",)),
    Claim("Features are better separated after fine-tuning (section 4.2)", SEPARATED),
    Claim("On a bad part the map for bad is on the damage (figure 10)", FOCUS),
    Claim("On a bad part the map for good is on an undamaged place (figure 11)", ELSEWHERE),
    Claim("On a good part the map for good is on the chip's centre (figure 7)", CENTRE),
    Claim("On a good part the map for bad is outside of the chip (figure 8)", OUTSIDE),
)


def claims_table(
    scored: Mapping[str, Scored], measured: Mapping[str, Interval] | None = None
) -> pd.DataFrame:
    """Return a row for each claim of the report, with the evidence of a run and a verdict.

    Accuracies are those on held-out images at each model's best threshold; all differences are
    paired. `measured` has the gains for claims that are not about models.
    """
    scored = {one.model.base: one for one in scored.values()} | dict(scored)  # any random cell
    rows = []
    for claim in CLAIMS:
        gain = (measured or {}).get(claim.measure, Interval(*[np.nan] * 3))
        if claim.better and {*claim.better, *claim.worse} <= scored.keys():
            gain = _gain(scored, claim)
        row = {"claim": claim.text, "measure": claim.measure, "reported": claim.reported}
        rows.append(row | with_ends("gain", gain) | {"verdict": verdict(claim.reported, gain)})
    return pd.DataFrame(rows)


def verdict(reported: float, gain: Interval) -> str:
    """Compare a 95 % interval with 0 and with the reported number (NaN: only its sign counts)."""
    if np.isnan(gain.estimate):
        return "untested"
    if gain.high < 0:
        return "reversed"
    if gain.low <= 0:
        return "undecided" if gain.high >= reported else "not seen"
    return "weaker" if gain.high < reported else "holds"


def _gain(scored: Mapping[str, Scored], claim: Claim) -> Interval:
    if claim.measure == AUC:
        return Interval(*paired(scored[claim.better[0]], scored[claim.worse[0]])[:3])
    models = common({name: scored[name] for name in (*claim.better, *claim.worse)})
    is_right = {}
    for name, model in models.items():
        labels, scores = model.labels_scores("val")
        called = scores >= metrics.most_accurate_threshold(labels, scores, float(labels.mean()))
        is_right[name] = (called == labels).astype(float)
    better, worse = (np.mean([is_right[name] for name in names], axis=0) for names in claim[2:])
    return metrics.mean_interval(better - worse, model.blocks("val"), -1)
