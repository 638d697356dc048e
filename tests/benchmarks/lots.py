"""Test whether a lot that is unlike the others is named: `python -m tests.benchmarks.lots`.

Each module of ELPV is a new lot for a reference of the 43 others. Its scores are those of logistic
regression on frozen features, by folds that have not seen the module. All of its images or every
second one are taken as they are (then a warning is a false alarm), and every second one with a
change; the changes of the look are made on the files' pixels. Writes lots.csv: about four minutes
of one core.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage, special

from helpers.core import files, metrics, seeding
from helpers.core.members import sides
from helpers.core.style import SIGNIFICANT
from helpers.datasets.cache import ImageCache, resize
from helpers.deploy import lots as deployed
from helpers.models import backbones
from helpers.results import lots
from helpers.training import features
from helpers.training.settings import BaselineSettings
from tests.benchmarks import out_of_fold

TABLE = Path(__file__).with_name("lots.csv")
WHOLE = "as it is, all its images"
AS_IT_IS, TWICE, NONE = "as it is", "bad parts twice as often", "no bad part"
LOOK, SCORES = [*deployed.Look._fields], ["logit"]
COMPARED = {
    "look and scores": LOOK + SCORES,  # as `predict` does
    "look": LOOK,
    "scores": SCORES,
}


def shifted(gray: np.ndarray, by_px: int) -> np.ndarray:
    """Return an image whose content is further right; its left edge is repeated."""
    return np.pad(gray, ((0, 0), (by_px, 0)), mode="edge")[:, : gray.shape[1]]


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    AS_IT_IS: lambda gray: gray,
    "darker, x .8": lambda gray: 0.8 * gray,
    "darker, x .7": lambda gray: 0.7 * gray,
    "blurred, sigma 1 px of 300": lambda gray: ndimage.gaussian_filter(gray, 1),
    "blurred, sigma 2 px": lambda gray: ndimage.gaussian_filter(gray, 2),
    "shifted by 8 px of 300": lambda gray: shifted(gray, 8),
    "shifted by 16 px": lambda gray: shifted(gray, 16),
}


def seen(table: pd.DataFrame, change: str, size_px: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return look and embeddings of a table's images, each changed before it is resized."""
    pixels = np.empty((len(table), size_px, size_px, 1), dtype=np.uint8)
    for place, path in enumerate(table.path):
        gray = CHANGES[change](np.asarray(Image.open(path).convert("L"), dtype=np.float64))
        gray = gray.round().clip(0, 255).astype(np.uint8)
        pixels[place, ..., 0] = resize(gray, size_px, "squash")
    images = ImageCache(pixels, table[["id"]].reset_index(drop=True), "")
    weights = backbones.find_weights(out_of_fold.LITE.format(0), "", size_px)
    return deployed.looks_of(images, table), features.embed_all(weights, images, table)["embedding"]


def numbers(table: pd.DataFrame, size_px: int) -> pd.DataFrame:
    """Return look and score of all images, and of every second one with each change.

    A row has `id, group, label, change`, and the columns of `COMPARED`.
    """
    rows, looks, embeddings = [], [], []
    for change in CHANGES:
        some = table if change == AS_IT_IS else table.iloc[::2]
        look, embedding = seen(some, change, size_px)
        rows.append(some.assign(change=change, key=[f"{name} {change}" for name in some.id]))
        looks.append(look.drop(columns="id"))
        embeddings.append(embedding)
    every = pd.concat(rows, ignore_index=True)
    embedded = features.Features(every.key.to_numpy(str), np.concatenate(embeddings))
    score = pd.Series(dtype=float)
    for fold in range(out_of_fold.FOLDS):
        own = sides(every.assign(id=every.key), fold)
        own = own[(own.change == AS_IT_IS) | (own.split == "val")]  # trained on unchanged images
        score = pd.concat([score, out_of_fold.classical("LR", own, 0, embedded)])
    found = every[["id", "group", "label", "change"]]
    found = found.join(pd.concat(looks, ignore_index=True))
    nearest = deployed.NEAREST
    found["logit"] = special.logit(score[every.key].clip(nearest, 1 - nearest).to_numpy())
    return found


def new_lots(own: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield lots made of a module, with the names of their changes."""
    half = own[own.change == AS_IT_IS].iloc[::2]
    yield WHOLE, own[own.change == AS_IT_IS]
    yield AS_IT_IS, half
    for change in [*CHANGES][1:]:
        yield change, own[own.change == change]
    good, bad = (half[half.label == label] for label in (0, 1))
    yield NONE, good
    if len(bad) and len(good) >= len(bad):
        stream = seeding.numpy_stream(0, f"rate of {own.group.iloc[0]}")
        drawn = bad.iloc[stream.integers(len(bad), size=2 * len(bad))]
        yield TWICE, pd.concat([drawn, good.head(len(good) - len(bad))])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each kind of numbers and each change: lots, alarms, and their interval."""
    whole, found = table[table.change == AS_IT_IS], []
    for compared, names in COMPARED.items():
        every = lots.sums(whole[names], whole.group)
        for module, own in table.groupby("group"):
            for change, new in new_lots(own):
                if len(new) < lots.LEAST_PARTS:
                    continue
                lot = lots.sums(new[names], new.group).loc[module]
                p = lots.compare(every.drop(index=module), lot).p
                found.append((compared, change, p <= SIGNIFICANT))
    rows = pd.DataFrame(found, columns=["compared", "change", "alarm"])
    counts = rows.groupby(["compared", "change"], sort=False).alarm.agg(["size", "sum"])
    ends = [metrics.exact_interval(n, total) for total, n in counts.to_numpy()]
    counts[["rate", "low", "high"]] = np.round(ends, 3)
    return counts.rename(columns={"size": "lots", "sum": "named"}).reset_index()


def main() -> int:
    """Write the table and print it; return the exit code."""
    found = summary(numbers(out_of_fold.protocol("groups"), BaselineSettings().image_size_px))
    files.save_csv(TABLE, found)
    print(found.to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
