"""The contest's CSV: checked against the test set, then written whole or not at all.

Kaggle's client sends any file, even an empty one, and each bad file costs one of the few
submissions of the day. So every rule is checked here; each error names the row and the way out.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from helpers.core.paths import RunPaths
from helpers.core.writing import write_bytes
from helpers.runs.predictions import read_predictions, read_split

COLUMNS = ["id", "defect_score"]
_IMAGE_SUFFIXES = (".bmp", ".png", ".jpg", ".jpeg")


class SubmissionError(ValueError):
    """A submission that the contest would reject; the text names the row and what to do."""


def validate_submission(
    path: str | os.PathLike,
    ids: Sequence[str] | None,
    sample_path: str | os.PathLike | None = None,
    order_matters: bool = False,
) -> pd.DataFrame:
    """Check a submission and return it as a table of `id` (str) and `defect_score` (float64).

    Args:
        path: the CSV.
        ids: the ids of the test set; None takes them from the sample submission.
        sample_path: the contest's sample submission; needed if `ids` is None.
        order_matters: also require the rows to be in the order of `ids` (or of the sample).

    Raises:
        SubmissionError: wrong header, no rows, a missing, doubled or unknown id, a score that is
            missing, not a number or outside [0, 1], or rows out of order.

    Example:
        validate_submission("submissions/mine.csv", None, "sample_submission.csv")
    """
    content = _text_of(path)
    if ids is not None:
        return _checked(str(path), content, list(ids), "the test set", order_matters)
    if sample_path is None:
        raise SubmissionError(
            "Nothing to check against: give the ids of the test set, or the path of the sample "
            "submission."
        )
    origin = f"the sample {sample_path}"
    return _checked(str(path), content, sample_ids(sample_path), origin, order_matters)


def write_submission(
    path: str | os.PathLike,
    ids: Iterable[str],
    scores: Iterable[float],
    sample_ids: Sequence[str] | None = None,
) -> Path:
    """Check and write a submission, whole or not at all, and return its path.

    Args:
        path: the CSV to write, for example `submissions/ensemble.csv`; folders are made.
        ids: one id for each test image: its file name without the extension.
        scores: (N,) probability that the part is bad, in [0, 1], in the order of `ids`.
        sample_ids: the ids of the test set; the rows are then written in this order.

    Raises:
        SubmissionError: see `validate_submission`; a file that was there before is kept.
    """
    ids, scores = [str(i) for i in ids], list(scores)
    if len(ids) != len(scores):
        raise SubmissionError(f"{len(ids)} ids but {len(scores)} scores: give one score for each.")
    wanted = list(dict.fromkeys(ids)) if sample_ids is None else [str(i) for i in sample_ids]
    frame = pd.DataFrame(dict(zip(COLUMNS, (ids, scores), strict=True)))
    checked = _checked("the table", frame.to_csv(index=False), wanted, "the test set")
    ordered = checked.set_index("id").loc[wanted].reset_index()
    write_bytes(Path(path), ordered.to_csv(index=False, lineterminator="\n").encode())
    return Path(path)


def write_run_submission(run_paths: RunPaths, model: str) -> Path:
    """Write the submission of one model of a run, and return its path.

    Raises:
        ArtifactError: the model's predictions do not fit the split.
    """
    split = read_split(run_paths)
    test = read_predictions(run_paths.predictions(model), split).test
    wanted = split.id[split.split == "test"].tolist()
    return write_submission(run_paths.submission, test.id, test.defect_score, wanted)


def sample_ids(sample_path: str | os.PathLike) -> list[str]:
    """Return the ids of a sample submission in their order.

    Raises:
        SubmissionError: the file has no rows, or is not a submission.
    """
    ids = [own for _, own, _ in _rows(str(sample_path), _text_of(sample_path))]
    if not ids:
        raise SubmissionError(f"{sample_path} has no rows: download the contest's files again.")
    return ids


def _checked(
    name: str, content: str, expected: list[str], origin: str, order_matters: bool = False
) -> pd.DataFrame:
    """Return the rows of a submission after checking them rule by rule; see `validate_submission`.

    Args:
        name: of the submission in errors.
        content: the text of the CSV.
        expected: the ids of the test set.
        origin: of these ids, in errors.
        order_matters: the rows must be in the order of `expected`.
    """
    if not expected:
        raise SubmissionError("The test set has no ids: is the folder of test images empty?")
    known = set(expected)
    scores: dict[str, float] = {}
    lines: dict[str, int] = {}
    for line, own, text in _rows(name, content):
        at = f"{name}, line {line} (id {own!r})"
        score = _score(text, at)
        if own in scores:
            raise SubmissionError(
                f"{at}: the id occurs twice, first in line {lines[own]}. "
                "Keep one row for each test image."
            )
        if own not in known:
            hint = f"Ids look like {expected[0]!r}; was the file made for another data set?"
            if own.lower().endswith(_IMAGE_SUFFIXES):
                hint = "An id is the file's name without folder and extension."
            raise SubmissionError(f"{at}: this id is not in {origin}. {hint}")
        scores[own], lines[own] = score, line
    if not scores:
        raise SubmissionError(
            f"{name} has zero rows below the header; {origin} has {len(expected)}. "
            "Write one row for each test image."
        )
    missing = [(n, own) for n, own in enumerate(expected, 1) if own not in scores]
    if missing:
        n, first = missing[0]
        raise SubmissionError(
            f"{name}: id {first!r} (row {n} of {origin}) is missing, {len(missing)} of "
            f"{len(expected)} in all. Predict every test image."
        )
    for own, wanted in zip(scores, expected, strict=False):
        if order_matters and own != wanted:
            raise SubmissionError(
                f"{name}, line {lines[own]} (id {own!r}): wrong row order, {origin} has "
                f"{wanted!r} here. Write the rows in its order; write_submission does if given "
                "sample_ids."
            )
    ids = pd.Series(list(scores), dtype=object)
    return pd.DataFrame({"id": ids, "defect_score": list(scores.values())})


def _score(text: str, at: str) -> float:
    """Return a score; `at` is its place in errors."""
    way_out = "Look at the model's output for this image; every test image needs a score."
    try:
        score = float(text.strip() or "nan")
    except ValueError:
        score = None
    if score is None or "_" in text:  # Python reads 0_1 as 1
        problem, way_out = f"{text!r} is not a number", "Give the probability of bad, from 0 to 1."
    elif score != score:
        problem = "is NaN or missing"
    elif not 0 <= score <= 1:
        problem = f"{score:g} is outside [0, 1]"
        way_out = "Give the probability of bad: logits need a sigmoid or softmax first."
    else:
        return score
    raise SubmissionError(f"{at}: the score {problem}. {way_out}")


def _text_of(path: str | os.PathLike) -> str:
    if not Path(path).is_file():
        raise SubmissionError(f"{path} does not exist: write it first, or correct the path.")
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SubmissionError(
            f"{path} is not a CSV in UTF-8 ({error}): write it with write_submission."
        ) from None


def _rows(name: str, content: str) -> Iterable[tuple[int, str, str]]:
    """Yield line number, id and score of each row as text, so that an id such as 007 stays whole.

    The header is line 1.
    """
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    try:
        header = next(reader, [])
        if header != COLUMNS:
            raise SubmissionError(
                f"{name}: the header (line 1) is {','.join(header)[:80]!r} but must be "
                f"{','.join(COLUMNS)!r}. Rename the columns, and write no index column."
            )
        for fields in filter(None, reader):  # without blank lines
            if len(fields) != len(COLUMNS):
                raise SubmissionError(
                    f"{name}, line {reader.line_num}: {len(fields)} fields instead of 2: "
                    f"{','.join(fields)[:80]!r}. Write the id, a comma, the score."
                )
            yield reader.line_num, fields[0], fields[1]
    except csv.Error as error:
        raise SubmissionError(
            f"{name} is not a CSV in UTF-8 ({error}): write it with write_submission."
        ) from None
