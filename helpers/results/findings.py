"""Sentences about the models of notebooks 02 and 03, and about all learning curves.

Each is "headline: the numbers", so that `style.headline` makes it the title of a picture. A
function returns "" if there is nothing to say. A difference is said with its interval and p-value,
or with its standard error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from helpers.core.style import SIDES, SIGNIFICANT, p_value, percent, with_interval
from helpers.models.names import CLASSICAL, FINETUNED, base_name, display_name
from helpers.results.comparison import holm, paired
from helpers.results.predictions import Scored
from helpers.results.report_table import per_cent
from helpers.results.results_table import best_model
from helpers.results.two_splits import repeated_differences

LAST = 0.25  # share of the epochs that counts as the end of a training
LEAST_EPOCHS = 4  # a shorter training has no last quarter
FEW = 3  # trainings; the standard error of fewer says little


def best_classical(table: pd.DataFrame, end: str = "") -> str:
    """Return the classical model with the best validation AUC; "" if there is none.

    `table` is that of `results_table`. The features are pretrained, or fine-tuned if `end` is
    `names.FINETUNED`.
    """
    models = table[table.model.map(base_name).isin([name + end for name in CLASSICAL])]
    return best_model(models) if len(models) else ""


def classical(table: pd.DataFrame, scored: Mapping[str, Scored]) -> str:
    """Say which classical model is best on validation, and whether it is clearly ahead."""
    if not (best := best_classical(table)):
        return ""
    text = f"{display_name(best)} has the best validation AUC of the classical models"
    others = table[table.model.map(base_name).isin(CLASSICAL) & (table.model != best)]
    if others.empty:
        return f"{text}: {_aucs(table, best)}."
    second = best_model(others)
    ahead, *_ = paired(scored[best], scored[second], "val")
    verb = "and is clearly" if ahead.p_value < SIGNIFICANT else "but is not clearly"
    return (
        f"{text}, {verb} ahead of {display_name(second)}: {_aucs(table, best)}; the difference on "
        f"validation is {_points(ahead.difference)} points ({p_value(ahead.p_value)})."
    )


def within_groups(table: pd.DataFrame, models: Sequence[str]) -> str:
    """Say how good models are inside the groups, where telling bad groups does not help.

    `table` is that of `results_table`; nothing is said of models that it lacks, or without groups.
    """
    side = "test" if "test_auc" in table else "val"
    within = f"{side}_within_auc"
    if within not in table:
        return ""
    rows = table[table.model.isin(models) & table[within].notna()].set_index("model")
    rows = rows.loc[[name for name in models if name in rows.index]]
    each = [
        f"{display_name(str(name))} {per_cent(row, within)} "
        f"({percent(row[f'{side}_auc'])} over all images)"
        for name, row in rows.iterrows()
    ]
    if not each:
        return ""
    words = "inside the groups"
    if (rows[f"{within}_high"] < rows[f"{side}_auc"]).all():
        words = "is lower inside the groups, where telling bad groups from good ones does not help"
    return f"{SIDES[side].capitalize()} AUC {words}: {', '.join(each)}."


def best(table: pd.DataFrame, verb: str = "is the best model by validation AUC") -> str:
    """Say which of all models is best on validation, and its AUC."""
    name = best_model(table)
    return f"{display_name(name)} {verb}: {_aucs(table, name)}."


def gain(
    scored: Mapping[str, Scored], one: str, other: str, subject: str = "", rival: str = ""
) -> str:
    """Say how the AUC of a model differs from another's on the same images, by a paired test.

    It is that on test, or on validation if the test labels are hidden.

    Args:
        scored: the models.
        one, other: two of them; nothing is said if one is missing.
        subject, rival: how to call them in the sentence; default: their names.
    """
    if one not in scored or other not in scored:
        return ""
    found, (first, second), side = paired(scored[one], scored[other])
    points = f"{abs(100 * found.difference):.1f} points of {SIDES[side]} AUC"
    verb = f"gains {points} over" if found.difference > 0 else f"is {points} behind"
    if found.p_value >= SIGNIFICANT:
        verb = f"is not shown to differ in {SIDES[side]} AUC from"
    return (
        f"{subject or display_name(one)} {verb} {rival or display_name(other)}: "
        f"{percent(first)} against {percent(second)} (difference "
        f"{with_interval(*found[:3], sign='+')}, {p_value(found.p_value)})."
    )


def pairs(
    scored: Mapping[str, Scored], rivals: Mapping[str, str], subject: str, verbs: Sequence[str]
) -> str:
    """Say how models differ from their rivals, by paired tests with Holm's correction.

    `rivals` maps the name of each rival to that of the model; missing ones are left out. `verbs`
    are for rivals that are significantly worse, for those that are better, and for neither.
    """
    known = [(one, other) for other, one in rivals.items() if {one, other} <= scored.keys()]
    if not known:
        return ""
    found = [paired(scored[one], scored[other]) for one, other in known]
    p_values = holm([own.p_value for own, *_ in found])
    numbers, by_verb = [], dict[str, list[str]]()
    for (_, other), (own, *_), p in zip(known, found, p_values, strict=True):
        name = display_name(other)
        numbers.append(f"{with_interval(*own[:3], sign='+')} over {name} ({p_value(p)})")
        if p < SIGNIFICANT:
            by_verb.setdefault(verbs[own.difference < 0], []).append(name)
    done = " and ".join(f"{verb} {_listed(names)}" for verb, names in by_verb.items())
    about = f"points of {SIDES[found[0][2]]} AUC with 95 % intervals, p by Holm's correction"
    return f"{subject} {done or verbs[2]}: {', '.join(numbers)}; {about}."


def finetuned_features(scored: Mapping[str, Scored]) -> str:
    """Say which classical models are better on fine-tuned features than on pretrained ones."""
    rivals = {name: name + FINETUNED for name in CLASSICAL}
    verbs = ("help", "harm", "are not shown to help a classical model")
    return pairs(scored, rivals, "Fine-tuned features", verbs)


def last_epochs(curves: pd.DataFrame, training: str = "training") -> str:
    """Say which trainings still improve over the last quarter of their epochs.

    Args:
        curves: one row per epoch: `model, seed, fold, epoch, val_auc`. A model of several trainings
            has a standard error over them; the best epoch of a single training is named.
        training: what to call one of them.
    """
    growing, gained, at_the_end, best_epochs = [], [], [], []
    for model, own in curves.groupby("model", sort=False):
        name, last = display_name(str(model)), int(own.epoch.max())
        trainings = own.assign(fold=own.fold.fillna(-1))
        wide = trainings.pivot_table("val_auc", ["seed", "fold"], "epoch")
        if last < LEAST_EPOCHS:
            continue
        if len(wide) < FEW:
            found = [int(epoch) for epoch in wide.columns[wide.to_numpy().argmax(axis=1)]]
            at_the_end += [name] if last in found else []
            best_epochs.append(f"{name} {_listed([str(epoch) for epoch in found])} of {last}")
            continue
        gains = wide[last] - wide[last - round(LAST * last)]
        mean, error = gains.mean(), gains.std() / np.sqrt(len(gains))
        growing += [name] if mean > 2 * error else []
        gained.append(f"{name} {_points(mean)} ± {100 * error:.1f}")
    numbers = []
    if gained:
        numbers.append(
            f"{', '.join(gained)} points of validation AUC over the last quarter of the epochs "
            "(mean ± standard error over the trainings)"
        )
    if best_epochs:
        numbers.append(f"on validation the best epochs are {', '.join(best_epochs)}")
    if not numbers:
        return ""
    texts = [f"{_listed(growing)} still improved at the end"] if growing else []
    if at_the_end:
        verb = "was best at its last epoch" if len(at_the_end) == 1 else "were best at their last"
        texts.append(f"{_listed(at_the_end)} {verb}, so more epochs may help")
    if not texts and gained:
        texts = [f"No {training} is shown to improve at the end"]
    elif not texts:
        texts = [f"Every {training} was best before its last epoch"]
    return f"{'; '.join(texts)}: {'; '.join(numbers)}."


def unseen_groups(repetitions: pd.DataFrame) -> str:
    """Say what groups cost that no training has seen, from `two_splits.repeated_table`."""
    if repetitions.empty:
        return ""
    table = repeated_differences(repetitions)
    whole, within = (table[table.column == column] for column in ("auc", "within_auc"))
    each = [
        f"{row.model} {_points(row.difference)} ± {100 * row.error:.1f}"
        for row in whole.itertuples()
    ]
    n = int(min(whole.random_n.min(), whole.groups_n.min()))
    quantile = stats.t.ppf(0.975, n - 1)  # cautious: Welch's degrees of freedom are not fewer
    text = "The cost of unseen groups is not clear from so few splits"
    if (whole.difference + quantile * whole.error < 0).all():
        text = "Groups that no training has seen cost AUC"
    text += f": {', '.join(each)} points on unseen groups against random splits (mean difference "
    text += f"± standard error, {n} splits of each kind)."
    known = within[within.random_mean.notna()]
    if known.empty:
        return text
    row = known.iloc[0]
    pooled = whole[whole.model == row.model].iloc[0]
    return (
        f"{text} Inside the groups the difference of {row.model} is {_points(row.difference)} ± "
        f"{100 * row.error:.1f}; there it reaches {percent(row.random_mean)} ± "
        f"{percent(row.random_std)} on random splits, and {percent(pooled.random_mean)} ± "
        f"{percent(pooled.random_std)} over all groups together (mean ± standard deviation)."
    )


def _aucs(table: pd.DataFrame, model: str) -> str:
    row = table.set_index("model").loc[model]
    if "test_auc" not in table:
        return f"{per_cent(row, 'val_auc')} on validation"
    return f"{percent(row.val_auc)} on validation, {per_cent(row, 'test_auc')} on test"


def _points(difference: float) -> str:
    return f"{round(100 * difference, 1) + 0.0:+.1f}"  # + 0.0: never -0.0


def _listed(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
