"""Compare models on the same parts.

Every comparison is paired, by DeLong's test, or by Obuchowski's for parts in groups if the split
keeps them apart. Both are in `helpers.core.metrics`.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from helpers.core import metrics
from helpers.core.finding import Finding
from helpers.core.style import SIGNIFICANT
from helpers.results.predictions import JUDGED, Scored, common

FIRST = "fbp"  # the base that is used unless another model is ahead of it


def compare_with(scored: Mapping[str, Scored], reference: str) -> pd.DataFrame:
    """Return the AUC of every other model minus that of `reference`; `p_holm` is by `holm`.

    Choose the reference on validation: the best of many on test is partly the luckiest.
    """
    scored = common(scored)
    rows = [
        [name, other.model.title, *paired(other, scored[reference])]
        for name, other in scored.items()
        if name != reference
    ]
    fields = ["difference", "difference_low", "difference_high", "p_value", "standard_error"]
    table = pd.DataFrame(rows, columns=["model", "title", *fields])
    tested = table.p_value[[scored[name].model.kind != "reference" for name in table.model]]
    return table.assign(p_holm=pd.Series(holm(tested), tested.index))


def ranked(scored: Mapping[str, Scored]) -> list[str]:
    """Order names for use: FBP, after those models alone that are ahead of it on validation.

    A model is ahead if its validation AUC is higher by more than the standard error of the
    difference, with groups as units where the split keeps them apart: few lots know an AUC to
    several points, so the highest of many is often the luckiest. All others, and all models
    if there is no FBP, are ordered by number of validation images, AUC, and place in the table.
    """

    def key(name: str) -> tuple[int, float, tuple[int, str]]:
        labels, scores = scored[name].labels_scores("val")
        auc = metrics.roc_auc(labels, scores) if labels.any() else 0
        return -len(labels), -auc, scored[name].model.order

    names = sorted(scored, key=key)
    most = [name for name in names if key(name)[0] == key(names[0])[0] and key(name)[1]]
    first = next((name for name in most if scored[name].model.base == FIRST), None)
    if first is None:
        return names
    ahead = []
    for name in most[: most.index(first)]:
        test = paired(scored[name], scored[first], "val")
        ahead += [name] if test.difference > test.standard_error else []
    return list(dict.fromkeys([*ahead, first, *names]))


def paired(one: Scored, other: Scored, side: str = JUDGED) -> metrics.Comparison:
    """Return the AUC of one model minus that of another on a side's images that both have scored.

    On validation the scores of cross-fitted models are pooled over the folds.
    """
    first, second = common({"one": one, "other": other}).values()
    (labels, scores), (others, other_scores) = (m.labels_scores(side) for m in (first, second))
    if not np.array_equal(labels, others):
        raise ValueError(f"{one.name} and {other.name} were judged by different labels")
    return metrics.auc_difference(labels, scores, other_scores, first.blocks(side))


def gain(one: Scored, other: Scored) -> Finding:
    """Return `gains` of one pair."""
    return gains([(one, other)])[0]


def gains(pairs: Iterable[tuple[Scored, Scored]]) -> list[Finding]:
    """Return a finding for each pair of models; the verdicts are corrected by Holm."""
    pairs, found = [*pairs], []
    tests = [paired(*pair) for pair in pairs]
    corrected = holm([test.p_value for test in tests])
    for (one, other), test, p in zip(pairs, tests, corrected, strict=True):
        what = f"{one.model.title} minus {other.model.title}, {one.judged_by} AUC"
        verdict = "ahead" if test.difference > 0 else "behind"
        if not p < SIGNIFICANT:  # the interval is that of a single comparison
            is_unsure = test.p_value < SIGNIFICANT
            verdict = f"unsure: one of {len(pairs)} tests" if is_unsure else "no difference seen"
        found.append(Finding(what, *test[:3], verdict, "points"))
    return found


def holm(p_values: ArrayLike) -> np.ndarray:
    """Return p-values (M,) corrected for the number of tests, by Holm (1979).

    If those below 0.05 are called significant, at most 5 % of such tables have a false positive.
    The smallest is multiplied by M, the next by M - 1, and so on; the results never decrease.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    return np.minimum(adjusted, 1)[np.argsort(order)]


def with_ends(name: str, interval: metrics.Interval) -> dict[str, float]:
    """Return the columns of an interval: `<name>`, `<name>_low` and `<name>_high`."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), interval, strict=True))


def interval_of(row: pd.Series, name: str) -> metrics.Interval:
    """Return the interval that `with_ends` has written into a row; missing ends are NaN."""
    ends = (row[name], row.get(f"{name}_low", np.nan), row.get(f"{name}_high", np.nan))
    return metrics.Interval(*map(float, ends))
