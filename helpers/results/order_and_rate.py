"""Split what a random split shows into the order inside groups and the rate of each group.

A random split trains on other images of each group (lot, module), and so tells each group's bad
rate. If that is all it adds, the AUC on seen groups can be rebuilt from scores of unseen ones:

    logit P(bad) = a (s - m) + b logit(prior)            s: logit of the unseen score
                 = a (s - m) + b logit(prior) + c m      m: its mean in the image's group

The prior is the bad rate of the group's images in the other random folds (`group_prior`), without a
pixel; s - m keeps the order inside a group, and nothing else. Weights are fitted out of fold.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats
from sklearn.linear_model import LogisticRegression

from helpers.core import metrics
from helpers.datasets.group_prior import group_prior
from helpers.results.comparison import with_ends
from helpers.results.out_of_fold import SEEN, UNSEEN, OutOfFold, complete_scores

CERTAIN = 1e-5  # scores nearer to 0 or 1 are moved here: the logit stays finite


def logits(scores: Any) -> Any:
    """Return the logits of scores between 0 and 1."""
    return special.logit(np.clip(scores, CERTAIN, 1 - CERTAIN))


def rebuilt(labels: np.ndarray, terms: list[np.ndarray], folds: np.ndarray) -> np.ndarray:
    """Return the logit of P(bad) (N,), a weighted sum of terms (N,) fitted on the other folds."""
    x, values = np.stack(terms, axis=1), np.zeros(len(labels))
    for fold in np.unique(folds):
        own = folds == fold
        fitted = LogisticRegression(C=np.inf).fit(x[~own], labels[~own])
        values[own] = fitted.decision_function(x[own])
    return values


def decomposition(found: OutOfFold) -> pd.DataFrame:
    """Return a row for each model that both protocols judge, the best on unseen groups first.

    AUCs: `unseen`, `rebuilt` by two terms and `rebuilt_with_mean` by three, `seen`. `unexplained`
    is seen minus rebuilt, `inside_gain` seen minus unseen inside each group and random fold, both
    with ends; `unseen_rate` and `seen_rate` are the correlations over groups of the mean logit with
    the bad rate. Groups are the units of intervals and tests.
    """
    labels, group = found.folds.label.to_numpy(np.int64), found.folds.group.to_numpy()
    folds = found.folds[SEEN].to_numpy()
    rate = logits(group_prior(found.folds.assign(fold=folds)))
    rows = []
    for name, scores in judged_twice(found).items():
        s = pd.Series(logits(scores.unseen))
        mean = s.groupby(group).transform("mean").to_numpy()
        terms = [s.to_numpy() - mean, rate]
        values = rebuilt(labels, terms, folds)
        row: dict[str, Any] = {"model": name, "title": found.models[name].title}
        for column, of in scores.assign(rebuilt=values).items():
            row |= with_ends(str(column), metrics.auc_interval(labels, of, group))
        row["rebuilt_with_mean"] = metrics.roc_auc(labels, rebuilt(labels, [*terms, mean], folds))
        *ends, row["p_value"], _ = metrics.auc_difference(labels, scores.seen, values, group)
        row |= with_ends("unexplained", metrics.Interval(*ends))
        gain = inside_gain(labels, scores.seen, scores.unseen, group, folds)
        row |= with_ends("inside_gain", gain)
        means = group_means(found, scores)
        rows.append(row | {f"{side}_rate": means.bad.corr(means[side]) for side in scores})
    return pd.DataFrame(rows).sort_values("unseen", ascending=False, ignore_index=True)


def judged_twice(found: OutOfFold) -> dict[str, pd.DataFrame]:
    """Return the scores `unseen` and `seen` (N,) of each model, the means over common seeds."""
    tables = [complete_scores(found, protocol) for protocol in (UNSEEN, SEEN)]
    judged = {}
    for name in found.models:
        both = [by.get(name, pd.DataFrame()) for by in tables]
        seeds = both[0].columns.intersection(both[1].columns)
        if len(seeds):
            means = (table[seeds].mean(axis=1).to_numpy() for table in both)
            judged[name] = pd.DataFrame(dict(zip(("unseen", "seen"), means, strict=True)))
    return judged


def group_means(found: OutOfFold, scores: pd.DataFrame) -> pd.DataFrame:
    """Return `bad` (the bad rate) and the mean logits of scores, a row for each group."""
    bad = found.folds.label.rename("bad").astype(float)
    return scores.transform(logits).join(bad).groupby(found.folds.group.to_numpy()).mean()


def inside_gain(
    labels: np.ndarray, a: np.ndarray, b: np.ndarray, groups: np.ndarray, folds: np.ndarray
) -> metrics.Interval:
    """Return the mean AUC of a minus that of b inside each group and fold, with its interval.

    A fold's images were scored by the same trainings. Cells with two good and two bad images count,
    weighted by their smaller class; their errors are summed by group.
    """
    parts = pd.DataFrame({"label": labels, "a": a, "b": b, "group": groups, "fold": folds})
    cells = []
    for (group, _), own in parts.groupby(["group", "fold"]):
        smaller = min(np.bincount(own.label, minlength=2))
        if smaller >= 2:
            gain = metrics.roc_auc(own.label, own.a) - metrics.roc_auc(own.label, own.b)
            cells.append((group, smaller, gain))
    if not cells:
        return metrics.Interval(np.nan, np.nan, np.nan)
    table = pd.DataFrame(cells, columns=["group", "weight", "gain"])
    weight = table.weight / table.weight.sum()
    gain = float(weight @ table.gain)
    of_groups = (weight * (table.gain - gain)).groupby(table.group).sum()
    n = len(of_groups)
    half = stats.t.ppf(metrics.TAILS[1], n - 1) * np.sqrt((of_groups**2).sum() * n / (n - 1))
    return metrics.Interval(gain, gain - half, gain + half)
