"""Facts of a run for the eye: images, split, backbone, seeds and device, from its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from helpers.core.style import SIDES


def facts(stages: Mapping[str, Mapping[str, Any]], split: pd.DataFrame) -> pd.DataFrame:
    """Return a table of facts; `stages` is what the notebooks of a run have recorded (run.json)."""
    first, last = stages[min(stages)], stages[max(stages)]
    given = first.get("settings", {})
    rows = {"Labels": first.get("label_mapping", ""), "Caveats": first.get("caveats", "")}
    for side, own in split.groupby("split", sort=False).label:
        counts = {"good": (own == 0).sum(), "bad": (own == 1).sum(), "unlabelled": own.isna().sum()}
        words = ", ".join(f"{n:,} {word}" for word, n in counts.items() if n)
        rows[f"Images, {SIDES.get(str(side), side)}"] = words
    rows["Split"] = given.get("split_csv") or given.get("split", "")
    rows["Split, seed"] = given.get("seed", "")
    rows["Folds"] = split.fold.nunique() if "fold" in split else "none"
    rows["Backbone"] = backbone(stages)
    for name in sorted(stages):
        settings = stages[name].get("settings", {})
        if "seeds" in settings:
            rows[f"Training seeds, {name[:2]}"] = f"{settings['seeds']} from {settings['seed']}"
    rows["Device"] = last.get("device", "")
    shown = {fact: str(value) for fact, value in rows.items() if value not in ("", None)}
    return pd.DataFrame(shown.items(), columns=["Fact", "Value"])


def backbone(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the pretrained backbone of notebook 03, or else of 02; "" if neither has been run."""
    names = (stages.get(name, {}).get("backbone") for name in TRAINING)
    return next(filter(None, names), "")


TRAINING = ("03_finetuning", "02_features_baselines")  # notebooks that record their backbone
