"""BSData: photographs of a ball screw drive while it wears, with outlined pitting.

Schlagenhauf, Landwehr and Fleischer 2021 (arXiv 2103.13003, doi 10.5445/IR/1000129520), CC BY-SA
4.0; `git clone https://github.com/2Obe/BSData`. 15 places of one spindle, 69 times each; pitting
grows, so the time of a photograph says much about its label. `data/README.md` tells more.
"""

import re
from pathlib import Path

import pandas as pd

from helpers.datasets import DataError, Source
from helpers.datasets.folder import TABLE, table_of
from helpers.datasets.settings import SplitSettings

# photographs of the spindle with a known history: 01_YYMMDDHHMMSS_PLACE_ANGLE_crop_N
NAME = re.compile(r"01_(\d{12})_(\d{6}_\d{3})_crop_\d+")


def load(place: Path | None, settings: SplitSettings) -> Source:
    """Read a clone, or a copy at another size: `place/data/*.jpg` and `place/label/*.json`.

    A photograph with a file of polygons is bad. Columns of its own: `group` (the place on the
    spindle), `time` (of the photograph), and `damage` (the file of polygons).
    """
    if place is None or not all((place / name).is_dir() for name in ("data", "label")):
        raise DataError(
            f"{place} does not hold the folders data and label of BSData: "
            "`git clone https://github.com/2Obe/BSData`, then DATASET=bsdata:BSData"
        )
    images = table_of(place / "data", [(place / "data", pd.NA, "")])
    parts = images.id.str.extract(NAME.pattern + "$")
    known = parts[0].notna()
    if not known.any():
        raise DataError(f"{place / 'data'} holds no photograph with a name like 01_...crop_2.jpg")
    table, parts = images[known].reset_index(drop=True), parts[known].reset_index(drop=True)
    polygons = {path.stem: path.as_posix() for path in (place / "label").glob("*.json")}
    table["damage"] = table.id.map(polygons)
    table["label"] = table.damage.notna().astype("Int64")
    table["time"] = pd.to_datetime(parts[0], format="%y%m%d%H%M%S").astype(str)
    table["group"] = parts[1]
    others = [f"photographs of other spindles: {(~known).sum()}"] * bool((~known).any())
    return Source(
        name="bsdata",
        table=table[[*TABLE, "group", "time", "damage"]],
        label_mapping="bad = pitting is outlined in it",
        attribution="Images: BSData, Schlagenhauf et al. 2021, CC BY-SA 4.0",
        caveats=(
            "All places show pitting late and none early, so the time of a photograph alone tells "
            "most labels: compare images of one day."
        ),
        left_out=tuple(others),
    )
