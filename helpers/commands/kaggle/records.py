"""What is kept beside a CSV: where it was sent, and what became of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from helpers.commands.kaggle.errors import KaggleError
from helpers.core.files import write_bytes
from helpers.results.submission import SubmissionError

SAMPLE_NAMES = ("sample_submission.csv", "submission_sample.csv")


def find_sample(slug: str, root: str | os.PathLike) -> Path:
    """Find the contest's sample submission among its downloaded files."""
    folder = Path(root) / slug
    for name in SAMPLE_NAMES:
        found = sorted(folder.rglob(name))
        if found:
            return found[0]
    raise SubmissionError(
        f"No sample submission ({' or '.join(SAMPLE_NAMES)}) under {folder} to check against: give "
        f"--sample, or fetch it: python -m helpers.kaggle download --competition {slug}"
    )


def record_path(path: Path) -> Path:
    """Return where the record of a CSV lies: `x.kaggle.json` beside `x.csv`."""
    return path.with_suffix(".kaggle.json")


def read_record(path: Path) -> dict:
    """Return the record beside a CSV; empty when there is none."""
    file = record_path(path)
    try:
        record = json.loads(file.read_text())
        if not isinstance(record, dict):
            raise ValueError("not an object")
        return record
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise KaggleError(
            f"{file} is damaged ({error}). Look at your submissions on Kaggle; remove the file "
            "when this CSV is not among them."
        ) from None


def write_record(path: Path, record: dict) -> None:
    """Write the record beside a CSV, whole or not at all."""
    write_bytes(record_path(path), json.dumps(record, indent=1).encode())
