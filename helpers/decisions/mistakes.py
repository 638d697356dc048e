"""Find the parts that a model calls wrongly, and draw a contact sheet of parts."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.core.finding import Finding
from helpers.core.metrics import rate_interval
from helpers.core.style import LABEL_NAMES, draw_images
from helpers.datasets.cache import ImageCache
from helpers.results.predictions import Scored

KINDS = {"escape": "bad parts called good", "false alarm": "good parts called bad"}
COLUMNS = 4  # of the contact sheet
MOST = 8  # parts on it, of all kinds


def judged_parts(scored: Scored, split: pd.DataFrame) -> pd.DataFrame:
    """Return the labelled parts of the judged side with all columns of the split."""
    parts = pd.DataFrame({"id": scored.ids(), "defect_score": scored.labels_scores()[1]})
    return parts.merge(split, on="id").astype({"label": int})


def mistakes(judged: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return the parts on the wrong side of a threshold, escapes first, the worst of each first.

    `judged` is `judged_parts`; a part is called bad from the threshold on. The added columns are
    `kind`, one of `KINDS`, and `distance` of the score from the threshold.
    """
    wrong = judged[(judged.defect_score >= threshold) != (judged.label == 1)]
    wrong = wrong.assign(
        kind=np.where(wrong.label == 1, *KINDS), distance=(wrong.defect_score - threshold).abs()
    )
    order = ["kind", "distance"]
    return wrong.sort_values(order, ascending=[True, False], kind="stable", ignore_index=True)


def rates(wrong: pd.DataFrame, judged: pd.DataFrame) -> list[Finding]:
    """Return the shares of bad parts called good and of good parts called bad.

    `wrong` are those of the `judged` parts that are on the wrong side. Groups are the units of the
    intervals if `judged` names them. A class without parts is left out.
    """
    found = []
    for label, kind in ((1, "escape"), (0, "false alarm")):
        own = judged[judged.label == label]
        if len(own):
            rate = rate_interval(own.id.isin(wrong.id), own.get("group"))
            found.append(Finding(f"{KINDS[kind]}, of {len(own):,}", *rate))
    return found


def contact_sheet(kinds: Mapping[str, pd.DataFrame], cache: ImageCache, title: str) -> Figure:
    """Draw the first parts of each kind, labelled by `part_lines`, below the kind's name.

    There are at most `MOST` in all; a heading says if there are more.
    """
    most = MOST // len(kinds)
    rows = [-(-min(most, len(own)) // COLUMNS) for own in kinds.values()]
    heights = [3.5 * n + 0.45 for n in rows]
    figure = plt.figure(figsize=(2.9 * COLUMNS, sum(heights) + 0.5))
    parts = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=heights)
    for part, n_rows, (name, own) in zip(parts.ravel(), rows, kinds.items(), strict=True):
        shortened = f", the {most} worst are shown" if len(own) > most else ""
        part.suptitle(f"{name}: {len(own)}{shortened}", fontsize=12, x=0.01, ha="left")
        first = own.head(most)
        axes = part.subplots(n_rows, COLUMNS, squeeze=False)
        titles = map(part_lines, first.to_dict("records"))
        draw_images(axes, cache.take(cache.rows(first.id)), titles, 10)
    figure.suptitle(title, fontsize=13, wrap=True)
    return figure


def part_lines(row: dict) -> str:
    """Return lines for the picture of a part: id, label and score, and what is known of it."""
    label = f"labelled {LABEL_NAMES[row['label']]}, score {row['defect_score']:.3f}"
    level = row.get("probability", np.nan)
    known = ["" if pd.isna(level) else f"annotators {level:.2g}"]
    for name in ("cell_type", "group"):
        known += [] if pd.isna(row.get(name)) else [str(row[name])[-14:]]
    lines = [str(row["id"])[-20:], label, ", ".join(filter(None, known))]
    return "\n".join(filter(None, lines))
