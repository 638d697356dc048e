"""Kaggle's client against a stand-in on loopback: failures told in words, no key in them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.commands import kaggle
from helpers.commands.kaggle import client
from tests.kaggle_fixtures import *  # noqa: F403 - the fixtures, which pytest finds by name
from tests.kaggle_fixtures import GOOD, KEY, RULES, SAMPLE, SECRETS, SLUG, TOKEN, message_of
from tests.kaggle_server import Fault

ROOT = Path(kaggle.__file__).parents[3]


def ask():
    """Send a cheap request."""
    api = client.connect()
    with client.doing(f"looking up {SLUG}", SLUG):
        return api.competition_get_submission_limits(SLUG)


def test_importing_the_helpers_imports_nothing_of_the_clients():
    code = (
        "import sys, helpers.kaggle; names = ('kaggle', 'kagglesdk', 'kagglehub', 'requests');"
        "print([name for name in names if name in sys.modules])"
    )
    done = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert done == "[]\n"


def test_without_credentials_every_way_to_give_them_is_told(server, monkeypatch):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    for call in (client.connect, kaggle.download):
        assert message_of(call) == client.NO_CREDENTIALS
    assert server.requests == []


def test_a_token_works_and_a_wrong_one_is_told_from_none(server, monkeypatch):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    assert ask().num_allowed_now == 4
    assert kaggle.download().is_dir()
    server.faults["IntrospectToken"] = [Fault(401, {"message": f"no {TOKEN}"})]
    assert "HTTP 401, Kaggle says 'no ***'.\n" in message_of(client.connect)
    monkeypatch.setenv("KAGGLE_API_TOKEN", "wrong-token")
    text = message_of(client.connect)
    assert "does not accept the API token" in text and "wrong-token" not in text


PAGE = Fault(200, "<html>Please log in</html>", {"Content-Type": "text/html"})


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(401, {"message": "Who?"}), "HTTP 401, Kaggle says 'Who?'.\nThe credentials are not"),
        (
            Fault(403, {"code": 403, "message": "No"}),
            "says 'No'.\nThis account cannot use the con",
        ),
        (Fault(404, {"error": {"code": 404, "message": "No"}}), f"accept the rules at {RULES}"),
        (Fault(429, {"error": {"message": "Slow"}}), "says 'Slow'.\nKaggle has too much to do"),
        (Fault(503, "<html>busy"), "HTTP 503.\nKaggle has too much to do or is out of order"),
        (Fault(drop=True), "no connection, or it broke"),
        (PAGE, "a web page came back instead of data"),
    ],
)
def test_a_failed_request_is_told_with_the_way_out(server, fault, words):
    server.faults["GetSubmissionLimits"] = [fault]
    text = message_of(ask)
    assert text.startswith(f"While looking up {SLUG}: ") and words in text


def test_a_client_that_is_too_old_is_told_with_the_version_to_install(server, monkeypatch):
    monkeypatch.delattr(type(client.connect()), "competition_get_submission_limits")
    text = message_of(ask)
    assert text.endswith("pip install --upgrade 'kaggle>=2.2.5' kagglehub six")


def test_a_server_that_echoes_the_credentials_does_not_get_them_into_the_error(server):
    server.faults["GetSubmissionLimits"] = [
        Fault(400, lambda headers: {"message": f"bad {KEY} {headers['Authorization']} /x?Sig=ab12"})
    ]
    assert "'bad *** Basic *** /x?***'" in message_of(ask)


@pytest.mark.parametrize("password", ["Secr3t#s", "Secr3t/s", "Secr3t?s"])
def test_a_proxy_s_password_is_not_printed(server, monkeypatch, password):
    monkeypatch.setenv("HTTP_PROXY", f"http://me:{password}@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    text = message_of(ask)
    assert "HTTPS_PROXY is not a valid address" in text and "Secr3t" not in text


def test_a_server_that_falls_silent_does_not_hold_us_for_ever(server, monkeypatch):
    from kagglesdk.kaggle_env import KaggleEnv, _env_to_endpoint

    monkeypatch.setattr(client, "TIMEOUT_S", 0.2)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        monkeypatch.setitem(_env_to_endpoint, KaggleEnv.PROD, address)
        assert "timed out" in message_of(ask)


BOTH = """
import sys
from helpers.commands.cli import start
sys.exit(any(start("kaggle", words.split()) for words in sys.argv[1:]))
"""


def test_the_commands_work_through_a_proxy_in_a_process_of_their_own(server, tmp_path):
    environment = os.environ | {
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "HTTP_PROXY": server.url,
        "PYTHONPATH": str(ROOT),
    }
    (tmp_path / "x.csv").write_text(GOOD)
    folder = tmp_path / "data" / "raw" / SLUG
    command = [sys.executable, "-c", BOTH, "download", "submit -f x.csv -m try"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"Ready: {folder}\n" in done.stdout
    assert done.stdout.endswith("Public score: 0.98765\nSuccessfully submitted\n")
    assert not [secret for secret in SECRETS if secret in done.stdout + done.stderr]
    assert (folder / "sample_submission.csv").read_text() == SAMPLE
