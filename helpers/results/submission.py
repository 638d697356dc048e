"""Check the content of the contest's CSV against the test set.

Kaggle's client sends any file, even an empty one, and each bad file costs one of the few
submissions of the day. So every rule is checked here; each error names the row and the way out.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from helpers.core.files import ArtifactError, load_csv, refuse_marked

COLUMNS = ["id", "defect_score"]
NO_SCORE = "defect_score {defect_score} is not a number from 0 to 1; write a probability of bad"


def validate_submission(path: str | os.PathLike, sample: str | os.PathLike) -> pd.DataFrame:
    """Check a submission and return it as a table of `id` (str) and `defect_score` (float64).

    The contest's `sample` submission has the ids of the test set.

    Raises:
        ArtifactError: a wrong header, no rows, a missing, doubled or unknown id, or a score that is
            not a number from 0 to 1.
    """
    path, sample = Path(path), Path(sample)
    expected = load_csv(sample, COLUMNS).id.tolist()
    if not expected:
        raise ArtifactError(f"{path} cannot be checked: {sample} has no ids")
    frame = load_csv(path, COLUMNS, text=["defect_score"])
    if list(frame) != COLUMNS:
        raise ArtifactError(f"{path}: the header is {','.join(frame)}; write {','.join(COLUMNS)}")
    scores = pd.to_numeric(frame.defect_score, errors="coerce")
    checks = {
        "id {id!r} occurs twice; keep one row for each test image": frame.id.duplicated(),
        NO_SCORE: ~scores.between(0, 1),
        "id {id!r} is not in the test set; an id is a file's name without folder and extension": (
            ~frame.id.isin(expected)
        ),
    }
    refuse_marked(path, frame, checks)
    there = set(frame.id)
    missing = [(n, name) for n, name in enumerate(expected, 1) if name not in there]
    if missing:
        n, first = missing[0]
        raise ArtifactError(
            f"{path}: id {first!r} (row {n} of {sample}) is missing, {len(missing)} of "
            f"{len(expected)} in all. Predict every test image."
        )
    return frame.assign(defect_score=scores)
