"""Sentences about a search and the networks of cells, computed from the run's tables.

A sentence is "" if there is nothing to say. Models are chosen by validation AUC; test labels only
judge what was chosen. Differences of AUC are paired (`metrics.auc_difference`), in points.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from helpers.core.style import SIDES, SIGNIFICANT, p_value, percent
from helpers.results import metrics
from helpers.results.comparison import holm, paired
from helpers.runs.names import DISTILLED, display_name
from helpers.runs.predictions import Scored, common

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
    if FINE_TUNED not in scored or not names:
        return ""
    aucs = _val_aucs(scored, names)
    best = max(aucs, key=aucs.__getitem__)
    found, pair, _ = paired(scored[best], scored[FINE_TUNED])
    own, fine_tuned = map(percent, pair)
    return (
        f"{display_name(best)} has the best validation AUC of the networks trained from scratch; "
        f"its {SIDES[scored[best].judged_on]} AUC is {own}, that of {display_name(FINE_TUNED)} "
        f"{fine_tuned}: it {_verdict(found, found.p_value)}."
    )


def against_random(scored: Mapping[str, Scored]) -> str:
    """Say whether the searched cell beats the random ones that were trained as long."""
    random = [name for name in scored if RANDOM_CELL.fullmatch(name)]
    if SEARCHED not in scored or not random:
        return ""
    found = [paired(scored[SEARCHED], scored[name])[0] for name in random]
    corrected = holm([one.p_value for one in found])
    parts = [
        f"against {display_name(name)} it {_verdict(one, p)}"
        for name, one, p in zip(random, found, corrected, strict=True)
    ]
    few = ". One random cell is" if len(random) == 1 else f". {len(random)} random cells are"
    few = f"{few} too few to judge the search" if len(random) < FEW_CELLS else ""
    about = f"{SIDES[scored[SEARCHED].judged_on].capitalize()} AUC of {display_name(SEARCHED)}"
    return f"{about}: {'; '.join(parts)}{few}."


def distillation(scored: Mapping[str, Scored]) -> str:
    """Say what a teacher has changed for each network that was trained with and without one."""
    pairs = [name for name in scored if name + DISTILLED in scored]
    if not pairs:
        return ""
    found = [paired(scored[name + DISTILLED], scored[name])[0] for name in pairs]
    corrected = holm([one.p_value for one in found])
    parts = [
        f"{display_name(name)} {_verdict(one, p, ('gains', 'loses'))}"
        for name, one, p in zip(pairs, found, corrected, strict=True)
    ]
    how = ", Holm's correction" if len(pairs) > 1 else ""
    about = f"{SIDES[scored[pairs[0]].judged_on]} AUC{how}"
    return f"Taught by {display_name(FINE_TUNED)} ({about}): {'; '.join(parts)}."


def cheapest(scored: Mapping[str, Scored], summary: pd.DataFrame) -> str:
    """Say which network is the fastest within a point of the best validation AUC.

    All are compared on the validation images that all have scored. A model costs what all of its
    trainings and views cost. `summary` has a row per model: `model, parameters, ms_single,
    trainings, test_views`.
    """
    rows = summary[summary.model.isin(list(scored))].set_index("model")
    views = rows.test_views.fillna(1)
    rows = rows[["parameters", "ms_single"]].mul(rows.trainings, axis=0)
    rows["ms_single"] *= views
    if len(rows) < 2:
        return ""
    aucs = pd.Series(_val_aucs(scored, list(rows.index)))
    best = aucs.idxmax()
    chosen = rows.ms_single[aucs >= aucs.max() - POINT].idxmin()
    about = f"the best validation AUC ({display_name(best)}, {percent(aucs.max())})"
    if rows.ms_single[chosen] > FASTER * rows.ms_single[best]:
        return f"No faster network comes within a point of {about}."
    found, one, other = paired(scored[chosen], scored[best])[0], rows.loc[chosen], rows.loc[best]
    return (
        f"The fastest network within a point of {about} is {display_name(chosen)}: "
        f"{one.ms_single:.3g} instead of {other.ms_single:.3g} ms per image with all its views, "
        f"{one.parameters / 1e6:.2g} instead of {other.parameters / 1e6:.2g} million parameters; "
        f"in {SIDES[scored[chosen].judged_on]} AUC it {_verdict(found, found.p_value)}."
    )


def _val_aucs(scored: Mapping[str, Scored], models: Sequence[str]) -> dict[str, float]:
    shared = common({name: scored[name] for name in models})
    return {name: metrics.roc_auc(*one.labels_scores("val")) for name, one in shared.items()}


def _verdict(
    found: metrics.Comparison, p: float, words: Sequence[str] = ("is better by", "is worse by")
) -> str:
    """Return "is better by 1.4 points (95 % interval +0.5 to +2.3, p = .003)" or the like."""
    low, high = 100 * found.low, 100 * found.high
    about = f"95 % interval {low:+.1f} to {high:+.1f}, {p_value(p)}"
    if p >= SIGNIFICANT:
        return f"does not differ measurably ({100 * found.difference:+.1f} points, {about})"
    return f"{words[found.difference < 0]} {abs(100 * found.difference):.1f} points ({about})"
