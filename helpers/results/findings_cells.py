"""Sentences about the networks of cells, computed from the run's tables.

A sentence is "" if there is nothing to say. Models are chosen by validation AUC; test labels only
judge what was chosen. Differences of AUC are paired (`metrics.auc_difference`), in points.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pandas as pd

from helpers.core import metrics
from helpers.core.style import percent
from helpers.models.record import Model
from helpers.results import findings
from helpers.results.predictions import Scored, common

FINE_TUNED = Model("fbp")  # what networks trained from scratch are compared with
SEARCHED = Model("darts_searched")
POINT = 0.01  # of AUC
FEW_CELLS = 8  # with fewer, being the best of all is probable by chance alone
FASTER = 0.9  # of the milliseconds of another network; less is chance


def against_fine_tuning(scored: Mapping[str, Scored], from_scratch: Sequence[str]) -> str:
    """Say how far the best network trained from scratch is from the fine-tuned one.

    `from_scratch` names the candidates; the validation AUC chooses one.
    """
    names = [name for name in from_scratch if name in scored]
    if not names:
        return ""
    aucs = _val_aucs(common({name: scored[name] for name in names}))
    best = str(aucs.idxmax())
    subject = f"{scored[best].model.title}, by validation the best network trained from scratch,"
    return findings.gain(scored, best, FINE_TUNED.slug, subject)


def against_random(scored: Mapping[str, Scored]) -> str:
    """Say whether the searched cell beats the random ones that were trained as long."""
    random = [
        name
        for name, scores in scored.items()
        if scores.model.base == "random_cell" and not scores.model.teacher
    ]
    verbs = ("is better than", "is worse than", "is not shown to differ from a random cell")
    rivals = dict.fromkeys(random, SEARCHED.slug)
    text = findings.pairs(scored, rivals, SEARCHED.title, verbs)
    if text and len(random) < FEW_CELLS:
        few = "One random cell is" if len(random) == 1 else f"{len(random)} random cells are"
        text += f" {few} too few to judge the search."
    return text


def distillation(scored: Mapping[str, Scored]) -> str:
    """Say what a teacher has changed for each network that was trained with and without one.

    Nothing is said if the test labels are hidden: teachers have seen those of validation.
    """
    if any(model.judged_on == "val" for model in scored.values()):
        return ""
    rivals = {
        dataclasses.replace(scores.model, teacher="").slug: name
        for name, scores in scored.items()
        if scores.model.teacher
    }
    verbs = ("helps", "harms", "is not shown to help a network")
    return findings.pairs(scored, rivals, f"{FINE_TUNED.title} as teacher", verbs)


def cheapest(scored: Mapping[str, Scored], summary: pd.DataFrame) -> str:
    """Say which network is the fastest within a point of the best validation AUC.

    All are compared on the validation images that all have scored. Distilled networks are left out:
    their teachers have seen the labels of these images. A model costs what all of its trainings and
    views cost. `summary` has a row per model: `model, ms_single, trainings, test_views`.
    """
    untaught = [name for name, scores in scored.items() if not scores.model.teacher]
    rows = summary[summary.model.isin(untaught)].set_index("model")
    if len(rows) < 2:
        return ""
    ms = rows.ms_single * rows.trainings * rows.test_views.fillna(1).astype(int)
    aucs = _val_aucs(common({name: scored[name] for name in rows.index}))
    best = str(aucs.idxmax())
    chosen = str(ms[aucs >= aucs.max() - POINT].idxmin())
    about = f"the best network's validation AUC ({scored[best].model.title}, {percent(aucs.max())})"
    if ms[chosen] > FASTER * ms[best]:
        return f"No faster network comes within a point of {about}."
    return (
        f"The fastest network within a point of {about} is {scored[chosen].model.title}: "
        f"{ms[chosen]:.3g} instead of {ms[best]:.3g} ms per image with all its trainings and "
        f"views. {findings.gain(scored, chosen, best)}"
    )


def _val_aucs(scored: Mapping[str, Scored]) -> pd.Series:
    aucs = {name: metrics.roc_auc(*scores.labels_scores("val")) for name, scores in scored.items()}
    return pd.Series(aucs)
