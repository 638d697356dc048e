"""Submit a CSV once: checked before the first request, and never sent twice by a retry."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from helpers.commands.kaggle.client import COMPETITION, Client, Retry, connect
from helpers.commands.kaggle.errors import KaggleError, rules_url
from helpers.commands.kaggle.records import find_sample, read_record, record_path, write_record
from helpers.commands.kaggle.scoring import (
    contest,
    limits,
    messages,
    raise_if_failed,
    wait_for_score,
)
from helpers.core import paths
from helpers.results.submission import validate_submission

# Kaggle's list may lag behind: so long after a request without an answer, nothing is sent again.
SETTLE_S = 120


def submit(
    path: str | os.PathLike,
    message: str,
    slug: str = COMPETITION,
    *,
    sample_path: str | os.PathLike | None = None,
    order_matters: bool = False,
    root: str | os.PathLike | None = None,
    wait_s: float = 1800,
    again: bool = False,
    retry: Retry | None = None,
    client: Client | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict:
    """Check a CSV, submit it once, wait for the score, and return the submission's record.

    The record lies beside the CSV, as `x.kaggle.json` for `x.csv`: contest, checksum, message,
    reference, status and score. A file with the same bytes that was sent to the same contest
    before is not sent again; its score is waited for instead.

    Args:
        path: the CSV.
        message: the description shown on Kaggle; a tag of eight digits is added to it.
        slug: the contest's name in its address.
        sample_path: the sample submission; by default the one found under `root/slug`.
        order_matters: require the rows in the sample's order.
        root: folder of raw data; None: where the notebooks look for it.
        wait_s: how long to wait for the score; 0 returns at once.
        again: send the file although it was sent before.
        retry: how often safe requests are repeated.
        client: a connection to use instead of a new one.
        clock: seconds, for the time-out of the wait.

    Raises:
        SubmissionError: the CSV would be rejected; nothing was sent.
        KaggleError: not entered, no submissions left, a request failed, or scoring failed.
    """
    path, root = Path(path), paths.raw_root() if root is None else root
    validate_submission(path, None, sample_path or find_sample(slug, root), order_matters)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    client = client or connect(retry)
    record = read_record(path)
    if again or record.get("sha256") != digest or record.get("competition") != slug:
        record = {}
    if record.get("state") == "sending":
        record = _find_lost(client, path, record)
    if not record:
        _check_allowed(client, slug)
        record = _send(client, path, content, message, slug)
    raise_if_failed(record)  # what was sent by an earlier call, and refused
    return record if wait_s <= 0 else wait_for_score(client, path, record, wait_s, clock)


def _check_allowed(client: Client, slug: str) -> None:
    about = contest(client, slug)
    if not about.user_has_entered:
        raise KaggleError(
            f"{client.username or 'This account'} has not entered {slug}: open {rules_url(slug)}, "
            "accept the rules, and run the command again."
        )
    if about.submissions_disabled:
        raise KaggleError(f"{slug} takes no submissions any more.")
    if about.is_kernels_submissions_only:
        raise KaggleError(
            f"{slug} takes notebooks only, no CSV files: python -m helpers.kaggle push, then "
            "submit the notebook's version on its page."
        )
    left = limits(client, slug)
    # All zeros is the answer for somebody without a team yet, who may well submit.
    if left.num_allowed_now <= 0 and (left.num_today or left.num_total):
        now = datetime.now(UTC)
        hours = 24 - now.hour - now.minute / 60
        when = (
            "the contest's total is used up"
            if left.limited_by_total
            else f"come back after midnight UTC, in {hours:.1f} hours"
        )
        raise KaggleError(f"No submissions left ({left.num_today} sent today): {when}.")


def _send(client: Client, path: Path, content: bytes, message: str, slug: str) -> dict:
    request = messages().ApiCreateSubmissionRequest()
    request.competition_name = slug
    request.blob_file_tokens = _upload(client, path, content, slug)
    tag = f"[{secrets.token_hex(4)}]"  # by which this attempt is found when its answer gets lost
    request.submission_description = f"{message} {tag}".strip()
    record = {
        "competition": slug,
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "message": message,
        "tag": tag,
        "state": "sending",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    before = read_record(path)
    write_record(path, record)  # before the request: a killed run must know that it may have sent
    lost = None
    try:
        answer = client.call(
            f"submitting {path.name}",
            slug,
            lambda sdk: sdk.competitions.competition_api_client.create_submission(request),
            safe=False,
        )
    except KaggleError as error:
        if error.status is not None and 400 <= error.status < 500:  # refused for certain
            write_record(path, before) if before else record_path(path).unlink()
            raise
        lost = error
    if lost is None and not answer.ref:
        lost = KaggleError(f"Kaggle took {path.name} without a reference: {answer.message}")
    if lost is not None:
        return _find_lost(client, path, record, lost)
    record |= {"state": "sent", "ref": answer.ref, "status": "PENDING"}
    write_record(path, record)
    return record


def _upload(client: Client, path: Path, content: bytes, slug: str) -> str:
    request = messages().ApiStartSubmissionUploadRequest()
    request.competition_name = slug
    request.file_name = path.name
    request.content_length = len(content)
    request.last_modified_epoch_seconds = int(path.stat().st_mtime)

    def start_and_put(sdk: Any) -> str:
        """Ask for an address, put the file there, and give the upload's token."""
        import requests

        start = sdk.competitions.competition_api_client.start_submission_upload(request)
        # The client's own upload drops the server's reason; the address is signed, no key goes out.
        requests.put(start.create_url, data=content, timeout=60).raise_for_status()
        return start.token

    return client.call(f"uploading {path.name}", slug, start_and_put)


def _find_lost(client: Client, path: Path, record: dict, error: KaggleError | None = None) -> dict:
    """Look for a submission whose answer never came; an empty record when it may be sent again."""
    try:
        for sent in _list(client, path, record["competition"]):
            if record["tag"] in (sent.description or ""):
                record |= {"state": "sent", "ref": sent.ref, "status": sent.status.name}
                write_record(path, record)
                return record
        age = datetime.now(UTC) - datetime.fromisoformat(record["at"])
        if age >= timedelta(seconds=SETTLE_S):
            return {}
    except KaggleError as unseen:
        error = error or unseen
    raise KaggleError(
        (f"{error}\n" if error else "")
        + f"Whether {path.name} has arrived is not known: it was not found among your submissions "
        f"yet. Run the same command again in {SETTLE_S} s; it looks there first, and sends "
        "the file only if it is still missing.",
        error.status if error else None,
    )


def _list(client: Client, path: Path, slug: str) -> list:
    request = messages().ApiListSubmissionsRequest()
    request.competition_name = slug
    request.page_size = 50  # newest first; the lost one was sent a moment ago
    request.page = 1
    answer = client.call(
        f"looking for {path.name} among your submissions",
        slug,
        lambda sdk: sdk.competitions.competition_api_client.list_submissions(request),
    )
    return answer.submissions or []
