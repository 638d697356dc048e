"""Kaggle, by a stand-in: a checked submission is answered by a command that submits it."""

import os
import shlex
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from helpers.commands import cli, kaggle
from helpers.core import files, paths
from tests.kaggle_server import KEY, USER, KaggleServer

GOOD = "id,defect_score\nb,0.1\na,0.9\nc,0\n"
CHECK = ["check", "-f", "x.csv"]


def main(arguments):
    return cli.main(["kaggle", *arguments])


@pytest.fixture(scope="module")
def user_home(tmp_path_factory):
    """One home for all tests: the client reads its folder once, when it is imported."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch, user_home, tmp_path, tmp_path_factory):
    """Dummy credentials, an empty home, and no connection but to the loopback address."""
    for name in list(os.environ):
        if name.startswith("KAGGLE") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(user_home))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(user_home / "kaggle"))
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    # where the client notes uploads that it may resume: at the server of an earlier test
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("uploads")))
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    connect = socket.socket.connect

    def only_loopback(self, address):
        assert address[0] in ("127.0.0.1", "::1", "localhost"), f"a test wants to reach {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_loopback)


@pytest.fixture
def server(monkeypatch):
    from kagglesdk.kaggle_env import KaggleEnv, _env_to_endpoint

    monkeypatch.setattr("time.sleep", lambda _: None)
    with KaggleServer() as running:
        monkeypatch.setitem(_env_to_endpoint, KaggleEnv.PROD, running.url)
        yield running


@pytest.fixture
def official(server, monkeypatch, capfd):
    """Return a function that gives a printed command to the official client."""

    def run(line):
        from kaggle import cli as client

        monkeypatch.setattr(sys, "argv", shlex.split(line))
        client.main()
        return capfd.readouterr().out

    return run


def said_by(command, capfd, code=0):
    """Run the command line, which ends with a code; return what it prints, or its error."""
    capfd.readouterr()
    assert main(command) == code
    said = capfd.readouterr()
    return said.err if code else said.out


@pytest.fixture
def csv(tmp_path):
    sample = tmp_path / "data" / "raw" / kaggle.COMPETITION / "sample_submission.csv"
    files.write_bytes(sample, b"id,defect_score\na,0.5\nb,0.5\nc,0.5\n")
    path = tmp_path / "x.csv"
    path.write_text(GOOD)
    return path


def test_a_good_csv_is_answered_by_the_command_that_submits_it(official, server, csv, capfd):
    said = said_by(CHECK, capfd)
    assert server.requests == [] and said.startswith("ok; ")
    assert "0.98765" in official(said.splitlines()[1])
    assert list(server.uploads.values()) == [GOOD.encode()]
    (created,) = server.sent("CreateSubmission")
    assert created["competitionName"] == kaggle.COMPETITION


def test_a_bad_csv_and_a_missing_sample_are_named(csv, capfd):
    csv.write_text("id,defect_score\na,0\nb,0\n")
    assert "'c'" in said_by(CHECK, capfd, code=1)
    csv.write_text(GOOD)
    (sample,) = Path("data").rglob("*.csv")
    sample.rename("sample.csv")
    assert "kaggle competitions download" in said_by(CHECK, capfd, code=1)
    assert main([*CHECK, "--sample", "sample.csv"]) == 0


def test_the_columns_are_those_of_the_sample(csv, capfd):
    (sample,) = Path("data").rglob("*.csv")
    sample.write_text("file,p\na.png,0.5\nb.png,0.5\n")
    assert "write file,p" in said_by(CHECK, capfd, code=1)
    csv.write_text("file,p\nb.png,0.1\na.png,0.9\n")
    assert said_by(CHECK, capfd).startswith("ok; ")
