"""Which way credentials are given, in the client's order; their values are never told."""

import json

import pytest

from helpers.commands.kaggle import credentials
from helpers.commands.kaggle.credentials import Found

TOKEN, KEY = "tok-1a2b3c", "key-9z8y7x"


@pytest.fixture(autouse=True)
def user(tmp_path, monkeypatch):
    """A user's folder without any credentials."""
    for name in ("API_TOKEN", "USERNAME", "KEY", "CONFIG_DIR"):
        monkeypatch.delenv(f"KAGGLE_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def _write(path, content, mode=0o600):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
    return path


def test_each_way_is_found_and_the_client_s_first_one_wins(user, monkeypatch):
    assert credentials.look() == Found("")
    _write(user / ".kaggle/credentials.json", "{}")
    assert credentials.look() == Found("~/.kaggle/credentials.json")
    content = json.dumps({"username": "somebody", "key": KEY})
    file = _write(user / ".config/kaggle/kaggle.json", content)
    assert credentials.look() == Found(str(file))
    file = _write(user / ".kaggle/kaggle.json", content)
    assert credentials.look() == Found(str(file))
    file = _write(user / "own/kaggle.json", content)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(file.parent))
    assert credentials.look() == Found(str(file))
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    assert credentials.look() == Found("KAGGLE_USERNAME and KAGGLE_KEY")
    file = _write(user / ".kaggle/access_token", TOKEN)
    assert credentials.look() == Found("~/.kaggle/access_token")
    monkeypatch.setenv("KAGGLE_API_TOKEN", str(file))
    assert credentials.look() == Found("the file that KAGGLE_API_TOKEN names")
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    assert credentials.look() == Found("KAGGLE_API_TOKEN")


@pytest.mark.parametrize("name", ["KAGGLE_USERNAME", "KAGGLE_KEY"])
def test_half_a_pair_is_trouble(monkeypatch, name):
    monkeypatch.setenv(name, KEY)
    found = credentials.look()
    assert not found.source and found.trouble.startswith("one of KAGGLE_USERNAME and")
    assert KEY not in found.trouble


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"username": "u"}', '{"username": "u", "key": ""}']
)
def test_a_damaged_key_file_is_trouble(user, content):
    file = _write(user / ".kaggle/kaggle.json", content)
    assert credentials.look().trouble.startswith(f"{file} does not hold")


def test_a_file_that_others_can_read_is_trouble(user):
    file = _write(user / ".kaggle/access_token", TOKEN, 0o644)
    assert credentials.look() == Found(
        "~/.kaggle/access_token", f"others can read it: chmod 600 {file}"
    )


def test_a_token_that_names_a_missing_file_is_trouble_and_not_told(monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", f"/nowhere/{TOKEN}")
    found = credentials.look()
    assert found == Found("", "KAGGLE_API_TOKEN names a file that is not there")
