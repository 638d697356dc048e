"""Downloads from and submissions to the stand-in; failures are told, and without credentials."""

import os
import socket
from pathlib import Path

import pytest

from helpers.commands.kaggle import client
from helpers.commands.kaggle.command import main
from tests.kaggle_fixtures import *  # noqa: F403 - the fixtures, which pytest finds by name
from tests.kaggle_fixtures import IMAGE, SAMPLE, failure_of, zip_of
from tests.kaggle_server import DONE, KEY, TOKEN, Fault

SLUG = client.COMPETITION
FOLDER = Path("data/raw", SLUG)
GOOD = "id,defect_score\nb,0.1\na,0.9\nc,0\n"
SUBMIT = ["submit", "-f", "x.csv", "-m", "try", "--sample", "sample.csv"]
MEGABYTE = 1 << 20  # a chunk of the client's


@pytest.fixture
def csv(tmp_path):
    (tmp_path / "sample.csv").write_text(SAMPLE)
    path = tmp_path / "x.csv"
    path.write_text(GOOD)
    return path


def test_without_valid_credentials_the_way_to_get_them_is_told(server, monkeypatch, capfd):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    assert "kaggle.com/settings/api" in failure_of(["download"], capfd)
    assert server.requests == []
    monkeypatch.setenv("KAGGLE_API_TOKEN", "wrong-token")
    text = failure_of(["download"], capfd)
    assert "kaggle.com/settings/api" in text and "wrong-token" not in text
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    assert main(["download"]) == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(401, {"message": "Who?"}), "kaggle.com/settings/api"),
        (Fault(403, {"code": 403, "message": "No"}), "rules"),
        (Fault(404, {"error": {"code": 404, "message": "Gone"}}), "Kaggle says 'Gone'"),
        (Fault(503, "<html>busy"), "503"),
        (Fault(drop=True), "ConnectionError"),
        (Fault(400, lambda headers: {"error": {"message": headers["Authorization"]}}), "***"),
        (Fault(400, lambda headers: {"code": 400, "message": f"{KEY} /x?Sig=sign3d"}), "***"),
    ],
)
def test_a_refused_request_is_told_with_kaggle_s_reason_and_without_the_key(
    server, fault, words, capfd
):
    server.faults["DownloadDataFiles"] = [fault]
    text = failure_of(["download"], capfd)
    assert text.startswith(f"While downloading {SLUG}: ") and words in text


