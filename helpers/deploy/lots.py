"""Name the lots that are unlike those behind the thresholds, before their verdicts are used.

lots.json beside model.json holds sums over the parts of each lot whose parts were held out: of
their scores and of how they look. See `helpers.results.lots` for the comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage, special

from helpers.core import files
from helpers.core.style import SIGNIFICANT, p_value
from helpers.datasets.cache import ImageCache
from helpers.results import lots
from helpers.results.predictions import Scored

NAME = "lots.json"
UNLIKE = "UNLIKE THE LOTS BEFORE"  # what a sentence about such a lot starts with
NEAREST = 1e-4  # least distance of a score from 0 and 1: closer, its logit shows rounding


class Look(NamedTuple):
    """Describe how an image looks, as the network sees it."""

    brightness: float  # logarithm of the mean gray value + 1
    contrast: float  # logarithm of the standard deviation of the gray values + 1
    sharpness: float  # logarithm of (mean absolute Laplacian + 1) / (contrast + 1)
    across: float  # centre of mass of the gray values, in per cent of the width
    down: float  # the same of the height, from above


NO_LOOK = Look(*[math.nan] * 5)  # of an image that cannot be read
# how a number is called if it is high and if it is low, and how its mean is shown
WORDS: dict[str, tuple[str, str, Callable[[float], str]]] = {
    "brightness": ("brighter", "darker", lambda v: f"mean gray {np.expm1(v):.0f}"),
    "contrast": ("more contrast", "less contrast", lambda v: f"contrast {np.expm1(v):.0f}"),
    "sharpness": ("sharper or noisier", "less sharp", lambda v: f"sharpness {np.exp(v):.3f}"),
    "across": ("further right", "further left", lambda v: f"centre at {v:.1f} % of the width"),
    "down": ("further down", "further up", lambda v: f"centre at {v:.1f} % of the height"),
    "logit": ("higher in score", "lower in score", lambda v: f"{special.expit(v):.3g}"),
}


def look(pixels: np.ndarray) -> Look:
    """Return the `Look` of an image (S, S, 1 or 3) uint8."""
    gray = pixels.mean(axis=2, dtype=np.float32)
    contrast = math.log1p(float(gray.std()))
    sharp = math.log1p(float(np.abs(ndimage.laplace(gray, mode="nearest")).mean()))
    weights, places = gray + 1, 100 * (np.arange(len(gray)) + 0.5) / len(gray)  # black ones too
    across, down = (float(np.average(places, weights=weights.sum(axis=axis))) for axis in (0, 1))
    return Look(math.log1p(float(gray.mean())), contrast, sharp - contrast, across, down)


def looks_of(images: ImageCache, ids: pd.DataFrame) -> pd.DataFrame:
    """Return `id` and the `Look` of the images of a table (column `id`)."""
    looks = [look(images.take(row[None])[0]) for row in images.rows(ids.id)]
    return pd.DataFrame(looks, columns=Look._fields).assign(id=ids.id.to_numpy())


def sums(looks: pd.DataFrame, scores: pd.Series, names: pd.Series) -> pd.DataFrame:
    """Return `lots.sums` of parts by lot `names` (N,): of looks (N, `Look`) and scores (N,)."""
    logit = special.logit(scores.clip(NEAREST, 1 - NEAREST).to_numpy(np.float64))
    return lots.sums(looks[[*Look._fields]].astype(np.float64).assign(logit=logit), names)


def save_reference(path: Path, scored: Scored, looks: pd.DataFrame) -> None:
    """Write the lots of a model's held-out images; small ones are left out.

    If the model is cross-fitted these are all lots of training and validation: each image was
    scored by a training that has not seen it.
    """
    held = scored.val[scored.val.group.notna()].merge(looks, on="id")
    table = sums(held, held.defect_score, held.group)
    table = table[table.parts >= lots.LEAST_PARTS]
    files.save_json(path, {"lots": table.index.tolist(), "sums": table.to_dict("list")})


def read_reference(folder: Path) -> pd.DataFrame | None:
    """Return the lots of a model's folder, as `sums`; None if none are known.

    Raises:
        ArtifactError: the file is damaged.
    """
    if not (path := folder / NAME).is_file():
        return None
    content, names = files.load_json(path), [*Look._fields, "logit"]
    columns = [*names, *(f"{name}_squared" for name in names), "parts"]
    try:
        table = pd.DataFrame(content["sums"], content["lots"], dtype=np.float64)[columns]
    except (KeyError, TypeError, ValueError) as error:
        raise files.damaged(path, error) from None
    if not (np.isfinite(table).all(axis=None) and (table.parts >= lots.LEAST_PARTS).all()):
        raise files.damaged(path, "a lot is empty, or a number is missing")
    return table


def sentences(reference: pd.DataFrame | None, new: pd.DataFrame) -> list[str]:
    """Say which new lots (`sums`, by name) are unlike the reference, or why that is unknown."""
    known, needed = 0 if reference is None else len(reference), lots.LEAST_LOTS
    if new.empty or (reference is None and new.parts.max() < lots.LEAST_PARTS):
        return []
    if reference is None or known < needed:
        way = "; -p SPLIT=groups holds some out (with -p GROUP_LEVEL=1 each subfolder is one)"
        return [
            f"Lots: not compared: {known} are known behind the thresholds, and {needed} are needed "
            f"to name one that is unlike them with 5 % of false alarms{'' if known else way}"
        ]
    large = new[new.parts >= lots.LEAST_PARTS]
    compared = {name: lots.compare(reference, lot) for name, lot in large.iterrows()}
    unlike = {name: lot for name, lot in compared.items() if lot.p <= SIGNIFICANT}
    said = [
        f"{UNLIKE}: {name or 'this lot'}: {reason(lot)} ({p_value(lot.p)}). The "
        "promise is about lots like those: look at some of its parts before you use its verdicts"
        for name, lot in sorted(unlike.items(), key=lambda item: item[1].p)
    ]
    alike, small = len(large) - len(unlike), len(new) - len(large)
    said += [f"Lots: {alike} like the {known} behind the thresholds"] if alike else []
    too = f"too small to compare (fewer than {lots.LEAST_PARTS} parts)"
    return said + ([f"Lots: {small} {too}"] if small else [])


def reason(lot: lots.Compared) -> str:
    """Return in words the two numbers in which a lot differs most from those before."""
    said = []
    for name in lot.z.abs().nlargest(2).index:
        high, low, show = WORDS[name]
        value, before = lot.means[name], lot.before[name]
        is_high = lot.z[name] > 0
        beyond = int(((before > value) if is_high else (before < value)).sum())
        which = f"all but {beyond} of the lots" if beyond else "every lot"
        ends = f"before {show(before.min())} to {show(before.max())}"
        said.append(f"{high if is_high else low} than {which} before: {show(value)}, {ends}")
    return "; ".join(said)
