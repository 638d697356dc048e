"""split.csv: `id, path, label, split` of each image, and the source's own columns."""

from pathlib import Path

import pandas as pd

from helpers.core import files
from helpers.core.style import SIDES

UNITS = ("module", "lot", "wafer")  # what groups may be called, as "module07" is
FEWEST_BAD = 10  # different bad images to train and evaluate a model: two in each of five folds


def read_split(path: Path) -> pd.DataFrame:
    """Load split.csv with ids as text and labels that may be missing.

    An ArtifactError names a line without id or path, or with an unknown label or split.
    """
    texts = ["label", "review", "fold", "group", "digest"]
    frame = files.load_csv(path, ("id", "path", "label", "split"), text=texts)
    labels = pd.to_numeric(frame.label, errors="coerce")
    checks = {
        "the id is missing": frame.id.isna(),
        "the path is missing": frame.path.isna(),
        "id {id!r} occurs twice": frame.id.duplicated(),
        "label {label!r} is not 0, 1 or empty": frame.label.notna() & ~labels.isin([0, 1]),
        "split {split!r} is unknown": ~frame.split.isin([*SIDES, "review", "excluded"]),
    }
    files.refuse_marked(path, frame, checks, "; run notebook 01")
    for name in {"fold", "review"} & {*frame}:
        with files.reading(path):
            frame[name] = pd.to_numeric(frame[name]).astype("Int64")
    return frame.assign(label=labels.astype("Int64"))


def waits_for(split: pd.DataFrame) -> str:
    """Say what is missing to train on good and bad images; "" if the split has enough of both.

    Below `FEWEST_BAD` different bad images training has none, so PatchCore is the only model.
    """
    if ((split.split == "train") & (split.label == 1)).any():
        return ""
    n = int(((split.split != "review") & (split.label == 1)).sum())
    return f"{FEWEST_BAD} bad parts (near duplicates count as one); there are {n}"


def keeps_groups_apart(split: pd.DataFrame) -> bool:
    """Return True if the split has groups, and none of them is on two sides or in two folds."""
    if "group" not in split:
        return False
    # hidden labels: a contest's test set
    used = split[split.split.isin(list(SIDES)) & split.group.notna() & split.label.notna()]
    side = used.split
    if "fold" in used:
        side = side.mask(used.fold.notna(), "fold " + used.fold.astype(str))
    return bool(side.nunique() > 1 and side.groupby(used.group).nunique().max() == 1)


def unit(split: pd.DataFrame) -> str:
    """Return what the groups are called: a word of `UNITS` or "group"; "" if there are none."""
    if "group" not in split or split.group.isna().all():
        return ""
    names = split.group.dropna().astype(str)
    return next((word for word in UNITS if names.str.startswith(word).all()), "group")