def test_a_proxy_s_password_is_not_printed(server, monkeypatch, capfd):
    monkeypatch.setenv("HTTP_PROXY", "http://me:Secr3t#s@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    text = failure_of(["download"], capfd)
    assert "HTTPS_PROXY" in text and "Secr3t" not in text


def test_a_download_is_unpacked_in_place_and_not_repeated(server, tmp_path, capfd):
    assert main(["download"]) == 0
    assert capfd.readouterr().out.endswith(f"Ready: {tmp_path / FOLDER}\n")
    assert (FOLDER / IMAGE).read_bytes() == b"good" * 99999
    assert os.listdir("data/raw") == [SLUG]
    count = len(server.requests)
    assert main(["download"]) == 0
    assert len(server.requests) == count


def test_a_download_continues_over_broken_connections_and_in_the_next_call(server, waits, capfd):
    server.data = zip_of({IMAGE: os.urandom(5 * MEGABYTE), "sample_submission.csv": SAMPLE})
    server.cuts = [2 * MEGABYTE + 9, *[0] * 5]  # the client tries again five times
    assert f"While downloading {SLUG}: " in failure_of(["download"], capfd)
    assert len(waits) == 5 and not FOLDER.exists()
    server.cuts = [0, MEGABYTE]  # the first GET follows the redirection
    server.requests.clear()
    assert main(["download"]) == 0
    starts = [headers["Range"] for headers in server.sent("GET") if "Range" in headers]
    assert len(starts) == 2 and "bytes=0-" not in starts
    assert (FOLDER / IMAGE).stat().st_size == 5 * MEGABYTE


@pytest.mark.parametrize("damage", [b"goodgoof", b""])
def test_an_archive_that_is_not_whole_is_refused_and_the_next_call_starts_again(
    server, capfd, damage
):
    whole = server.data
    server.data = whole.replace(b"goodgood", damage, 1) if damage else b"<html>log in</html>"
    assert "not a whole archive" in failure_of(["download"], capfd)
    assert os.listdir("data/raw") == []
    server.data = whole
    assert main(["download"]) == 0


def test_a_submission_is_sent_once_and_its_score_is_waited_for(server, csv, waits, capfd):
    server.states = [{"status": "PENDING"}, {"status": "PENDING"}, DONE]
    server.faults["GetSubmission"] = [Fault(404, {"message": "not yet"})]
    assert main(SUBMIT) == 0
    assert len(waits) == 3 and list(server.uploads.values()) == [GOOD.encode()]
    (created,) = server.sent("CreateSubmission")
    assert created["competitionName"] == SLUG and created["submissionDescription"] == "try"
    assert all("Authorization" not in headers for headers in server.sent("PUT"))
    assert "0.98765" in capfd.readouterr().out


def test_a_bad_csv_is_refused_before_any_request(server, csv, capfd):
    csv.write_text("id,defect_score\na,0\nb,0\n")
    assert "'c'" in failure_of(SUBMIT, capfd)
    assert server.requests == []


def test_the_sample_is_found_among_the_downloaded_files(server, csv, capfd):
    assert "helpers.kaggle download" in failure_of(SUBMIT[:-2], capfd)
    assert main(["download"]) == 0
    assert main([*SUBMIT[:-2], "--wait", "0"]) == 0
    assert "4242" in capfd.readouterr().out and server.sent("GetSubmission") == []


@pytest.mark.parametrize(
    ("request_name", "faults"),
    [
        ("StartSubmissionUpload", [Fault(403, {"message": "No"})]),
        ("StartSubmissionUpload", [Fault(404, {"message": "No"})]),
        ("StartSubmissionUpload", [Fault(drop=True)]),
        ("PUT", [Fault(403, "Signature expired")]),
        ("PUT", [Fault(drop=True)] * 11),
        ("CreateSubmission", [Fault(400, {"message": "Too late"})]),
    ],
)
def test_a_file_that_was_not_submitted_ends_with_1(server, csv, request_name, faults, capfd):
    server.faults[request_name] = faults
    assert "arrived" not in failure_of(SUBMIT, capfd)


@pytest.mark.parametrize("last", ["", "PUT"])
def test_a_name_that_is_not_resolved_does_not_mean_perhaps_arrived(
    server, csv, monkeypatch, last, capfd
):
    from urllib3.util import connection

    create = connection.create_connection

    def fail_after(*given, **settings):
        if not last or server.sent(last):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return create(*given, **settings)

    monkeypatch.setattr(connection, "create_connection", fail_after)
    text = failure_of(SUBMIT, capfd)
    assert "arrived" not in text and "resolve" in text
    assert server.sent("CreateSubmission") == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault(502, after_work=True),
        Fault(drop=True, after_work=True),
        Fault(200, "<html>log in</html>", after_work=True),
    ],
)
def test_a_lost_answer_ends_with_3_and_nothing_is_sent_again(server, csv, fault, capfd):
    server.faults["CreateSubmission"] = [fault]
    assert "perhaps arrived" in failure_of(SUBMIT, capfd, code=3)
    assert len(server.sent("CreateSubmission")) == 1


@pytest.mark.parametrize(
    ("state", "options", "words"),
    [
        ({"status": "ERROR", "errorDescription": "bad id"}, [], "bad id"),
        ({"status": "PENDING"}, ["--wait", "1"], "4242"),
    ],
)
def test_a_submission_without_a_score_ends_with_3(server, csv, capfd, state, options, words):
    server.states = [state]
    text = failure_of([*SUBMIT, *options], capfd, code=3)
    assert words in text and "x.csv has arrived" in text
