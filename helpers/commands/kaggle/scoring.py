"""What Kaggle says of the contest and of a submission; waiting for a score."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from helpers.commands.kaggle.client import COMPETITION, Client, Retry, connect
from helpers.commands.kaggle.errors import KaggleError
from helpers.commands.kaggle.records import read_record, write_record


def status(
    slug: str = COMPETITION,
    *,
    path: str | os.PathLike | None = None,
    ref: int | None = None,
    retry: Retry | None = None,
    client: Client | None = None,
) -> dict:
    """Return what Kaggle knows: of one submission (by CSV or reference), else of the contest.

    Raises:
        KaggleError: the request failed, or the submission ended in an error.
    """
    record = read_record(Path(path)) if path is not None else {}
    ref = ref or record.get("ref")
    if path is not None and not ref:
        raise KaggleError(f"{path} has no record of a submission: submit it first.")
    client = client or connect(retry)
    if ref:
        answer = _score(client, int(ref), slug)
        if path is not None:
            write_record(Path(path), record | answer)
        raise_if_failed(answer)
        return answer
    about, left = contest(client, slug), limits(client, slug)
    return {
        "competition": slug,
        "metric": about.evaluation_metric,
        "entered": about.user_has_entered,
        "submissions_today": left.num_today,
        "submissions_left": left.num_allowed_now,
    }


def messages() -> Any:
    """Return the SDK's module of the contest's requests, imported late like all of the client."""
    from kagglesdk.competitions.types import competition_api_service

    return competition_api_service


def contest(client: Client, slug: str) -> Any:
    """Return Kaggle's description of the contest, with `user_has_entered`."""
    request = messages().ApiGetCompetitionRequest()
    request.competition_name = slug
    return client.call(
        f"looking up {slug}",
        slug,
        lambda sdk: sdk.competitions.competition_api_client.get_competition(request),
    )


def limits(client: Client, slug: str) -> Any:
    """Return the submissions sent and left, with `num_allowed_now`."""
    request = messages().ApiGetSubmissionLimitsRequest()
    request.competition_name = slug
    return client.call(
        f"asking {slug} for the submissions left",
        slug,
        lambda sdk: sdk.competitions.competition_api_client.get_submission_limits(request),
    )


def _score(client: Client, ref: int, slug: str) -> dict:
    request = messages().ApiGetSubmissionRequest()
    request.ref = ref
    answer = client.call(
        f"asking for submission {ref}",
        slug,
        lambda sdk: sdk.competitions.competition_api_client.get_submission(request),
    )
    return {
        "ref": ref,
        "status": answer.status.name,
        "public_score": answer.public_score,
        "error": (answer.error_description or "").strip(),
    }


def raise_if_failed(answer: dict) -> None:
    """Make an error of a submission that Kaggle could not score."""
    if answer.get("status") == "ERROR":
        reason = answer.get("error") or "Kaggle gives no reason"
        raise KaggleError(
            f"Submission {answer['ref']} ended in an error: {reason}. Correct the file and submit "
            "it anew."
        )


def wait_for_score(
    client: Client,
    path: Path,
    record: dict,
    wait_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> dict:
    """Ask for the score, at first every 2 s and then more slowly, until it is there.

    Args:
        client: the connection.
        path: the CSV, beside which the record is kept up to date.
        record: the record of the submission, with `ref` and `competition`.
        wait_s: how long to wait at most.
        clock: seconds, for the time-out.

    Raises:
        KaggleError: the submission ended in an error, or has no score in time.
    """
    ref, slug = record["ref"], record["competition"]
    start, pause_s = clock(), 2.0
    with tqdm(total=round(wait_s), desc=f"scoring submission {ref}", unit="s") as bar:
        while True:
            next_pause_s = pause_s
            try:
                answer = _score(client, ref, slug)
                write_record(path, record := record | answer)
                raise_if_failed(answer)
                if answer["status"] == "COMPLETE":
                    bar.set_postfix_str(f"score {answer['public_score']}")
                    return record
            except KaggleError as error:
                if error.status not in (404, 429):  # 404: Kaggle's list lags behind
                    raise
                next_pause_s = max(pause_s, error.retry_after_s or 0)
            waited_s = clock() - start
            if waited_s + next_pause_s > wait_s:
                raise KaggleError(
                    f"Submission {ref} has no score after {waited_s:.0f} s. It was sent; look "
                    f"again later: python -m helpers.kaggle status --file {path}"
                )
            client.retry.sleep(next_pause_s)
            bar.update(min(round(next_pause_s), bar.total - bar.n))
            pause_s = min(60.0, pause_s * 1.5)
