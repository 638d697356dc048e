"""Download a contest's files, and submit a CSV that has been checked."""

from __future__ import annotations

import os
import re
import shutil
import sys
import traceback
import zipfile
import zlib
from pathlib import Path

from helpers.commands.kaggle.client import COMPETITION, KaggleError, asking, connect
from helpers.core import paths


class NoScoreError(KaggleError):
    """The file has arrived, or may have arrived, but there is no score: do not send it again."""


def download(slug: str = COMPETITION) -> Path:
    """Download and unpack a contest's files into `data/raw/slug`, and return that folder.

    The folder appears whole or not at all. The client resumes a broken download, five times and
    again in the next call, from what is kept in `data/raw/.slug.download`.

    Raises:
        KaggleError: no credentials, a refusal, a broken connection, or a damaged archive.
    """
    if not re.fullmatch(r"[\w-]+", slug):
        raise KaggleError(f"{slug!r} is not a contest's name: give the last part of its address")
    folder = paths.raw_root() / slug
    if folder.exists():
        print(f"{folder} exists; delete it to download again", file=sys.stderr)
        return folder
    kept, api = folder.with_name(f".{slug}.download"), connect()
    with asking(f"downloading {slug}"):
        api.competition_download_files(slug, str(kept), quiet=False)
    try:
        with zipfile.ZipFile(kept / f"{slug}.zip") as archive:
            archive.extractall(kept / "unpacked")
    except (zipfile.BadZipFile, zlib.error, FileNotFoundError) as error:
        shutil.rmtree(kept)
        raise KaggleError(
            f"What came for {slug} is not a whole archive ({error}), and was removed: run the same "
            "command again; if that fails too, a proxy or a login portal may be in between"
        ) from None
    os.replace(kept / "unpacked", folder)
    shutil.rmtree(kept)
    return folder


def submit(
    path: Path,
    message: str,
    slug: str = COMPETITION,
    sample: Path | None = None,
    wait_s: int = 1800,
) -> str:
    """Check a CSV, submit it, wait for the score, and return Kaggle's answer; print the score.

    Args:
        path: the CSV.
        message: the description shown on Kaggle.
        slug: the contest's name in its address.
        sample: the sample submission; by default the one found under `data/raw/slug`.
        wait_s: how long to wait for the score; 0: not at all.

    Raises:
        ArtifactError: the CSV would be refused; nothing was sent.
        NoScoreError: the file was sent, but there is no score, or perhaps it was sent.
        KaggleError: the file was not submitted.
    """
    # these import much
    from helpers.datasets.nexperia import SAMPLE_NAMES
    from helpers.results.submission import validate_submission

    folder = paths.raw_root() / slug
    samples = [file for name in SAMPLE_NAMES for file in sorted(folder.rglob(name))]
    if not (sample or samples):
        raise KaggleError(
            f"No sample submission under {folder} to check against: give --sample, or fetch it: "
            f"python -m helpers.kaggle download --competition {slug}"
        )
    validate_submission(path, None, sample or samples[0])
    api = connect()
    try:
        with asking(f"submitting {path.name}"):
            return api.competition_submit_cli(str(path), message, slug, wait=wait_s or None)
    except KaggleError as error:
        cause = error.__context__
        assert cause is not None
        calls = [frame.f_code.co_name for frame, _ in traceback.walk_tb(cause.__traceback__)]
        if "_poll_submission" in calls:
            arrived = "has arrived: its score will be"
        elif "create_submission" in calls and _was_perhaps_received(cause, error.status):
            arrived = "has perhaps arrived: before you send it again, look"
        else:
            raise
        page = f"https://www.kaggle.com/competitions/{slug}/submissions"
        raise NoScoreError(f"{error}\n{path.name} {arrived} at {page}") from None


def _was_perhaps_received(error: BaseException, status: int | None) -> bool:
    """Return False if Kaggle refused the request, or if no connection was made."""
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProxyError

    if status is not None:
        return status >= 500
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return not isinstance(reason, NewConnectionError | ConnectTimeoutError | ProxyError)
