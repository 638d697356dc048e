"""Sentences about maps and embeddings, computed from their tables; "" if there is nothing to say.

Intervals are those of the tables, 95 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from scipy import stats
from torch import Tensor

from helpers.core.style import p_value
from helpers.explain.map_quality import CORRELATION

ALREADY_SURE = 0.8  # a probability from which on insertion has nothing left to show


def maps(table: pd.DataFrame) -> list[str]:
    """Say by which measures maps are better or worse than chance (`map_quality.measure`)."""
    # what is blurred away is a defect: a good part stays good
    known = table[table.gain.notna() & (table.parts != "called good")]
    verdicts = pd.Series("not shown to differ from random maps in", known.index)
    verdicts[known.low > 0] = "better than random maps in"
    verdicts[known.high < 0] = "worse than random maps in"
    found, kinds = [], known.parts.unique()
    for verdict, own in known.groupby(verdicts):
        parts = own.groupby("measure", sort=False).parts.agg(" and ".join)
        names = [
            f"{measure} (parts {which})" if len(kinds) > 1 else measure
            for measure, which in parts.items()
        ]
        found.append(f"{verdict} {' and '.join(names)}")
    which = f"For parts {kinds[0]} " if len(kinds) == 1 else ""
    said = [f"{which}Grad-CAM is {', '.join(found)}."] if found else []
    random = table[(table.measure == CORRELATION) & (table.images > 0)]
    means = [f"{row.maps:.2f} ({row.images} parts {row.parts})" for row in random.itertuples()]
    if means:
        said.append(
            f"Maps of random weights have a mean rank correlation of {' and '.join(means)} with "
            "the trained ones (near 0: maps depend on what the network has learned)."
        )
    return said


def blurred_start(curves: Mapping[int, Sequence[Mapping[str, Tensor]]]) -> str:
    """Say how sure the network is of "good" before insertion has put any pixel in.

    `curves` are those of `map_quality.MapQuality`. Nothing is said if fewer than two parts are
    called good.
    """
    if 0 not in curves or len(curves[0][0]["insertion"]) < 2:
        return ""
    start = curves[0][0]["insertion"][:, 0].double()
    mean, error = start.mean().item(), start.std().item() / len(start) ** 0.5
    text = (
        f"A wholly blurred image of the parts called good is still called good with probability "
        f"{mean:.2f} ± {error:.2f} (standard error)"
    )
    return f"{text}: insertion says nothing about them." if mean > ALREADY_SURE else f"{text}."


def localisation(table: pd.DataFrame) -> str:
    """Say which maps find the defects better (`anomaly_maps.localisation`)."""
    if table.empty:
        return ""
    words = "; ".join(
        f"{row.measure} {row.patchcore:.3f} against {row.gradcam:.3f} (chance {row.chance:.3f}, "
        f"difference {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}])"
        for row in table.itertuples()
    )
    return f"On {table.images.iloc[0]} bad parts with masks, PatchCore against Grad-CAM: {words}."


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
