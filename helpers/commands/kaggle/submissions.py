"""Check a CSV, submit it by the official client, and wait for its score."""

from __future__ import annotations

import os
from pathlib import Path

from helpers.commands.kaggle.client import COMPETITION, KaggleError, connect, doing
from helpers.core import paths
from helpers.core.files import ArtifactError
from helpers.datasets.nexperia import SAMPLE_NAMES
from helpers.results.submission import validate_submission


def submit(
    path: str | os.PathLike,
    message: str,
    slug: str = COMPETITION,
    *,
    sample_path: str | os.PathLike | None = None,
    wait_s: int = 1800,
) -> str:
    """Check a CSV, submit it, wait for the score, and return what Kaggle answered.

    The client prints the reference of the submission, the submissions left today and the score.

    Args:
        path: the CSV.
        message: the description shown on Kaggle.
        slug: the contest's name in its address.
        sample_path: the sample submission; by default the one found under `data/raw/slug`.
        wait_s: how long to wait for the score; 0 or less: not at all.

    Raises:
        ArtifactError: the CSV would be rejected; nothing was sent.
        KaggleError: a request failed, Kaggle could not score the file, or not in time. The command
            `kaggle competitions submission REF` asks for a score later.
    """
    path, folder = Path(path), paths.raw_root() / slug
    if sample_path is None:
        found = [file for name in SAMPLE_NAMES for file in sorted(folder.rglob(name))]
        if not found:
            raise ArtifactError(
                f"No sample submission ({' or '.join(SAMPLE_NAMES)}) under {folder} to check "
                "against: give --sample, or fetch it: python -m helpers.kaggle download "
                f"--competition {slug}"
            )
        sample_path = found[0]
    validate_submission(path, None, sample_path)
    api = connect()
    wait = wait_s if wait_s > 0 else None  # the client's 0 means twelve hours
    try:
        with doing(f"submitting {path.name}", slug, shown=True) as printed:
            return api.competition_submit_cli(str(path), message, slug, wait=wait)
    except KaggleError as error:
        if "Submission ref: " in printed.text:
            note = f"{path.name} has arrived: its score will be at"
        elif error.is_refusal:
            raise
        else:
            note = f"Perhaps {path.name} has arrived: before you send it again, look at"
        page = f"https://www.kaggle.com/competitions/{slug}/submissions"
        raise KaggleError(f"{error}\n{note} {page}", error.status) from None
