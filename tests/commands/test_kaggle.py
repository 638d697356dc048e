"""Kaggle's client against a stand-in on loopback: failures told in words, no key in them."""

import os
import re
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from helpers.commands import kaggle
from helpers.commands.kaggle import Retry, errors
from helpers.commands.kaggle.command import main
from tests.kaggle_fixtures import *  # noqa: F403 - the fixtures, which pytest finds by name
from tests.kaggle_fixtures import GOOD, KEY, RULES, SECRETS, SLUG, TOKEN, message_of, send
from tests.kaggle_server import Fault


def test_importing_the_helpers_imports_nothing_of_the_client():
    code = (
        "import sys, helpers.kaggle, helpers.commands.kaggle.command;"
        "print([m for m in sys.modules if m.split('.')[0] in ('kaggle', 'kagglesdk', 'requests')])"
    )
    root = Path(kaggle.__file__).parents[3]
    done = subprocess.check_output([sys.executable, "-c", code], cwd=root, text=True)
    assert done == "[]\n"


def test_without_credentials_every_way_to_give_them_is_told(server, monkeypatch):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    text = message_of(kaggle.connect)
    assert text == errors.NO_CREDENTIALS
    for way in (
        "KAGGLE_API_TOKEN", "~/.kaggle/access_token", "KAGGLE_USERNAME", "KAGGLE_KEY",
        "kaggle.json", "KAGGLE_CONFIG_DIR", "kaggle auth login", "kaggle.com/settings/api",
    ):  # fmt: skip
        assert way in text
    assert server.requests == []


def test_a_token_works_and_a_wrong_one_is_told_from_none(server, monkeypatch):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    assert kaggle.status()["submissions_left"] == 4
    monkeypatch.setenv("KAGGLE_API_TOKEN", "wrong-token")
    text = message_of(kaggle.connect)
    assert "does not accept the API token" in text
    assert "wrong-token" not in text


def test_a_token_that_kaggle_answers_with_401_asks_for_a_new_one(server, monkeypatch):
    kaggle.connect()  # imports the client, which asks for the token by itself
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    server.faults["IntrospectToken"] = [Fault(401, {"message": f"no {TOKEN}"})]
    text = message_of(kaggle.connect)
    assert "While checking the credentials: HTTP 401, Kaggle says 'no ***'" in text
    assert "Make a new token" in text


def test_401_asks_for_a_new_token(server, monkeypatch):
    monkeypatch.setenv("KAGGLE_KEY", "revoked-key")
    text = message_of(kaggle.status)
    assert "HTTP 401, Kaggle says 'Unauthorized'" in text
    assert "https://www.kaggle.com/settings/api" in text


def test_a_server_that_echoes_the_credentials_does_not_get_them_into_the_error(server):
    server.faults["GetCompetition"] = [
        Fault(400, lambda headers: {"message": f"bad {KEY} {headers['Authorization']}"})
    ]
    text = message_of(kaggle.status)
    assert "'bad *** Basic ***'" in text


def test_the_client_s_verbose_mode_does_not_print_the_credentials(server, monkeypatch, capfd):
    client = kaggle.connect()
    monkeypatch.setattr(client.api, "args", ["--verbose"])
    kaggle.status(client=client)
    assert "Authorization" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("wrap", [lambda m: {"message": m}, lambda m: {"error": {"message": m}}])
def test_429_tells_when_to_come_back_in_both_shapes_of_the_answer(server, csv, retry, wrap):
    server.faults["CreateSubmission"] = [Fault(429, wrap("Slow down"), {"Retry-After": "90"})]
    text = message_of(lambda: send(csv, retry))
    assert re.search(r"HTTP 429, Kaggle says 'Slow down'.\n.*come back in 90 s, at \d\d:\d\d", text)
    assert server.names().count("CreateSubmission") == 1
    assert not csv.with_suffix(".kaggle.json").exists()


