"""Sentences about maps and embeddings, computed from their tables; "" if there is nothing to say.

Intervals are those of the tables, 95 %.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from helpers.core.metrics import exact_interval
from helpers.core.style import LABEL_NAMES, p_value, with_interval
from helpers.explain.map_measures import corner_share, peaks_in_corner
from helpers.explain.map_quality import MapQuality, correlations

ALREADY_SURE = 0.8  # a probability from which on insertion has nothing left to show


def maps(table: pd.DataFrame) -> list[str]:
    """Say which measures of maps are better or worse than chance (`map_quality.measure`)."""
    said = []
    known = table[table.gain.notna()]
    for parts, own in known.groupby("parts", sort=False):
        words = ", ".join(
            f"{row.measure} {_verdict(row.low, row.high)} "
            f"(gain {row.gain:+.3f} [{row.low:+.3f}, {row.high:+.3f}])"
            for row in own.itertuples()
        )
        said.append(f"Grad-CAM against chance, parts {parts}: {words}.")
    if words := correlations(table):
        said.append(
            f"Maps of random weights have a mean rank correlation of {words} with the trained ones."
        )
    return said


def maps_title(table: pd.DataFrame) -> str:
    """Return the title of the insertion and deletion curves, from `map_quality.measure`."""
    own = table[(table.parts == "called bad") & table.measure.str.endswith(" area")]
    words = ", ".join(
        f"{row.measure.removesuffix(' area')} {row.gain:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        for row in own.itertuples()
    )
    return f"Gain over random maps, parts called bad: {words}" if words else ""


def blurred_start(probabilities: Tensor) -> str:
    """Say how sure the network is of "good" before insertion has put any pixel in.

    `probabilities` (B, steps + 1) are the insertion curves of the parts called good.
    """
    start = probabilities[:, 0].double()
    if len(start) < 2:
        return ""
    mean, error = start.mean().item(), start.std().item() / len(start) ** 0.5
    text = (
        f"A wholly blurred image of the parts called good is still called good with probability "
        f"{mean:.2f} ± {error:.2f} (standard error)"
    )
    return f"{text}: insertion says nothing about them." if mean > ALREADY_SURE else f"{text}."


def corners(quality: MapQuality) -> str:
    """Say how many maps have their highest pixel in a corner, by the class called."""
    parts = quality.sample
    found = quality.subject.maps(parts.id, torch.tensor(parts.called.to_numpy(dtype=np.int64)))
    filled = found.amax((1, 2)).numpy() > 0
    peaks = peaks_in_corner(found).numpy()
    texts = []
    for label, word in LABEL_NAMES.items():
        own = peaks[filled & (parts.called == label).to_numpy()]
        if len(own):
            rate = with_interval(*exact_interval(int(own.sum()), len(own)), " %")
            texts.append(f"{rate} of those for {word}")
    if not texts:
        return ""
    return (
        f"The highest pixel is in a corner of the image in {' and '.join(texts)}; the corners are "
        f"{100 * corner_share(found):.0f} % of the area."
    )


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


def _verdict(low: float, high: float) -> str:
    return "better" if low > 0 else "worse" if high < 0 else "not told apart"
