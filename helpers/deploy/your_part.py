"""One part followed from its file to a verdict, then a folder of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from helpers.core.style import LABEL_NAMES, draw_image, evenly, told_apart
from helpers.datasets import DataError
from helpers.datasets.cache import inside
from helpers.datasets.folder import image_files
from helpers.deploy.description import VERDICTS
from helpers.deploy.predictor import TrainedModel
from helpers.deploy.settings import MOST_OWN_IMAGES
from helpers.explain import maps
from helpers.explain.anomaly_maps import anomaly_map
from helpers.explain.gradcam import grad_cam
from helpers.training.patchcore import PatchCoreNetwork

FROM_THE_RUN = 48  # test images to ask about if no folder is given
GROUPS_FROM_THE_RUN = 4  # the largest, if there are groups
TICKS = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)  # of the score, on a logit scale
NO_GROUP, EVERY = "(none)", "all parts"
PASS, LOOK_AGAIN, REJECT = VERDICTS
COLOURS = {PASS: "#0173b2", LOOK_AGAIN: "#949494", REJECT: "#de8f05"}  # seaborn's "colorblind"
SHEET = (2, 6)  # rows and columns of the contact sheet


def parts_to_ask(split: pd.DataFrame, folder: str) -> pd.DataFrame:
    """Return the parts to ask about: `id, path, group`, group is missing if there is none.

    They are those of `folder`, where a subfolder is a group, or test images of the run (without a
    test set, those of the first fold) with their `label`, evenly taken (from its largest groups, if
    it has groups).

    Raises:
        DataError: the folder holds no image.
    """
    if folder:
        root = Path(folder).expanduser()
        if not (there := image_files(root)):
            raise DataError(f"FOLDER={folder!r} holds no image")
        images = [there[place] for place in evenly(len(there), MOST_OWN_IMAGES)]
        if len(images) < len(there):
            count = f"{len(images)} of {len(there):,}"
            print(f"{count} images of {folder} are asked about, evenly taken")
        below = [path.relative_to(root) for path in images]
        return pd.DataFrame(
            {
                "id": [path.with_suffix("").as_posix() for path in below],
                "path": [path.as_posix() for path in images],
                "group": [path.parts[0] if len(path.parts) > 1 else None for path in below],
            }
        )
    test = split[split.split == "test"]
    test = test if len(test) else split[split.split == "val"]
    if "group" in test and test.group.notna().any():
        large = test.group.value_counts().nlargest(GROUPS_FROM_THE_RUN).index
        test = test[test.group.isin(large)]
    chosen = test.iloc[evenly(len(test), FROM_THE_RUN)]
    return chosen.reindex(columns=["id", "path", "group", "label"]).reset_index(drop=True)


def most_suspicious(answered: pd.DataFrame) -> pd.Series:
    """Return the part with the highest score.

    Raises:
        DataError: no part can be read; the message says why the first cannot.
    """
    if answered.score.isna().all():
        first = answered.iloc[0]
        raise DataError(f"none of the images can be read, e.g. {first.id}: {first.reason}")
    return answered.loc[answered.score.idxmax()]


def bad_map(model: TrainedModel, pixels: np.ndarray) -> Tensor:
    """Return the map (S, S) of the model's first network for "bad".

    It is Grad-CAM's, except for PatchCore: how far each pixel is above the usual score of a good
    part, in units of that score, and 0 if it is below. Outside of the model's mask it is 0.
    """
    spec, images = model.network.spec, model.prepared([pixels])
    if isinstance(model.network, PatchCoreNetwork):
        heat = (anomaly_map(model.network, images)[0] - 1).clamp(min=0)
    else:
        heat = grad_cam(model.network, images, 1, spec.feature_layer, spec.feature_maps)[0].cpu()
    return heat * torch.from_numpy(inside(model.facts.region, spec.image_size_px, model.facts.fit))


def journey_figure(
    model: TrainedModel, part: pd.Series, original: np.ndarray, pixels: np.ndarray, heat: Tensor
) -> Figure:
    """Draw a part's file, its pixels and its map, and its score between the thresholds below."""
    figure, axes = plt.subplot_mosaic(
        [["file", "pixels", "map"], ["score"] * 3],
        figsize=(9.5, 4.6),
        height_ratios=[5, 1],
        layout="constrained",
    )
    height, width = original.shape[:2]
    draw_image(axes["file"], original, f"the file: {width} x {height} px")
    draw_image(axes["pixels"], pixels, f"what the network sees: {len(pixels)} x {len(pixels)} px")
    maps.draw_overlay(axes["map"], pixels, heat, maps.map_title(1, heat))
    _draw_score(axes["score"], model, part.score)
    figure.legend(loc="outside lower center", borderaxespad=2, ncols=4, frameon=False, fontsize=9)
    verdict = f": {part.verdict}" if part.verdict else ""
    figure.suptitle(f"{part.id[-40:]}, score {part.score:.3f}{verdict}", fontsize=11)
    return figure


