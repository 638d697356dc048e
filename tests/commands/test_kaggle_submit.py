"""Submissions to the stand-in: checked before a request, sent once, waited for."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from helpers.commands import kaggle
from helpers.commands.kaggle.command import main
from helpers.results.submission import SubmissionError
from tests.kaggle_fixtures import *  # noqa: F403 - the fixtures, which pytest finds by name
from tests.kaggle_fixtures import GOOD, RULES, SLUG, message_of, send
from tests.kaggle_server import Fault


def test_a_submission_is_sent_once_and_its_score_is_kept(server, csv, retry, waits):
    server.states = [{"status": "PENDING"}, {"status": "PENDING"}, *server.states]
    record = send(csv, retry)
    assert (record["ref"], record["status"]) == (4242, "COMPLETE")
    assert record["public_score"] == "0.98765"
    assert json.loads(csv.with_suffix(".kaggle.json").read_text()) == record
    assert list(server.uploads.values()) == [GOOD.encode()]
    assert waits == [2.0, 3.0]
    upload = server.bodies("StartSubmissionUpload")[0]
    assert upload["fileName"] == "x.csv"
    assert upload["contentLength"] == len(GOOD)
    assert re.fullmatch(r"try \[[0-9a-f]{8}\]", server.submissions[0]["description"])

    assert send(csv, retry)["ref"] == 4242  # the same file again: only its score is asked for
    assert len(server.submissions) == 1
    assert send(csv, retry, again=True)["ref"] == 4243
    csv.write_text(GOOD.replace("0.1", "0.2"))
    assert send(csv, retry)["ref"] == 4244


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("id,defect_score\na,0\nb,0\n", "id 'c' (row 3 of the sample"),
        ("id,defect_score\na,0\na,0\nb,0\nc,0\n", "line 3 (id 'a'): the id stands there a second"),
        ("id,defect_score\na,0\nb,nan\nc,0\n", "line 3 (id 'b'): the score is NaN"),
        ("id,defect_score\na,0\nb,0\nc,1.2\n", "line 4 (id 'c'): the score 1.2 lies outside"),
        ("id,score\na,0\nb,0\nc,0\n", "the header (line 1) is 'id,score'"),
        ("id,defect_score\nb,0\na,0\nc,0\n", "line 2 (id 'b'): wrong row order"),
        ("id,defect_score\n", "zero rows"),
    ],
)
def test_a_bad_csv_is_refused_before_any_request(server, csv, retry, capfd, body, words):
    csv.write_text(body)
    assert words in message_of(lambda: send(csv, retry, order_matters=True), SubmissionError)
    command = ["submit", "-f", "x.csv", "-m", "try", "--sample", "sample.csv", "--order-matters"]
    assert main(command) == 1
    assert words in capfd.readouterr().err
    assert server.requests == []


def test_the_sample_is_found_among_the_downloaded_files(server, csv, retry):
    text = message_of(lambda: kaggle.submit(csv, "try", retry=retry), SubmissionError)
    assert f"python -m helpers.kaggle download --competition {SLUG}" in text
    kaggle.download(retry=retry)
    assert kaggle.submit(csv, "try", retry=retry)["status"] == "COMPLETE"


@pytest.mark.parametrize(
    ("competition", "limits", "words"),
    [
        ({"userHasEntered": False}, {}, f"tester has not entered {SLUG}: open {RULES}"),
        ({"isKernelsSubmissionsOnly": True}, {}, "takes notebooks only"),
        ({"submissionsDisabled": True}, {}, "takes no submissions any more"),
        ({}, {"numAllowedNow": 0}, "No submissions left (1 sent today): come back after midnight"),
        ({}, {"numAllowedNow": 0, "limitedByTotal": True}, "total is used up"),
    ],
)
def test_nothing_is_uploaded_when_kaggle_would_refuse(
    server, csv, retry, competition, limits, words
):
    server.competition |= competition
    server.limits |= limits
    assert words in message_of(lambda: send(csv, retry))
    assert "StartSubmissionUpload" not in server.names()


def test_somebody_without_a_team_yet_may_submit(server, csv, retry):
    server.limits = {}  # Kaggle's answer then: all zeros
    assert send(csv, retry)["ref"] == 4242


def test_an_upload_that_the_store_refuses_is_told_with_its_reason(server, csv, retry):
    server.faults["PUT"] = [Fault(403, "<Error>Signature expired</Error>")]
    text = message_of(lambda: send(csv, retry))
    assert "While uploading x.csv: HTTP 403, Kaggle says 'Signature expired'" in text
    assert "nothing was submitted" in text
    assert server.submissions == []
    assert all("Authorization" not in r.headers for r in server.requests if r.name == "PUT")


def test_an_upload_is_repeated_after_a_lost_connection(server, csv, retry, waits):
    server.faults["PUT"] = [Fault(drop=True), Fault(503)]
    assert send(csv, retry)["ref"] == 4242
    assert waits == [1.0, 2.0]
    assert len(server.submissions) == 1


def test_a_submission_in_error_is_a_failure_with_its_reason(server, csv, retry, capfd):
    server.states = [{"status": "ERROR", "errorDescription": "Evaluation Exception: bad id"}]
    text = message_of(lambda: send(csv, retry))
    assert "Submission 4242 ended in an error: Evaluation Exception: bad id." in text
    assert main(["status", "--file", "x.csv"]) == 1
    assert "Evaluation Exception" in capfd.readouterr().err
    message_of(lambda: send(csv, retry))
    assert len(server.submissions) == 1


@pytest.mark.parametrize("fault", [Fault(500, after_work=True), Fault(drop=True, after_work=True)])
def test_a_submission_whose_answer_is_lost_is_found_and_not_sent_again(server, csv, retry, fault):
    server.faults["CreateSubmission"] = [fault]
    record = send(csv, retry)
    assert (record["ref"], record["status"]) == (4242, "COMPLETE")
    assert server.names().count("CreateSubmission") == 1


def test_a_lost_submission_that_is_not_listed_is_sent_again_only_after_a_while(server, csv, retry):
    server.faults["CreateSubmission"] = [Fault(500)]
    text = message_of(lambda: send(csv, retry))
    assert "HTTP 500" in text
    assert "Whether x.csv has arrived is not known" in text
    assert "again in 120 s" in message_of(lambda: send(csv, retry))
    assert server.names().count("CreateSubmission") == 1
    file = csv.with_suffix(".kaggle.json")
    record = json.loads(file.read_text())
    record["at"] = (datetime.now(UTC) - timedelta(seconds=121)).isoformat()
    file.write_text(json.dumps(record))
    assert send(csv, retry)["ref"] == 4242
    assert server.names().count("CreateSubmission") == 2


def test_a_run_killed_while_sending_looks_before_it_sends(server, csv, retry, monkeypatch):
    client = kaggle.connect(retry)
    call = client.call

    def killed(doing, *rest, **settings):
        answer = call(doing, *rest, **settings)
        if doing.startswith("submitting"):
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(client, "call", killed)
    with pytest.raises(KeyboardInterrupt):
        send(csv, retry, client=client)
    assert send(csv, retry)["ref"] == 4242
    assert len(server.submissions) == 1


def test_a_refusal_keeps_the_record_of_the_submission_before(server, csv, retry):
    send(csv, retry)
    before = csv.with_suffix(".kaggle.json").read_text()
    server.faults["CreateSubmission"] = [Fault(400, {"code": 400, "message": "Too late"})]
    assert "Kaggle says 'Too late'" in message_of(lambda: send(csv, retry, again=True))
    assert csv.with_suffix(".kaggle.json").read_text() == before


def test_waiting_outlasts_404_and_429_and_ends_in_time(server, csv, retry, waits):
    server.faults["GetSubmission"] = [Fault(404), Fault(429, {}, {"Retry-After": "30"})]
    assert send(csv, retry)["status"] == "COMPLETE"
    assert waits == [2.0, 30.0]
    server.states = [{"status": "PENDING"}]
    text = message_of(lambda: send(csv, retry, wait_s=14, clock=lambda: sum(waits)))
    assert waits[2:] == [2.0, 3.0, 4.5]  # 6.75 s more would be too many
    assert "Submission 4242 has no score after 10 s" in text
    assert f"python -m helpers.kaggle status --file {csv}" in text


def test_without_waiting_the_command_tells_how_to_ask_later(server, csv, capfd):
    command = ["submit", "-f", "x.csv", "-m", "try", "--sample", "sample.csv", "--no-wait"]
    assert main(command) == 0
    assert "Sent as submission 4242." in capfd.readouterr().out
    assert main(["status", "--file", "x.csv"]) == 0
    assert "public_score: 0.98765" in capfd.readouterr().out
    assert main(["status"]) == 0
    assert "submissions_left: 4" in capfd.readouterr().out
    assert main(["status", "--file", "y.csv"]) == 1
