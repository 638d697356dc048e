"""Judge maps by true masks: does the peak lie in the damage, and how much of the map does?"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw
from scipy import ndimage
from torch import Tensor

from helpers.core import files, metrics
from helpers.datasets import DataError
from helpers.datasets.decoding import Fit
from helpers.explain.maps import Subject
from helpers.results.comparison import with_ends
from helpers.training.patchcore import PatchCoreNetwork

MARGIN = 15 / 224  # of the image's side: the tolerance of the pointing game
TABLE = {  # templates of `style.shown`
    "Maps": "{maps}",
    "Bad parts": "{images}",
    "Empty maps": "{empty}",
    "Peak in the damage": "{hit:%[]}",
    "its area": "{area:%}",
    "Peak near it": "{near:%[]}",
    "area near it": "{near_area:%}",
    "Share of the map in it": "{share:%[]}",
}


def outlined(split: pd.DataFrame) -> pd.Series:
    """Return the files of masks that the column `damage` names, by id; none without any."""
    files_of = split.set_index("id").get("damage", pd.Series(dtype=object)).dropna()
    return files_of[[Path(str(file)).is_file() for file in files_of]]


def read_mask(path: Path, size_px: int, fit: Fit = "squash") -> np.ndarray:
    """Return which pixels (S, S) of an image, made square as `fit` says, are damaged; bool.

    A pixel counts if any of its area is damaged, so that small damage does not vanish. `path` is a
    PNG of the image's size, or labelme's JSON with `imageWidth`, `imageHeight` and `shapes`.
    """
    if path.suffix.lower() == ".json":
        about = files.load_json(path)
        with files.reading(path):
            mask = Image.new("L", (about["imageWidth"], about["imageHeight"]))
            for shape in about["shapes"]:
                points = [tuple(point) for point in shape["points"]]
                ImageDraw.Draw(mask).polygon(points, fill=255, outline=255)
    else:
        with Image.open(path) as image:
            mask = image.convert("L")
    damaged = np.asarray(mask) > 127
    if not damaged.any():
        raise DataError(f"{path} outlines no damage")
    height, width = damaged.shape
    if fit == "pad":
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        edges = ((top, side - height - top), (left, side - width - left))
        damaged = np.pad(damaged, edges)
    places = [np.arange(size_px) * size // size_px for size in damaged.shape]
    square = damaged[np.ix_(*places)]  # of a smaller image all pixels
    rows, columns = (np.arange(size) * size_px // size for size in damaged.shape)
    y, x = np.nonzero(damaged)
    square[rows[y], columns[x]] = True
    return square


def judge(subject: Subject, outlined: pd.Series, target_class: int) -> pd.DataFrame:
    """Judge the maps of bad parts for one class by the files of their masks, `outlined` by id."""
    cache = subject.cache
    masks = [read_mask(Path(path), cache.size_px, cache.fit) for path in outlined]
    maps = subject.maps(outlined.index, target_class)
    if isinstance(subject.model, PatchCoreNetwork):
        maps = maps - 1  # 1 is usual for a good part
    return on_damage(maps, np.stack(masks)).assign(id=outlined.index)


def on_damage(maps: Tensor, damaged: np.ndarray) -> pd.DataFrame:
    """Return a row for each map (B, H, W) of a bad part whose damaged pixels (B, H, W) are known.

    `hit` is True if the highest pixel is damaged, `near` if damage is not farther than `MARGIN`
    (the pointing game, Zhang et al. 2018, doi 10.1007/s11263-017-1059-x); an empty map misses.
    `share` of the map's sum is in the damage, 0 if it is empty (`empty_map`). `area` and
    `near_area` are what chance would hit.
    """
    rows = []
    for heat, own in zip(maps.clamp(min=0).double().numpy(), damaged, strict=True):
        near = ndimage.distance_transform_edt(~own) <= MARGIN * max(own.shape)
        peak, is_empty = np.unravel_index(heat.argmax(), heat.shape), not heat.any()
        row = {"hit": bool(own[peak]) and not is_empty, "near": bool(near[peak]) and not is_empty}
        row |= {"area": own.mean(), "near_area": near.mean(), "empty_map": is_empty}
        rows.append(row | {"share": 0.0 if is_empty else heat[own].sum() / heat.sum()})
    return pd.DataFrame(rows)


def summary(judged: pd.DataFrame, groups: ArrayLike | None = None) -> dict[str, float]:
    """Return the means of `on_damage`, with 95 % intervals; groups are their units.

    `more` is the rate of hits less the area of the damage, by which chance would hit.
    """
    found = {
        "hit": metrics.rate_interval(judged.hit, groups),
        "near": metrics.rate_interval(judged.near, groups),
        "share": metrics.mean_interval(judged.share, groups),
    }
    # if no map hits, only an interval of rates shows how uncertain that is
    found["more"] = metrics.Interval(*(end - judged.area.mean() for end in found["hit"]))
    row = {
        "images": len(judged),
        "empty": judged.empty_map.sum(),
        "area": judged.area.mean(),
        "near_area": judged.near_area.mean(),
    }
    for column, of in found.items():
        row |= with_ends(column, of)
    return row


def in_the_middle(maps: Tensor) -> np.ndarray:
    """Return the share of each map (B, H, W) in the middle quarter; NaN of an empty one: (B,)."""
    height, width = maps.shape[1:]
    middle = maps[:, height // 4 : height - height // 4, width // 4 : width - width // 4]
    return (middle.sum((1, 2)) / maps.sum((1, 2))).double().numpy()
