"""The same models on two splits: the loss of AUC on groups that no training has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from helpers.core import metrics
from helpers.core.rules import SettingsError
from helpers.results import results_table
from helpers.results.comparison import holm
from helpers.results.predictions import Scored

KINDS = {"random": "random split", "groups": "unseen groups"}
# columns of `compare` for the eye, see `core.tables`
COMPARED = {"Model": "{title}"}
COMPARED |= {f"Valid AUC, {words}": f"{{{kind}_val_auc:%}}" for kind, words in KINDS.items()}
COMPARED |= {f"Test AUC, {words}": f"{{{kind}_auc:%[]}}" for kind, words in KINDS.items()}
COMPARED["Unseen groups minus random"] = "{difference:+%[]}"


def compare(random: Mapping[str, Scored], groups: Mapping[str, Scored]) -> pd.DataFrame:
    """Return the test AUCs of the models of a run by a random split and of one by groups.

    `random` and `groups` are the models of both runs, of the same images with the same labels.

    Returns:
        One row per model that both have, the best of the random split first: `model, title`;
        `random_val_auc, groups_val_auc`; `random_auc, groups_auc` on test and their `difference`,
        unseen groups minus random, all with `*_low, *_high`; and `p_value, p_holm`.

    Raises:
        SettingsError: there is no model in common, or test labels are hidden.
    """
    names = [name for name in random if name in groups]
    judged = {own.judged_on for own in (*random.values(), *groups.values())}
    if not names or judged != {"test"}:
        raise SettingsError("the other run has no model of this run with test labels in both")
    rows = []
    for name in names:
        pair = {"random": random[name], "groups": groups[name]}
        row: dict[str, Any] = {"model": name, "title": random[name].model.title}
        for kind, own in pair.items():
            row[f"{kind}_val_auc"] = metrics.roc_auc(*own.labels_scores("val"))
            auc = metrics.auc_interval(*own.labels_scores(), own.blocks())
            row |= results_table.with_ends(f"{kind}_auc", auc)
        unseen, seen = ((*pair[k].labels_scores(), pair[k].blocks()) for k in ("groups", "random"))
        *ends, p_value = metrics.difference_between(unseen, seen)
        row |= results_table.with_ends("difference", metrics.Interval(*ends))
        rows.append(row | {"p_value": p_value})
    table = pd.DataFrame(rows).sort_values("random_auc", ascending=False, ignore_index=True)
    return table.assign(p_holm=holm(table.p_value))
