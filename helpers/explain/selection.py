"""Choose parts that are worth looking at. Parts are rows of `Subject.parts`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from helpers.core.style import LABEL_NAMES
from helpers.explain.subject import ExplainError, Subject

MOST_TRIED = 32  # parts whose maps are computed to find a filled one
GROUPS = ("surest hits", "worst misses", "least certain")  # of a gallery


def surest_of_each_class(subject: Subject) -> pd.DataFrame:
    """Return the good and the bad part that the model calls right with the most certainty.

    Parts with an empty map for one of the labels are passed over: a very sure network often finds
    nothing that supports the other label. If the `MOST_TRIED` surest parts all have an empty map,
    the surest is returned; if no part of a class is right, the least wrong ones are tried.

    Raises:
        ExplainError: a class has no part.
    """
    chosen = []
    for label, word in LABEL_NAMES.items():
        parts = subject.parts[subject.parts.label == label]
        if parts.empty:
            raise ExplainError(
                f"there is no {word} part among the {len(subject.parts)} labelled ones"
            )
        right = parts[parts.right]
        pool = (parts if right.empty else right).sort_values("mistake", kind="stable")[:MOST_TRIED]
        peaks = [subject.maps(pool.id, c).amax((1, 2)).numpy() for c in LABEL_NAMES]
        filled = pool[np.min(peaks, axis=0) > 0]
        chosen.append(pool[:1] if filled.empty else filled[:1])
    return pd.concat(chosen, ignore_index=True)


def gallery_parts(parts: pd.DataFrame, n: int) -> pd.DataFrame:
    """Return up to `n` parts of each of `GROUPS`, named in column `group`: hits nearest to their
    label and misses farthest from it, both half good and half bad if there are enough, and those
    nearest to the threshold among the others."""
    right = parts[parts.right].sort_values("mistake", kind="stable")
    wrong = parts[~parts.right].sort_values("mistake", ascending=False, kind="stable")
    hits, misses = half_of_each(right, "label", n), half_of_each(wrong, "label", n)
    others = parts.drop(hits.index.union(misses.index))
    groups = (hits, misses, others.sort_values("margin", kind="stable")[:n])
    named = [rows.assign(group=name) for name, rows in zip(GROUPS, groups, strict=True)]
    return pd.concat(named, ignore_index=True)


def half_of_each(parts: pd.DataFrame, column: str, n: int) -> pd.DataFrame:
    """Return the first `n` parts, half with 0 and half with 1 in `column`, sorted by it; more of
    one if the other lacks parts. The index has to be unique."""
    place = parts.groupby(column).cumcount().sort_values(kind="stable")
    return parts.loc[place.index[:n]].sort_values(column, kind="stable")
