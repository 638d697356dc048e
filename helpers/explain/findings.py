"""Sentences about maps and embeddings, computed from their tables; "" if there is nothing to say.

Intervals are those of the tables, 95 %.
"""

from __future__ import annotations

import pandas as pd
from scipy import stats

from helpers.core.style import p_value
from helpers.core.tables import fill


def maps(table: pd.DataFrame) -> str:
    """Say where maps are better than random ones, and where not (`map_quality.measure`)."""
    known = table[table.gain.notna()] if "gain" in table else table[:0]
    verdicts = pd.Series("not shown to differ from random maps in", known.index)
    verdicts[known.low > 0] = "better than random maps in"
    verdicts[known.high < 0] = "worse than random maps in"
    names = (known.measure + " (parts called " + known.called + ")").groupby(verdicts, sort=False)
    said = ", ".join(f"{verdict} {' and '.join(group)}" for verdict, group in names)
    return f"Grad-CAM is {said}." if said else ""


def localisation(table: pd.DataFrame) -> str:
    """Say how well maps find the defects (`localisation.localisation`)."""
    if table.empty:
        return ""
    text = "{measure} {gradcam:%[]} (chance {chance:%})"
    if "patchcore" in table:
        text += ", PatchCore {difference:+%[]} points"
    words = "; ".join(fill(text, row) for row in table.to_dict("records"))
    return f"On {table.images.iloc[0]} bad parts with masks, Grad-CAM in per cent: {words}."


def embeddings(table: pd.DataFrame) -> str:
    """Say what fine-tuning changed about the neighbours of held-out parts (`tsne.table`)."""
    held_out = table[table.side == "val"].set_index("embedding")
    if not {"pretrained", "fine-tuned"} <= set(held_out.index):
        return ""
    before, after = held_out.loc["pretrained"], held_out.loc["fine-tuned"]
    change, error = after.label_agreement - before.label_agreement, float(after.change_error)
    p = p_value(float(2 * stats.norm.sf(abs(change) / error))) if error > 0 else "no spread"
    return (
        f"{100 * before.label_agreement:.1f} % of a validation part's nearest neighbours have its "
        f"label before fine-tuning, and {100 * after.label_agreement:.1f} % after it: "
        f"{100 * change:+.1f} ± {100 * error:.1f} points ({p}); by chance it would be "
        f"{100 * after.chance_agreement:.0f} %."
    )
