"""Find the parts that a model calls wrongly, and draw a contact sheet of parts."""

from __future__ import annotations

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
MOST = 8  # parts on it


def mistakes(scored: Scored, split: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return the judged parts on the wrong side of a threshold: escapes first, the worst above.

    The columns are those of the split, `kind` (one of `KINDS`), and `distance` of the score from
    the threshold.
    """
    parts = scored.labelled()[["id", "defect_score"]].merge(split, on="id").astype({"label": int})
    wrong = parts[(parts.defect_score >= threshold) != (parts.label == 1)]
    kind, distance = np.where(wrong.label == 1, *KINDS), (wrong.defect_score - threshold).abs()
    return wrong.assign(kind=kind, distance=distance).sort_values(
        ["kind", "distance"], ascending=[True, False], kind="stable", ignore_index=True
    )


def rates(scored: Scored, threshold: float) -> list[Finding]:
    """Return the shares of bad parts called good and of good parts called bad, if there are any.

    Groups are the units of the intervals if they are known.
    """
    (labels, scores), groups, found = scored.labels_scores(), scored.groups(), []
    for label, words in zip((1, 0), KINDS.values(), strict=True):
        own = labels == label
        if own.any():
            wrong = (scores[own] >= threshold) != label
            rate = rate_interval(wrong, None if groups is None else groups[own])
            found.append(Finding(f"{words}, of {own.sum():,}", *rate))
    return found


def contact_sheet(parts: pd.DataFrame, cache: ImageCache, title: str) -> Figure:
    """Draw the first `MOST` parts, labelled by `part_lines`."""
    parts = parts.head(MOST)
    n_rows = -(-len(parts) // COLUMNS)
    size = (2.9 * COLUMNS, 3.5 * n_rows + 0.5)
    figure, axes = plt.subplots(n_rows, COLUMNS, figsize=size, squeeze=False)
    titles = map(part_lines, parts.to_dict("records"))
    draw_images(axes, cache.take(cache.rows(parts.id)), titles, 10)
    figure.suptitle(title, fontsize=13, wrap=True)
    return figure


def part_lines(row: dict) -> str:
    """Return lines for the picture of a part: id, label and score, and what is known of it."""
    label = f"labelled {LABEL_NAMES[row['label']]}, score {row['defect_score']:.3f}"
    words = {"probability": "annotators {:.2g}", "cell_type": "{}", "group": "{}"}
    known = [text.format(row[n])[-14:] for n, text in words.items() if pd.notna(row.get(n))]
    return "\n".join(filter(None, [str(row["id"])[-20:], label, ", ".join(known)]))
