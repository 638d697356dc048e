"""Parts of the user's own: which are asked about, their groups, and a picture of some of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.core.style import LABEL_NAMES, draw_image, evenly
from helpers.datasets import DataError
from helpers.datasets.folder import image_files
from helpers.deploy.description import VERDICTS
from helpers.deploy.predictor import TrainedModel
from helpers.explain import maps

MOST_OWN_IMAGES = 200  # of a folder that is asked about; `helpers.predict` takes any number
FROM_THE_RUN = 48  # test images to ask about if no folder is given
TICKS = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)  # of the score, on a logit scale
NO_GROUP, EVERY = "(none)", "all parts"
COLOURS = dict(zip(VERDICTS, ("#0173b2", "#949494", "#de8f05"), strict=True))  # "colorblind"


def parts_to_ask(split: pd.DataFrame, folder: str) -> pd.DataFrame:
    """Return the parts to judge, evenly taken: `id, path, group` (missing if there is none).

    They are images of `folder`, whose subfolders are groups. If it is "", they are test images of
    the run (without a test set, of the first fold) with their `label`.
    """
    if folder:
        root = Path(folder).expanduser()
        if not (there := image_files(root)):
            raise DataError(f"FOLDER={folder!r} holds no image")
        images = [there[place] for place in evenly(len(there), MOST_OWN_IMAGES)]
        print(f"{len(images)} of the {len(there):,} images of {folder} are asked about")
        below = [path.relative_to(root) for path in images]
        ids = [path.with_suffix("").as_posix() for path in below]
        groups = [path.parts[0] if len(path.parts) > 1 else None for path in below]
        return pd.DataFrame({"id": ids, "path": [*map(Path.as_posix, images)], "group": groups})
    test = split[split.split == "test"]
    test = test if len(test) else split[split.split == "val"]
    chosen = test.iloc[evenly(len(test), FROM_THE_RUN)]
    return chosen.reindex(columns=["id", "path", "group", "label"]).reset_index(drop=True)


def one_of_each_verdict(answered: pd.DataFrame) -> pd.DataFrame:
    """Return the passed part with the lowest score, the middle one of those to look at again, and
    the rejected one with the highest score; without verdicts the part with the highest score."""
    ranked = answered[answered.score.notna()].sort_values("score", kind="stable")
    of_each = [ranked[ranked.verdict == verdict] for verdict in VERDICTS]
    places = (0, len(of_each[1]) // 2, -1)
    chosen = [rows.iloc[[at]] for rows, at in zip(of_each, places, strict=True) if len(rows)]
    return pd.concat(chosen or [ranked.tail(1)])


def journey_figure(model: TrainedModel, parts: pd.DataFrame) -> Figure:
    """Draw what the network sees of a few parts, their maps, and below the scores."""
    names = [*"ABC"[: len(parts)]]
    row = [place for name in names for place in (name, f"map of {name}")]
    figure, axes = plt.subplot_mosaic(
        [row, ["score"] * len(row)],
        figsize=(2.3 * len(row) + 0.5, 4.2),
        height_ratios=[4, 1],
        layout="constrained",
    )
    for name, part in zip(names, parts.itertuples(), strict=True):
        pixels = np.asarray(model.read(str(part.path))[0])
        label: Any = getattr(part, "label", None)
        known = f", labelled {LABEL_NAMES[label]}" if pd.notna(label) else ""
        title = f"{str(part.id)[-20:]}{known}\n{name}: {part.verdict or 'no verdict'}"
        draw_image(axes[name], pixels, f"{title}, {part.score:.3f}", 11)
        heat, ax = model.bad_map(pixels), axes[f"map of {name}"]
        maps.draw_overlay(ax, pixels, heat, f"{name}: {maps.map_title(1, heat)}")
    # thresholds are often near 0, where a linear scale would show none
    ax, edge = axes["score"], 1e-5
    about = model.description
    limits = [about.pass_below, about.reject_from] if about else []
    ends = np.clip([*limits, *parts.score, 0.02, 0.98], edge, 1 - edge)
    bands = [ends.min() / 2, *(limit for limit in limits if limit < 1), (1 + ends.max()) / 2]
    for verdict, low, high in zip(VERDICTS if about else (), bands, bands[1:], strict=False):
        ax.axvspan(low, high, color=COLOURS[verdict], alpha=0.5, lw=0, label=verdict)
    for name, score in zip(names, parts.score, strict=True):
        place = np.clip(score, edge, 1 - edge)
        ax.axvline(place, color="black", lw=3)
        ax.text(place, 0.5, f"{name} ", ha="right", va="center", transform=ax.get_xaxis_transform())
    ax.set(xscale="logit", yticks=[], xlabel="score (logit scale)")
    ax.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS], fontsize=11)
    ax.set_xlim(bands[0], bands[-1])
    ax.minorticks_off()
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=11)
    return figure


def by_group(answered: pd.DataFrame) -> pd.DataFrame:
    """Return how many parts of each group got each verdict, and of all parts if there are several.

    The group with the largest share of parts to look at again or to reject comes first.
    """
    columns: dict[str, pd.Series] = {"Parts": answered.id.notna()}
    columns |= {verdict.capitalize(): answered.verdict == verdict for verdict in VERDICTS}
    columns["Unreadable"] = answered.reason != ""
    if answered.probability.notna().any():  # the threshold of good parts alone gives none
        columns["Bad expected among passed"] = answered.probability.where(columns["Pass"], 0.0)
    groups = answered.group.astype(object).fillna(NO_GROUP).to_numpy()
    table = pd.DataFrame(columns).groupby(groups).sum()
    held = (table["Look again"] + table["Reject"]) / table["Parts"]
    table = table.loc[held.sort_values(ascending=False, kind="stable").index]
    if len(table) > 1:
        table = pd.concat([table, table.sum().to_frame(EVERY).T.astype(table.dtypes)])
    return table.round(2).rename_axis("Group").reset_index()
