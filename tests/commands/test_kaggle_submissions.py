"""Submissions to the stand-in: checked before a request, and waited for."""

import pytest

from helpers.commands import kaggle
from helpers.commands.kaggle.command import main
from helpers.results.submission import SubmissionError
from tests.kaggle_fixtures import *  # noqa: F403 - the fixtures, which pytest finds by name
from tests.kaggle_fixtures import GOOD, RULES, SLUG, message_of
from tests.kaggle_server import Fault

COMMAND = ["submit", "-f", "x.csv", "-m", "try", "--sample", "sample.csv"]


def submit(csv, **settings):
    return kaggle.submit(csv, "try", sample_path=csv.parent / "sample.csv", **settings)


def test_a_submission_is_sent_and_its_score_is_waited_for(server, csv, waits, capfd):
    pending = {"status": "PENDING"}
    server.states = [pending, pending, *server.states]
    server.faults["GetSubmission"] = [Fault(404, {"message": "not yet"})]
    sent = submit(csv)
    assert sent == {"ref": 4242, "status": "COMPLETE", "public_score": "0.98765", "error": ""}
    assert waits == [2.0, 3.0, 4.5]
    assert list(server.uploads.values()) == [GOOD.encode()]
    upload, created = (
        server.bodies("StartSubmissionUpload")[0],
        server.bodies("CreateSubmission")[0],
    )
    assert upload["fileName"] == "x.csv" and upload["contentLength"] == len(GOOD)
    assert created["competitionName"] == SLUG and created["submissionDescription"] == "try"
    assert all("Authorization" not in r.headers for r in server.requests if r.name == "PUT")
    assert capfd.readouterr().err == "x.csv was sent as submission 4242.\n"


def test_a_bad_csv_is_refused_before_any_request(server, csv, capfd):
    csv.write_text("id,defect_score\na,0\nb,0\n")
    assert main(COMMAND) == 1
    assert "id 'c' (row 3 of the sample" in capfd.readouterr().err
    assert server.requests == []


def test_the_sample_is_found_among_the_downloaded_files(server, csv):
    text = message_of(lambda: kaggle.submit(csv, "try"), SubmissionError)
    assert f"python -m helpers.kaggle download --competition {SLUG}" in text
    kaggle.download()
    assert kaggle.submit(csv, "try")["status"] == "COMPLETE"


@pytest.mark.parametrize(
    ("request_name", "fault", "words"),
    [
        ("StartSubmissionUpload", Fault(403, {"message": "No"}), RULES),
        ("PUT", Fault(403, "Signature expired"), "and nothing was submitted: run the same command"),
        ("CreateSubmission", Fault(400, {"message": "Too late"}), "Kaggle says 'Too late'"),
    ],
)
def test_a_refused_submission_is_told_with_its_reason(server, csv, request_name, fault, words):
    server.faults[request_name] = [fault]
    text = message_of(lambda: submit(csv))
    assert words in text and "Perhaps" not in text
    assert server.submissions == []


@pytest.mark.parametrize("fault", [Fault(502, after_work=True), Fault(drop=True, after_work=True)])
def test_a_lost_answer_is_not_taken_for_a_refusal_and_nothing_is_sent_again(server, csv, fault):
    server.faults["CreateSubmission"] = [fault]
    text = message_of(lambda: submit(csv))
    assert "Perhaps x.csv has arrived: before you send it again, look at https://www.kagg" in text
    assert server.names().count("CreateSubmission") == 1


def test_a_submission_in_error_is_a_failure_with_its_reason(server, csv, capfd):
    server.states = [{"status": "ERROR", "errorDescription": "Evaluation Exception: bad id"}]
    assert main(COMMAND) == 1 and main(["status", "--file", "x.csv"]) == 1
    words = "Submission 4242 ended in an error: Evaluation Exception: bad id."
    assert capfd.readouterr().err.count(words) == 2


def test_a_score_that_does_not_come_in_time_is_told_with_the_way_to_ask_later(server, csv, waits):
    server.states = [{"status": "PENDING"}]
    text = message_of(lambda: submit(csv, wait_s=3))
    assert waits == [2.0]
    assert text.startswith("Submission 4242 has no score after 3 s. It was sent; ask again later")
    assert text.endswith(f"python -m helpers.kaggle status --competition {SLUG} --ref 4242")


def test_without_waiting_the_command_tells_how_to_ask_later(server, csv, capfd):
    for _ in range(2):
        assert main([*COMMAND, "--wait", "0"]) == 0
    assert "Sent as submission 4243. Its score: python" in capfd.readouterr().out
    for arguments, words in (
        (["--file", "x.csv"], "ref: 4243\nstatus: COMPLETE\npublic_score: 0.98765"),
        (["--ref", "4242"], "ref: 4242\n"),
        ([], "submissions_today: 1\nsubmissions_left: 4"),
    ):
        assert main(["status", *arguments]) == 0
        assert words in capfd.readouterr().out
    assert main(["status", "--file", "y.csv"]) == 1
    assert "y.csv is not among your last submissions" in capfd.readouterr().err
