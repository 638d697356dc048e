"""Read what a person said about the parts on a page of `helpers.deploy.review`, and use it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.core import files, metrics
from helpers.core.finding import Finding
from helpers.core.style import LABEL_NAMES
from helpers.datasets.named import LABEL_WORDS, resolved
from helpers.deploy.review import AUDIT, LOOK_AGAIN, SUSPECT

COLUMNS = ["path", "group", "drawn", "judgement", "before_scores", "passed"]
LABELS = [*LABEL_NAMES.values()]  # a judgement may also be "unsure", or missing
KNOWN_LABELS = [*LABEL_WORDS, np.nan]  # in a LABELS_CSV


def read_judgements(path: Path) -> pd.DataFrame:
    """Load the CSV that a page has saved; ArtifactError names a line that no page has saved."""
    words = [*LABELS, "unsure", np.nan]
    frame = files.load_csv(path, COLUMNS, text=COLUMNS)
    known = {"judgement": words, "before_scores": words, "drawn": [LOOK_AGAIN, AUDIT, SUSPECT]}
    checks = {f"{name} {{{name}!r}} is unknown": ~frame[name].isin(known[name]) for name in known}
    checks["passed {passed!r} is not a number"] = ~frame.passed.astype(str).str.isdecimal()
    again = frame.path.isna() | frame.duplicated(["path", "drawn"])
    checks["path {path!r} is missing or named again"] = again
    files.refuse_marked(path, frame, checks, "; give the CSV as the page saved it")
    if frame.empty:
        raise files.ArtifactError(f"{path} names no part")
    return frame


def escapes(judged: pd.DataFrame) -> Finding:
    """Return the share of the passed parts that is bad, by what was said of the audited ones
    before any score was shown. The exact 95 % interval counts undecided parts as good at its lower
    end, and as bad at its upper end."""
    said = judged.before_scores[judged.drawn == AUDIT]
    n, n_bad, undecided = len(said), int((said == "bad").sum()), int((~said.isin(LABELS)).sum())
    what = f"bad share of what passed ({n} audited, {n_bad} bad, {undecided} undecided)"
    if n == 0:
        return Finding(what, np.nan)
    rate, low, _ = metrics.exact_interval(n_bad, n)
    return Finding(what, rate, low, metrics.exact_interval(n_bad + undecided, n).high)


def with_reviews(judged: pd.DataFrame, labels_csv: Path | None = None) -> pd.DataFrame:
    """Return a LABELS_CSV with the judgements as its column `review`; "unsure" gives no label.

    The rows and labels of an older `labels_csv` are kept: a label of a review is used for training
    only, not for evaluation (`members.sides`).
    """
    decided = judged[judged.judgement.isin(LABELS)].drop_duplicates("path")
    new = decided[["path", "group"]].assign(review=decided.judgement)
    if labels_csv is None:
        return new.drop(columns="group")
    old = files.load_csv(labels_csv, ("path",), ("label", "review", "group"))
    said = old.filter(["label", "review"])
    checks = {f"{name} {{{name}!r}} is unknown": ~said[name].isin(KNOWN_LABELS) for name in said}
    checks["path {path!r} is missing or named again"] = old.path.isna() | old.path.duplicated()
    files.refuse_marked(labels_csv, old, checks)
    old = old.drop(columns="id", errors="ignore")  # that of a new image is not known here
    is_whole = new.path.map(os.path.isabs)
    new["path"] = new.path.mask(is_whole, new.path.map(os.path.realpath))
    known = old.path  # as the new ones are written, so that no image is named twice
    if is_whole.any():
        known = resolved(known, new.path[is_whole], labels_csv.parent)
    slashed = ~known.isin(new.path) & known.str.replace("\\", "/").isin(new.path)
    files.refuse_marked(labels_csv, old, {"path {path!r}: write / instead of \\": slashed})
    review = known.map(new.set_index("path").review).astype(object)
    old["review"] = review.fillna(old.review) if "review" in old else review
    added = new[~new.path.isin(known)].reindex(columns=old.columns)
    return pd.concat([old, added], ignore_index=True)
