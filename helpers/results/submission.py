"""The contest's CSV: checked against the test set, and written whole or not at all.

Kaggle's client sends any file, even an empty one, and each bad file costs one of the few
submissions of the day. So every rule is checked here; each error names the row and the way out.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.core.errors import UserError
from helpers.core.files import as_cell, write_bytes
from helpers.core.paths import RunPaths
from helpers.runs.predictions import read_predictions, read_split
from helpers.runs.record import load_run

COLUMNS = ["id", "defect_score"]
CONTESTS = ("nexperia", "chips")  # data sets whose submissions are judged by their ids


class SubmissionError(UserError):
    """A submission that the contest would reject; the text names the row and what to do."""


def write_submission(run_paths: RunPaths, model: str) -> Path:
    """Write the submission of one model of a run, and return its path.

    The rows are in the order of the split. The rules of `validate_submission` are those of a
    predictions file too, so a contest's file, which has the ids unchanged, can be sent as it is.
    Otherwise a spreadsheet may open the file (see `files.save_csv`).

    Raises:
        ArtifactError: the model's predictions do not fit the split; an older file is kept.
        SubmissionError: there is no test image.
    """
    test = read_predictions(run_paths.predictions(model), read_split(run_paths)).test[COLUMNS]
    if test.empty:
        raise SubmissionError(f"{run_paths.split_csv} has no test images to predict")
    if load_run(run_paths).get("dataset", "").partition(":")[0] not in CONTESTS:
        test = test.assign(id=test.id.map(as_cell))
    content = test.to_csv(index=False, lineterminator="\n")
    write_bytes(run_paths.submission, content.encode())
    return run_paths.submission


def validate_submission(
    path: str | os.PathLike,
    ids: Sequence[str] | None,
    sample_path: str | os.PathLike = "",
) -> pd.DataFrame:
    """Check a submission and return it as a table of `id` (str) and `defect_score` (float64).

    Args:
        path: the CSV.
        ids: the ids of the test set; None takes them from the sample submission.
        sample_path: the contest's sample submission; needed if `ids` is None.

    Raises:
        SubmissionError: wrong header, no rows, a missing, doubled or unknown id, a score that is
            missing, not a number or outside [0, 1].

    Example:
        validate_submission("submissions/mine.csv", None, "sample_submission.csv")
    """
    origin = "the test set" if ids is not None else f"the sample {sample_path}"
    expected = list(ids) if ids is not None else sample_ids(sample_path)
    if not expected:
        raise SubmissionError("The test set has no ids: is the folder of test images empty?")
    known, lines, scores = set(expected), dict[str, int](), []
    for line, (own, text) in _rows(Path(path)):
        score = _number(text)
        problem = ""
        if own in lines:
            problem = (
                f"the id occurs twice, first in line {lines[own]}. "
                "Keep one row for each test image."
            )
        elif text.strip().lower() in ("", "nan"):
            problem = (
                "the score is NaN or missing. Look at the model's output for this image; every "
                "test image needs a score."
            )
        elif np.isnan(score):
            problem = (
                f"the score {text!r} is not a number. Give the probability of bad, from 0 to 1."
            )
        elif not 0 <= score <= 1:
            problem = (
                f"the score {score:g} is outside [0, 1]. Give the probability of bad: logits need "
                "a sigmoid or softmax first."
            )
        elif own not in known:
            hint = f"Ids look like {expected[0]!r}; was the file made for another data set?"
            if own.lower().endswith((".bmp", ".png", ".jpg", ".jpeg")):
                hint = "An id is the file's name without folder and extension."
            problem = f"this id is not in {origin}. {hint}"
        if problem:
            raise SubmissionError(f"{path}, line {line} (id {own!r}): {problem}")
        lines[own] = line
        scores.append(score)
    if not lines:
        raise SubmissionError(
            f"{path} has zero rows below the header; {origin} has {len(expected)}. "
            "Write one row for each test image."
        )
    missing = [(n, own) for n, own in enumerate(expected, 1) if own not in lines]
    if missing:
        n, first = missing[0]
        raise SubmissionError(
            f"{path}: id {first!r} (row {n} of {origin}) is missing, {len(missing)} of "
            f"{len(expected)} in all. Predict every test image."
        )
    ids = pd.Series(list(lines), dtype=object)
    return pd.DataFrame({"id": ids, "defect_score": scores})


def sample_ids(sample_path: str | os.PathLike) -> list[str]:
    """Return the ids of a sample submission in their order; SubmissionError if it has none."""
    ids = [own for _, (own, _) in _rows(Path(sample_path))]
    if not ids:
        raise SubmissionError(f"{sample_path} has no rows: download the contest's files again.")
    return ids


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    # line number (the header is line 1), id and score as text: pandas would read the id 007 as 7
    if not path.is_file():
        raise SubmissionError(f"{path} does not exist: write it first, or correct the path.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            rows = [(reader.line_num, fields) for fields in reader if fields]  # no blank lines
    except (UnicodeDecodeError, csv.Error) as error:
        raise SubmissionError(
            f"{path} is not a CSV in UTF-8 ({error}): write it as pandas' to_csv does."
        ) from error
    if header != COLUMNS:
        raise SubmissionError(
            f"{path}: the header (line 1) is {','.join(header)[:80]!r} but must be "
            f"{','.join(COLUMNS)!r}. Rename the columns, and write no index column."
        )
    for line, fields in rows:
        if len(fields) != len(COLUMNS):
            raise SubmissionError(
                f"{path}, line {line}: {len(fields)} fields instead of 2: "
                f"{','.join(fields)[:80]!r}. Write the id, a comma, the score."
            )
    return rows


def _number(text: str) -> float:
    try:
        return np.nan if "_" in text else float(text)  # Python reads 0_1 as 1
    except ValueError:
        return np.nan
