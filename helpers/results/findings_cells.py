"""Sentences about a search and the networks of cells, computed from the run's tables.

A sentence is "" if there is nothing to say. Models are chosen by validation AUC; test labels only
judge what was chosen. Differences of AUC are paired (`metrics.auc_difference`), in points.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from helpers.core import metrics
from helpers.core.style import percent
from helpers.models.names import DISTILLED, display_name
from helpers.results import findings
from helpers.results.predictions import Scored, common

FINE_TUNED = "fbp"  # what networks trained from scratch are compared with
POINT = 0.01  # of AUC
SEARCHED, RANDOM_CELL = "darts_searched", re.compile(r"random_cell_\d+")
FEW_CELLS = 8  # with fewer, being the best of all is probable by chance alone
FASTER = 0.9  # of the milliseconds of another network; less is chance


def search_summary(provenance: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> str:
    """Say how long a search was, and how well its supernet separates the images of alpha's part."""
    used = provenance["epoch_used"]
    return (
        f"{provenance['method']}: {provenance['epochs_run']} epochs in {provenance['seconds']:.0f} "
        f"s on {provenance['device']}. After epoch {used} the supernet has an AUC of "
        f"{percent(history[used - 1]['val_auc'])} on the training images that choose the "
        "operations."
    )


def against_fine_tuning(scored: Mapping[str, Scored], from_scratch: Sequence[str]) -> str:
    """Say how far the best network trained from scratch is from the fine-tuned one.

    `from_scratch` names the candidates; the validation AUC chooses one.
    """
    names = [name for name in from_scratch if name in scored]
    if not names:
        return ""
    aucs = _val_aucs(common({name: scored[name] for name in names}))
    best = max(aucs, key=aucs.__getitem__)
    subject = f"{display_name(best)}, by validation the best network trained from scratch,"
    return findings.gain(scored, best, FINE_TUNED, subject)


def against_random(scored: Mapping[str, Scored]) -> str:
    """Say whether the searched cell beats the random ones that were trained as long."""
    random = [name for name in scored if RANDOM_CELL.fullmatch(name)]
    verbs = ("is better than", "is worse than", "is not shown to differ from a random cell")
    text = findings.pairs(scored, dict.fromkeys(random, SEARCHED), display_name(SEARCHED), verbs)
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
    rivals = {name: name + DISTILLED for name in scored}
    verbs = ("helps", "harms", "is not shown to help a network")
    return findings.pairs(scored, rivals, f"{display_name(FINE_TUNED)} as teacher", verbs)


def cheapest(scored: Mapping[str, Scored], summary: pd.DataFrame) -> str:
    """Say which network is the fastest within a point of the best validation AUC.

    All are compared on the validation images that all have scored. Distilled networks are left out:
    their teachers have seen the labels of these images. A model costs what all of its trainings and
    views cost. `summary` has a row per model: `model, parameters, ms_single, trainings,
    test_views`.
    """
    untaught = [name for name in scored if not name.endswith(DISTILLED)]
    rows = summary[summary.model.isin(untaught)].set_index("model")
    views = rows.test_views.fillna(1).astype(int)
    rows = rows[["parameters", "ms_single"]].mul(rows.trainings, axis=0)
    rows["ms_single"] *= views
    if len(rows) < 2:
        return ""
    shared = common({name: scored[name] for name in rows.index})
    aucs = pd.Series(_val_aucs(shared))
    best = aucs.idxmax()
    chosen = rows.ms_single[aucs >= aucs.max() - POINT].idxmin()
    is_part = len(shared[best].val) < len(scored[best].val)
    where = " on the images that all have scored" if is_part else ""
    about = (
        f"the best network's validation AUC ({display_name(best)}, {percent(aucs.max())}{where})"
    )
    if rows.ms_single[chosen] > FASTER * rows.ms_single[best]:
        return f"No faster network comes within a point of {about}."
    one, other = rows.loc[chosen], rows.loc[best]
    sizes = [f"{row.parameters / 1e6:.2g}" for row in (one, other)]
    size = f", {sizes[0]} instead of" if sizes[0] != sizes[1] else "; both have"
    return (
        f"The fastest network within a point of {about} is {display_name(chosen)}: "
        f"{one.ms_single:.3g} instead of {other.ms_single:.3g} ms per image with all its views "
        f"({views[chosen]} and {views[best]})"
        f"{size} {sizes[1]} million parameters. " + findings.gain(scored, chosen, best)
    )


def _val_aucs(scored: Mapping[str, Scored]) -> dict[str, float]:
    return {name: metrics.roc_auc(*one.labels_scores("val")) for name, one in scored.items()}
