"""Submissions to the stand-in: checked before a request, and waited for."""

import pytest

from helpers.commands import kaggle
from helpers.commands.kaggle.command import main
from helpers.core.files import ArtifactError
from tests.kaggle_fixtures import *  # noqa: F403 - the fixtures, which pytest finds by name
from tests.kaggle_fixtures import GOOD, RULES, SECRETS, SLUG, message_of
from tests.kaggle_server import Fault

COMMAND = ["submit", "-f", "x.csv", "-m", "try", "--sample", "sample.csv"]


def submit(csv, **settings):
    return kaggle.submit(csv, "try", sample_path=csv.parent / "sample.csv", **settings)


def test_a_submission_is_sent_and_its_score_is_waited_for(server, csv, waits, capfd):
    pending = {"status": "PENDING"}
    server.states = [pending, pending, *server.states]
    server.faults["GetSubmission"] = [Fault(404, {"message": "not yet"})]
    assert submit(csv) == "Successfully submitted"
    assert len(waits) == 3
    assert list(server.uploads.values()) == [GOOD.encode()]
    upload, created = (
        server.bodies("StartSubmissionUpload")[0],
        server.bodies("CreateSubmission")[0],
    )
    assert upload["fileName"] == "x.csv" and upload["contentLength"] == len(GOOD)
    assert created["competitionName"] == SLUG and created["submissionDescription"] == "try"
    assert all("Authorization" not in r.headers for r in server.requests if r.name == "PUT")
    said = ("Submission ref: 4242", "4 submissions remaining today.", "Public score: 0.98765")
    printed = capfd.readouterr().out
    assert all(words in printed for words in said)


def test_a_bad_csv_is_refused_before_any_request(server, csv, capfd):
    csv.write_text("id,defect_score\na,0\nb,0\n")
    assert main(COMMAND) == 1
    assert "id 'c' (row 3 of the sample" in capfd.readouterr().err
    assert server.requests == []


def test_the_sample_is_found_among_the_downloaded_files(server, csv):
    text = message_of(lambda: kaggle.submit(csv, "try"), ArtifactError)
    assert f"python -m helpers.kaggle download --competition {SLUG}" in text
    kaggle.download()
    assert kaggle.submit(csv, "try") == "Successfully submitted"


@pytest.mark.parametrize(
    ("request_name", "fault", "words"),
    [
        ("StartSubmissionUpload", Fault(403, {"message": "No"}), RULES),
        ("StartSubmissionUpload", Fault(404, {"message": "No"}), RULES),
        ("PUT", Fault(403, "Signature expired"), "x.csv: Could not submit to competition"),
        ("CreateSubmission", Fault(400, {"message": "Too late"}), "Kaggle says 'Too late'"),
    ],
)
def test_a_refused_submission_is_told_with_its_reason(server, csv, request_name, fault, words):
    server.faults[request_name] = [fault]
    text = message_of(lambda: submit(csv))
    assert words in text and "Perhaps" not in text
    assert server.submissions == []


def test_a_lost_upload_is_told_and_its_signed_address_is_not_shown(server, csv, capfd):
    server.faults["PUT"] = [Fault(drop=True)] * 11
    assert "Could not submit to competition" in message_of(lambda: submit(csv))
    printed = capfd.readouterr()
    assert "-x.csv?***" in printed.out
    assert not [secret for secret in SECRETS if secret in printed.out + printed.err]


@pytest.mark.parametrize("fault", [Fault(502, after_work=True), Fault(drop=True, after_work=True)])
def test_a_lost_answer_is_not_taken_for_a_refusal_and_nothing_is_sent_again(server, csv, fault):
    server.faults["CreateSubmission"] = [fault]
    text = message_of(lambda: submit(csv))
    assert "Perhaps x.csv has arrived: before you send it again, look at https://www.kagg" in text
    assert server.names().count("CreateSubmission") == 1


def test_a_submission_in_error_is_a_failure_with_its_reason(server, csv, capfd):
    server.states = [{"status": "ERROR", "errorDescription": "Evaluation Exception: bad id"}]
    assert main(COMMAND) == 1
    assert (
        "While submitting x.csv: Submission 4242 failed to score.\n"
        "  Error: Evaluation Exception: bad id\nx.csv has arrived: "
    ) in capfd.readouterr().err


def test_a_submission_whose_score_cannot_be_asked_for_has_arrived(server, csv):
    server.faults["GetSubmission"] = [Fault(401, {"message": "expired"})]
    text = message_of(lambda: submit(csv))
    assert "HTTP 401" in text and "x.csv has arrived: its score will be at https" in text
    assert "Perhaps" not in text and "again" not in text.splitlines()[-1]


@pytest.mark.parametrize("seconds", ["0", "-1"])
def test_without_waiting_the_command_shows_the_reference(server, csv, capfd, seconds):
    assert main([*COMMAND, "--wait", seconds]) == 0
    assert "Submission ref: 4242" in capfd.readouterr().out
    assert "GetSubmission" not in server.names()
