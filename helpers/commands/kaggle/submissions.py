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
    root: str | os.PathLike | None = None,
    wait_s: int = 1800,
) -> str:
    """Check a CSV, submit it, wait for the score, and return what Kaggle answered.

    The client prints the reference of the submission, the submissions left today and the score.

    Args:
        path: the CSV.
        message: the description shown on Kaggle.
        slug: the contest's name in its address.
        sample_path: the sample submission; by default the one found under `root/slug`.
        root: folder of raw data; None: where the notebooks look for it.
        wait_s: how long to wait for the score; 0: not at all.

    Raises:
        ArtifactError: the CSV would be rejected; nothing was sent.
        KaggleError: a request failed, Kaggle could not score the file, or not in time. The command
            `kaggle competitions submission REF` asks for a score later.
    """
    path, folder = Path(path), (paths.raw_root() if root is None else Path(root)) / slug
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
    try:
        with doing(f"submitting {path.name}", slug, shown=True):
            # None: do not wait; the client's 0 means twelve hours
            return api.competition_submit_cli(str(path), message, slug, wait=wait_s or None)
    except KaggleError as error:
        has_answer = error.status is not None and error.status < 500
        if has_answer or type(error.__context__) is ValueError:  # in the client's own words
            raise
        raise KaggleError(
            f"{error}\nPerhaps {path.name} has arrived: before you send it again, look at "
            f"https://www.kaggle.com/competitions/{slug}/submissions",
            error.status,
        ) from None
