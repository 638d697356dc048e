"""Check a CSV, submit it by the official client, wait for its score; ask for scores later."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from helpers.commands.kaggle.client import COMPETITION, KaggleError, connect, doing
from helpers.core import paths
from helpers.datasets.nexperia import SAMPLE_NAMES
from helpers.results.submission import SubmissionError, validate_submission


def submit(
    path: str | os.PathLike,
    message: str,
    slug: str = COMPETITION,
    *,
    sample_path: str | os.PathLike | None = None,
    root: str | os.PathLike | None = None,
    wait_s: float = 1800,
) -> dict:
    """Check a CSV, submit it, wait for the score, and return ref, status, public_score and error.

    Args:
        path: the CSV.
        message: the description shown on Kaggle.
        slug: the contest's name in its address.
        sample_path: the sample submission; by default the one found under `root/slug`.
        root: folder of raw data; None: where the notebooks look for it.
        wait_s: how long to wait for the score; 0 returns at once.

    Raises:
        SubmissionError: the CSV would be rejected; nothing was sent.
        KaggleError: a request failed, Kaggle could not score the file, or not in time.
    """
    path, folder = Path(path), (paths.raw_root() if root is None else Path(root)) / slug
    if sample_path is None:
        found = [file for name in SAMPLE_NAMES for file in sorted(folder.rglob(name))]
        if not found:
            raise SubmissionError(
                f"No sample submission ({' or '.join(SAMPLE_NAMES)}) under {folder} to check "
                "against: give --sample, or fetch it: python -m helpers.kaggle download "
                f"--competition {slug}"
            )
        sample_path = found[0]
    validate_submission(path, None, sample_path)
    api = connect()
    try:
        with doing(f"submitting {path.name}", slug):
            answer = api.competition_submit(str(path), message, slug, quiet=True)
    except KaggleError as error:
        if error.status is not None and error.status < 500:  # refused for certain
            raise
        raise KaggleError(
            f"{error}\nPerhaps {path.name} has arrived: before you send it again, look at "
            f"https://www.kaggle.com/competitions/{slug}/submissions",
            error.status,
        ) from None
    if not answer.ref:
        raise KaggleError(
            f"Kaggle did not take {path.name} ({answer.message}), and nothing was submitted: run "
            "the same command again."
        )
    print(f"{path.name} was sent as submission {answer.ref}.", file=sys.stderr, flush=True)
    if wait_s <= 0:
        return {"ref": answer.ref, "status": "PENDING", "public_score": "", "error": ""}
    return _score(api, answer.ref, slug, wait_s)


def status(
    slug: str = COMPETITION, *, path: str | os.PathLike | None = None, ref: int | None = None
) -> dict:
    """Return what is known of a submission (by CSV or reference), or else the submissions left.

    Args:
        slug: the contest's name in its address.
        path: a CSV; the latest submission of a file of this name is meant.
        ref: the reference of a submission.

    Raises:
        KaggleError: the request failed, or the submission ended in an error.
    """
    api = connect()
    if path is not None and ref is None:
        name = Path(path).name
        with doing(f"looking for {name} among your submissions", slug):
            sent = api.competition_submissions(slug) or []  # the newest first
        ref = next((one.ref for one in sent if one.file_name == name), None)
        if ref is None:
            raise KaggleError(
                f"{name} is not among your last submissions to {slug}: submit it first, or give "
                "the reference of the submission with --ref."
            )
    if ref is not None:
        return _score(api, ref, slug)
    with doing(f"looking up {slug}", slug):
        left = api.competition_get_submission_limits(slug)
    today, allowed = left.num_today, left.num_allowed_now
    return {"competition": slug, "submissions_today": today, "submissions_left": allowed}


def _score(api: Any, ref: int, slug: str, wait_s: float = 0) -> dict:
    """Ask for a submission; with `wait_s` again and again, ever more slowly, until it is scored."""
    end, pause_s = time.monotonic() + wait_s, 2.0
    while True:
        try:
            with doing(f"asking for submission {ref}", slug):
                answer = api.get_submission(ref)
            state, error = answer.status.name, (answer.error_description or "").strip()
            if state == "ERROR":
                raise KaggleError(
                    f"Submission {ref} ended in an error: {error or 'Kaggle gives no reason'}. "
                    "Correct the file and submit it again."
                )
            if state == "COMPLETE" or not wait_s:
                score = answer.public_score
                return {"ref": ref, "status": state, "public_score": score, "error": error}
        except KaggleError as failure:
            if failure.status != 404 or not wait_s:  # Kaggle's list lags behind what was sent
                raise
        if time.monotonic() + pause_s > end:
            raise KaggleError(
                f"Submission {ref} has no score after {wait_s:.0f} s. It was sent; ask again "
                f"later: python -m helpers.kaggle status --competition {slug} --ref {ref}"
            )
        time.sleep(pause_s)
        pause_s = min(60.0, pause_s * 1.5)
