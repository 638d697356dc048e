"""Find the parts with a wrong verdict, and the labels that are most likely wrong.

Labels are audited by confident learning (Northcutt et al. 2021, arXiv 1911.00068) on held-out
scores, which become probabilities by a logistic regression on their logit (Platt 1999), so that
ranks can be used too. The threshold of a class is its mean probability on the images with its
label. A label is suspect if the other class reaches its own threshold, and is the likelier one if
both do. Test labels are never audited: correcting those that a model disagrees with would favour
the model.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy import special
from sklearn.linear_model import LogisticRegression

from helpers.core import files
from helpers.core.finding import Finding
from helpers.core.metrics import check_both_classes, rate_interval
from helpers.core.style import LABEL_NAMES, draw_images
from helpers.datasets.cache import ImageCache
from helpers.decisions.operating_point import Bins
from helpers.results.predictions import Scored

KINDS = ("escape", "overkill")  # bad parts that pass, good ones that are rejected
COLUMNS = 4  # of the contact sheet
MOST = 8  # parts on it
FIRST = 50  # labels that a person looks at in any case
OWN = ["id", "path", "label", "quality", "is_suspect", "defect_score", "reason"]
TO_CHECK = ["id", "path", "label", "reason"]


def mistakes(scored: Scored, split: pd.DataFrame, bins: Bins) -> pd.DataFrame:
    """Return the judged parts on the wrong side of both thresholds: escapes first, the worst above.

    The columns are those of the split, `kind` (one of `KINDS`), and `distance` of the score from
    the threshold.
    """
    parts = scored.labelled()[["id", "defect_score"]].merge(split, on="id").astype({"label": int})
    is_bad = parts.label == 1
    beyond = np.where(
        is_bad, bins.pass_below - parts.defect_score, parts.defect_score - bins.reject_from
    )
    wrong = np.where(is_bad, beyond > 0, beyond >= 0)
    found = parts.assign(kind=np.where(is_bad, *KINDS), distance=beyond)[wrong]
    return found.sort_values(
        ["kind", "distance"], ascending=[True, False], kind="stable", ignore_index=True
    )


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
    words = {"probability": "p {:.2g}", "cell_type": "{}", "group": "{}"}
    known = [text.format(row[n])[-14:] for n, text in words.items() if pd.notna(row.get(n))]
    return "\n".join(filter(None, [str(row["id"])[-20:], label, ", ".join(known)]))


def confident_class(labels: ArrayLike, probabilities: ArrayLike) -> np.ndarray:
    """Return the class (N,) whose threshold each image reaches, the likelier of two, or else -1."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    thresholds = [probabilities[labels == label, label].mean() for label in LABEL_NAMES]
    reached = probabilities >= thresholds
    likelier = np.where(reached, probabilities, -1).argmax(axis=1)
    return np.where(reached.any(axis=1), likelier, -1)


def audit(scored: Scored, split: pd.DataFrame) -> pd.DataFrame:
    """Return the images with a held-out score, the labels most likely wrong first.

    The columns are `OWN` and the source's own ones; `quality` is the probability of the given
    label. Suspect labels come first, then those of low quality.
    """
    labels, scores = check_both_classes(*scored.labels_scores("val"))
    means = {word: scores[labels == label].mean() for label, word in LABEL_NAMES.items()}
    usual = ", ".join(f"{mean:.2f} on average if {word}" for word, mean in means.items())
    logits = special.logit(np.clip(scores, 1e-4, 1 - 1e-4))[:, None]
    probabilities = LogisticRegression().fit(logits, labels).predict_proba(logits)
    frame = scored.labelled("val")[["id", "defect_score"]].assign(label=labels)
    frame["quality"] = probabilities[np.arange(len(labels)), labels]
    frame["is_suspect"] = confident_class(labels, probabilities) == 1 - labels
    frame["reason"] = [
        f"labelled {LABEL_NAMES[label]}, score {score:.4f} ({usual})"
        for label, score in zip(labels, scores, strict=True)
    ]
    others = split.drop(columns=[*OWN[2:], "split", "fold"], errors="ignore")
    frame = frame.merge(others, on="id")
    frame = frame.sort_values(
        ["is_suspect", "quality"], ascending=[False, True], kind="stable", ignore_index=True
    )
    return frame[[*OWN, *(name for name in frame if name not in OWN)]]


def doubts(audited: pd.DataFrame) -> list[Finding]:
    """Return the share of suspect labels, and if known how many of them the annotators doubted.

    A `probability` that is neither 0 nor 1 is a doubt; their interval is by groups if these are
    known, and the verdict compares it with the doubts about all labels.
    """
    suspect = audited.is_suspect
    found = [Finding(f"suspect labels, of {len(audited):,}", suspect.mean())]
    if "probability" not in audited or audited.probability.isna().all() or not suspect.any():
        return found
    doubted, groups = audited.probability.between(0, 1, inclusive="neither"), audited.get("group")
    rate = rate_interval(doubted[suspect], None if groups is None else groups[suspect])
    is_usual = rate.low <= doubted.mean() <= rate.high
    verdict = "no difference seen" if is_usual else "differs from all labels"
    found.append(Finding("labels that the annotators doubted, of the suspect ones", *rate, verdict))
    return [*found, Finding("labels that the annotators doubted, of all", doubted.mean())]


def write_to_check(path: Path, audited: pd.DataFrame) -> str:
    """Write the suspect labels, at least `FIRST`, as a CSV to edit, and say what to do with it.

    A list that is there is kept: a person may have edited it.
    """
    if "review" in audited:  # a person has judged them
        audited = audited[audited.review.isna()]
    rows = audited.head(max(FIRST, int(audited.is_suspect.sum())))[TO_CHECK]
    if path.exists() and path.read_bytes() != files.csv_bytes(rows):
        return f"{path} is kept, since it may have been edited: delete it for a new one"
    files.save_csv(path, rows)
    way_on = f"Correct its column `label`, then start another --name with -p LABELS_CSV={path}"
    return f"{len(rows)} labels to check: {path}\n{way_on}"