def _draw_score(ax: Any, model: TrainedModel, score: float) -> None:
    description = model.description
    limits = [description.pass_below, description.reject_from] if description else []
    limits = [limit for limit in limits if limit < 1]  # a score is below 1
    *limits, place = np.clip([*limits, score], 2 * TICKS[0], 1 - 2 * TICKS[0])
    ends = min(*limits, place, 0.02) / 2, (1 + max(*limits, place, 0.98)) / 2  # all is seen
    if description:
        below, above = told_apart(description.pass_below, description.reject_from)
        ranges, edges = (f": below {below}", "", f": from {above}"), [ends[0], *limits, ends[1]]
        for verdict, words, low, high in zip(VERDICTS, ranges, edges, edges[1:], strict=False):
            ax.axvspan(low, high, color=COLOURS[verdict], alpha=0.5, lw=0, label=verdict + words)
    ax.axvline(place, color="black", lw=3, label="this part")
    # thresholds are often near 0, where a linear scale would show none
    ax.set(xscale="logit", yticks=[], xlabel="score (logit scale)")
    ax.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS], fontsize=9)
    ax.set_xlim(ends)
    ax.minorticks_off()


def by_group(answered: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each group of parts, and one for all parts if there are several groups.

    The group with the largest share of parts to look at again or to reject comes first.

    Returns:
        `Group, Parts, Pass, Look again, Reject, Unreadable`; `Bad expected among passed` (a number
        of parts) by the calibrated probabilities, if there are any; if the labels are known, `Bad`,
        `Bad that passed (labels)` and `Good that were rejected`.
    """
    passed, rejected = answered.verdict == PASS, answered.verdict == REJECT
    columns: dict[str, pd.Series] = {
        "Parts": answered.id.notna(),
        "Pass": passed,
        "Look again": answered.verdict == LOOK_AGAIN,
        "Reject": rejected,
        "Unreadable": answered.reason != "",
        "Bad expected among passed": answered.probability.where(passed, 0.0),
    }
    if answered.probability.isna().all():  # the threshold of good parts alone gives none
        del columns["Bad expected among passed"]
    if "label" in answered and answered.label.notna().all():
        bad = answered.label == 1
        columns["Bad"] = bad & (answered.verdict != "")
        columns["Bad that passed (labels)"] = bad & passed
        columns["Good that were rejected"] = ~bad & rejected
    table = (
        pd.DataFrame(columns)
        .groupby(answered.group.astype(object).fillna(NO_GROUP).to_numpy())
        .sum()
    )
    held = (table["Look again"] + table["Reject"]) / table["Parts"]
    table = table.loc[held.sort_values(ascending=False, kind="stable").index]
    if len(table) > 1:
        table = pd.concat([table, table.sum().to_frame(EVERY).T.astype(table.dtypes)])
    return table.round(2).rename_axis("Group").reset_index()


def look_again_figure(model: TrainedModel, answered: pd.DataFrame) -> Figure | None:
    """Draw the parts that a person looks at again, with their maps; None if there are none."""
    chosen = answered[answered.verdict == LOOK_AGAIN].sort_values("score", ascending=False)
    shown = chosen.head(SHEET[0] * SHEET[1])
    if shown.empty:
        return None
    title = f"{len(chosen)} of {len(answered)} parts are between the thresholds"
    title += f"; the {len(shown)} of the highest score" if len(shown) < len(chosen) else ""
    images = [np.asarray(model.read(str(path))[0]) for path in shown.path]
    heats = [bad_map(model, image) for image in images]
    scale = maps.MAP_SCALE if any(heat.max() > 0 for heat in heats) else ""
    rows = -(-len(shown) // SHEET[1])
    figure, axes = maps.grid(rows, SHEET[1], (11.4, 2.4 * rows + 0.3), title, scale)
    parts = zip(axes.flat, images, heats, shown.itertuples(), strict=False)
    for ax, image, heat, part in parts:
        label: Any = getattr(part, "label", None)
        lines = [
            str(part.id)[-18:],
            str(part.group)[-18:] if pd.notna(part.group) else "",
            f"labelled {LABEL_NAMES[label]}" if pd.notna(label) else "",
            f"score {part.score:.3f}" + ("" if heat.max() > 0 else ", map empty"),
        ]
        maps.draw_overlay(ax, image, heat, "\n".join(filter(None, lines)))
    return figure


def say_verdicts(table: pd.DataFrame) -> str:
    """Say how many parts pass, are looked at again and are rejected, from `by_group`."""
    every = table.iloc[-1]
    counts = {verdict: every[verdict.capitalize()] for verdict in VERDICTS}
    if not any(counts.values()):
        return ""
    unread = f"; {every['Unreadable']} image(s) cannot be read" if every["Unreadable"] else ""
    each = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return f"Of {sum(counts.values())} parts: {each}{unread}."