def test_429_reads_a_date_too_and_says_so_when_there_is_none(server):
    at = (datetime.now(UTC) + timedelta(seconds=300)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    server.faults["GetCompetition"] = [Fault(429, {}, {"Retry-After": at}), Fault(429, {})]
    assert re.search(r"come back in (299|300) s", message_of(kaggle.status))
    assert "come back in an hour" in message_of(kaggle.status)


def test_403_names_the_page_of_the_rules(server, csv, retry):
    server.faults["StartSubmissionUpload"] = [Fault(403, {"code": 403, "message": "Forbidden"})]
    text = message_of(lambda: send(csv, retry))
    assert "HTTP 403, Kaggle says 'Forbidden'" in text
    assert RULES in text


def test_404_names_the_slug(server, csv, retry):
    server.faults["GetCompetition"] = [Fault(404, {"error": {"code": 404, "message": "No"}})]
    text = message_of(lambda: send(csv, retry, slug="semi-conducter"))
    assert "HTTP 404, Kaggle says 'No'.\nKaggle knows no 'semi-conducter'." in text


def test_500_is_retried_where_safe_with_a_growing_wait(server, retry, waits):
    server.faults["GetCompetition"] = [Fault(500), Fault(503, "<html>busy", {})]
    assert kaggle.status(retry=retry)["entered"] is True
    assert waits == [1.0, 2.0]
    server.faults["GetCompetition"] = [Fault(500)] * 3
    assert "HTTP 500.\nThe trouble is on Kaggle's side" in message_of(
        lambda: kaggle.status(retry=retry)
    )


def test_a_web_page_with_status_200_is_not_taken_for_an_answer(server):
    page = Fault(200, "<html>Please log in</html>", {"Content-Type": "text/html"})
    server.faults["GetCompetition"] = [page]
    assert "a web page came back instead of data" in message_of(kaggle.status)
    server.faults["DownloadDataFiles"] = [page]
    assert "a web page came back instead of a zip" in message_of(kaggle.download)
    assert not Path("data/raw", SLUG).exists()


def test_without_a_network_the_error_says_so(server, monkeypatch, retry, waits):
    from kagglesdk.kaggle_env import KaggleEnv, _env_to_endpoint

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setitem(_env_to_endpoint, KaggleEnv.PROD, nobody)
        text = message_of(lambda: kaggle.status(retry=retry))
    assert "no connection, or it broke ([Errno 111] Connection refused" in text
    assert "HTTPS_PROXY" in text
    assert waits == [1.0, 2.0]


def test_a_server_that_falls_silent_does_not_hold_us_for_ever(server, monkeypatch):
    monkeypatch.setattr("helpers.commands.kaggle.client.TIMEOUT_S", 0.2)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        from kagglesdk.kaggle_env import KaggleEnv, _env_to_endpoint

        address = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        monkeypatch.setitem(_env_to_endpoint, KaggleEnv.PROD, address)
        assert "timed out" in message_of(lambda: kaggle.status(retry=Retry(attempts=1)))


@pytest.mark.parametrize(
    ("name", "fault", "words"),
    [
        ("GetCompetition", Fault(401), "HTTP 401"),
        ("GetCompetition", Fault(403), RULES),
        ("GetCompetition", Fault(404), "knows no"),
        ("GetCompetition", Fault(429), "come back"),
        ("GetCompetition", Fault(500), "Kaggle's side"),
        ("GetCompetition", Fault(drop=True), "no connection"),
        ("GetCompetition", Fault(200, "<html>", {"Content-Type": "text/html"}), "web page"),
        ("PUT", Fault(403, "signature expired"), "refused the file"),
    ],
)
def test_the_command_ends_with_1_and_the_words_on_stderr(server, csv, capfd, name, fault, words):
    server.faults[name] = [fault]
    command = ["submit", "-f", "x.csv", "-m", "try", "--sample", "sample.csv", "--tries", "1"]
    assert main(command) == 1
    printed = capfd.readouterr()
    assert words in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def command_line(server, *arguments):
    environment = {
        **os.environ,
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "HTTP_PROXY": server.url,
        "PYTHONPATH": str(Path(kaggle.__file__).parents[3]),
    }
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_kaggle_s_own_command_takes_the_same_csv(server, csv):
    done = command_line(
        server, "kaggle", "competitions", "submit", "-c", SLUG, "-f", "x.csv", "-m", "try"
    )
    assert done.returncode == 0, done.stderr
    assert "Submission ref: 4242" in done.stdout
    assert list(server.uploads.values()) == [GOOD.encode()]
    done = command_line(server, "kaggle", "competitions", "download", "-c", SLUG, "-p", "theirs")
    assert done.returncode == 0, done.stderr
    assert Path("theirs", f"{SLUG}.zip").read_bytes() == server.data


def test_our_commands_work_through_a_proxy_in_a_process_of_their_own(server, csv, tmp_path):
    done = command_line(server, "helpers.kaggle", "download")
    folder = tmp_path / "data" / "raw" / SLUG
    assert (done.returncode, done.stdout) == (0, f"Ready: {folder}\n"), done.stderr
    done = command_line(server, "helpers.kaggle", "submit", "-f", "x.csv", "-m", "try")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Submission 4242: public score 0.98765\n"
    assert not [secret for secret in SECRETS if secret in done.stdout + done.stderr]
