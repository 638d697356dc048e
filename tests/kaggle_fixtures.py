"""Fixtures of the tests of Kaggle: stand-in, dummy credentials, a search for leaked secrets."""

import base64
import io
import os
import socket
import tempfile
import zipfile

import pytest

from tests.kaggle_server import KEY, TOKEN, USER, KaggleServer

__all__ = ["home", "no_secret_in_any_output", "no_way_out", "server", "waits"]

SECRETS = (KEY, TOKEN, base64.b64encode(f"{USER}:{KEY}".encode()).decode(), "sign3d")
IMAGE = "train/good_0/1.bmp"
SAMPLE = "id,defect_score\na,0.5\nb,0.5\nc,0.5\n"


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """One home for the session: the client reads its folder once, when it is imported."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch, home, tmp_path, tmp_path_factory):
    """Dummy credentials, an empty home, and no connection but to the loopback address."""
    for name in list(os.environ):
        if name.startswith("KAGGLE") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(home / "kaggle"))
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    # where the client notes uploads that it may resume: at the server of an earlier test
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("uploads")))
    monkeypatch.setenv("GOOD_BAD_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    connect = socket.socket.connect

    def only_loopback(self, address):
        assert address[0] in ("127.0.0.1", "::1", "localhost"), f"a test wants to reach {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_loopback)


@pytest.fixture
def server(monkeypatch):
    from kagglesdk.kaggle_env import KaggleEnv, _env_to_endpoint

    with KaggleServer() as running:
        monkeypatch.setitem(_env_to_endpoint, KaggleEnv.PROD, running.url)
        running.data = zip_of({IMAGE: b"good" * 99999, "sample_submission.csv": SAMPLE})
        yield running


@pytest.fixture(autouse=True)
def no_secret_in_any_output(capfd):
    """After each test: neither key nor token nor signature in what was printed since."""
    yield
    printed = "".join(capfd.readouterr())
    assert not [secret for secret in SECRETS if secret in printed]


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The seconds that were waited for, in no time."""
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    return waits


def zip_of(contents):
    """A zip of stored members, so that a byte of a member can be found and damaged."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for name, content in contents.items():
            zipped.writestr(name, content)
    return buffer.getvalue()


def failure_of(command, capfd, code=1):
    """What the command line prints on stderr if it ends with an exit code; it holds no secret."""
    from helpers.commands.kaggle.command import main

    capfd.readouterr()
    assert main(command) == code
    printed = capfd.readouterr()
    assert not [secret for secret in SECRETS if secret in printed.out + printed.err]
    return printed.err
