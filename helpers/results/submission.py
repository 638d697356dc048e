"""The contest's CSV: written atomically, and checked against the test set before anybody sees it.

Kaggle's client sends whatever it is given, an empty file too, and each bad file costs one of the
few submissions of the day. So every rule is checked here; each error names the row and the way out.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.core.files import write_bytes

COLUMNS = ("id", "defect_score")
_IMAGE_SUFFIXES = (".bmp", ".png", ".jpg", ".jpeg")


class SubmissionError(ValueError):
    """A submission that the contest would reject; the text names the row and what to do."""


@dataclass(frozen=True)
class _Row:
    where: str  # "line 7" of a file (the header is line 1), or "row 5" of a table (counted from 0)
    id: str
    score: Any  # as it was found: any object of a table

    def __str__(self) -> str:
        return f"{self.where} (id {self.id!r})"


def validate_submission(
    path_or_frame: str | os.PathLike | pd.DataFrame,
    ids: Sequence[str] | None,
    sample_path: str | os.PathLike | None = None,
    order_matters: bool = False,
) -> pd.DataFrame:
    """Check a submission and return it as a table of `id` (str) and `defect_score` (float64).

    Args:
        path_or_frame: the CSV, or a table with the same two columns.
        ids: the ids of the test set; None takes them from the sample submission.
        sample_path: the contest's sample submission; needed when `ids` is None.
        order_matters: also require the rows to stand in the order of `ids` (or of the sample).

    Raises:
        SubmissionError: wrong header, no rows, a missing, doubled or unknown id, a score that is
            missing, not a number or outside [0, 1], or rows out of order.
    """
    expected, origin = _expected_ids(ids, sample_path)
    if isinstance(path_or_frame, pd.DataFrame):
        name, rows = "the table", _rows_of_frame(path_or_frame)
    else:
        name, rows = str(path_or_frame), _rows_of_file(Path(path_or_frame))
    if not rows:
        raise SubmissionError(
            f"{name} has zero rows below the header; {origin} has {len(expected)}. "
            "Write one row for each test image."
        )
    scores = [_checked_score(name, row) for row in rows]
    _check_ids(name, rows, expected, origin)
    if order_matters:
        _check_order(name, rows, expected, origin)
    return pd.DataFrame(
        {
            "id": pd.Series([row.id for row in rows], dtype=object),
            "defect_score": pd.Series(scores, dtype="float64"),
        }
    )


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
    path = Path(path)
    ids, scores = [str(i) for i in ids], list(scores)
    if len(ids) != len(scores):
        raise SubmissionError(f"{len(ids)} ids but {len(scores)} scores: give one score for each.")
    wanted = list(dict.fromkeys(ids)) if sample_ids is None else [str(i) for i in sample_ids]
    frame = pd.DataFrame({"id": pd.Series(ids, dtype=object), "defect_score": scores})
    checked = validate_submission(frame, wanted)
    checked = checked.set_index("id").loc[wanted].reset_index()
    write_bytes(path, checked.to_csv(index=False, lineterminator="\n").encode())
    return path


def sample_ids(sample_path: str | os.PathLike) -> list[str]:
    """Return the ids of a sample submission in their order; SubmissionError when it has none."""
    ids = [row.id for row in _rows_of_file(Path(sample_path))]
    if not ids:
        raise SubmissionError(f"{sample_path} has no rows: download the contest's files again.")
    return ids


def _expected_ids(
    ids: Sequence[str] | None, sample_path: str | os.PathLike | None
) -> tuple[list[str], str]:
    if ids is not None:
        expected, origin = [str(i) for i in ids], "the test set"
    elif sample_path is not None:
        expected, origin = sample_ids(sample_path), f"the sample {sample_path}"
    else:
        raise SubmissionError(
            "Nothing to check against: give the ids of the test set, or the path of the sample "
            "submission."
        )
    if not expected:
        raise SubmissionError("The test set has no ids: is the folder of test images empty?")
    doubled = _first_doubled(expected)
    if doubled is not None:
        raise SubmissionError(f"{origin} itself holds id {expected[doubled]!r} twice.")
    return expected, origin


def _rows_of_frame(frame: pd.DataFrame) -> list[_Row]:
    _check_header("the table", list(frame.columns))
    pairs = zip(frame["id"], frame["defect_score"], strict=True)
    return [_Row(f"row {n}", str(i), score) for n, (i, score) in enumerate(pairs)]


def _rows_of_file(path: Path) -> list[_Row]:
    """Read with the csv module, not pandas: exact line numbers, and ids such as 007 stay text."""
    if not path.is_file():
        raise SubmissionError(f"{path} does not exist: write it first, or correct the path.")
    rows = []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            _check_header(str(path), next(reader, []))
            for fields in reader:
                if not fields:  # a blank line
                    continue
                if len(fields) != len(COLUMNS):
                    raise SubmissionError(
                        f"{path}, line {reader.line_num}: {len(fields)} fields instead of 2: "
                        f"{','.join(fields)[:80]!r}. Write the id, a comma, the score."
                    )
                rows.append(_Row(f"line {reader.line_num}", *fields))
    except (UnicodeDecodeError, csv.Error) as error:
        raise SubmissionError(
            f"{path} is not a CSV in UTF-8 ({error}): write it with write_submission."
        ) from error
    return rows


def _check_header(name: str, header: list) -> None:
    if tuple(header) != COLUMNS:
        shown = ",".join(str(column) for column in header)[:80]
        raise SubmissionError(
            f"{name}: the header (line 1) is {shown!r} but must be {','.join(COLUMNS)!r}. "
            "Rename the columns, and write no index column."
        )


def _checked_score(name: str, row: _Row) -> float:
    text = row.score.strip() if isinstance(row.score, str) else row.score
    try:
        if isinstance(text, str) and "_" in text:  # float() would read 0_1 as 1
            raise ValueError
        score = float("nan") if text is None or text == "" else float(text)
    except (TypeError, ValueError):
        raise SubmissionError(
            f"{name}, {row}: the score {row.score!r} is not a number. "
            "Give the probability of bad, from 0 to 1."
        ) from None
    if score != score:
        raise SubmissionError(
            f"{name}, {row}: the score is NaN or missing. "
            "Look at the model's output for this image; every test image needs a score."
        )
    if not 0 <= score <= 1:
        raise SubmissionError(
            f"{name}, {row}: the score {score:g} lies outside [0, 1]. "
            "Give the probability of bad: logits need a sigmoid or softmax first."
        )
    return score


def _check_ids(name: str, rows: list[_Row], expected: list[str], origin: str) -> None:
    doubled = _first_doubled([row.id for row in rows])
    if doubled is not None:
        first = next(row for row in rows if row.id == rows[doubled].id)
        raise SubmissionError(
            f"{name}, {rows[doubled]}: the id stands there a second time, first at {first.where}. "
            "Keep one row for each test image."
        )
    known = set(expected)
    unknown = next((row for row in rows if row.id not in known), None)
    if unknown is not None:
        raise SubmissionError(
            f"{name}, {unknown}: this id is not in {origin}. {_hint(unknown.id, expected)}"
        )
    present = {row.id for row in rows}
    missing = [(n, i) for n, i in enumerate(expected, 1) if i not in present]
    if missing:
        n, first_id = missing[0]
        raise SubmissionError(
            f"{name}: id {first_id!r} (row {n} of {origin}) is missing, {len(missing)} of "
            f"{len(expected)} in all. Predict every test image."
        )


def _hint(unknown: str, expected: list[str]) -> str:
    if unknown.lower().endswith(_IMAGE_SUFFIXES):
        return "An id is the file's name without folder and extension."
    return f"Ids look like {expected[0]!r}; was the file made for another data set?"


def _check_order(name: str, rows: list[_Row], expected: list[str], origin: str) -> None:
    for row, wanted in zip(rows, expected, strict=True):
        if row.id != wanted:
            raise SubmissionError(
                f"{name}, {row}: wrong row order, {origin} has {wanted!r} here. "
                "Write the rows in its order; write_submission does when given sample_ids."
            )


def _first_doubled(ids: Sequence[str]) -> int | None:
    seen: set[str] = set()
    for n, i in enumerate(ids):
        if i in seen:
            return n
        seen.add(i)
    return None
