"""Which way Kaggle's credentials are given on this machine; looked at, never used or shown."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Found:
    """Where the client will find credentials, and what is odd about them; never their value."""

    source: str  # "" where there are none
    trouble: str = ""


def look() -> Found:
    """The first of the client's ways that is there, in the client's order.

    No request is made and the client is not imported, since that authenticates.
    """
    for way in (_token, _user_and_key, _key_file, _login):
        found = way()
        if found.source or found.trouble:
            return found
    return Found("")


def _token() -> Found:
    token = os.environ.get("KAGGLE_API_TOKEN", "")
    if token and _looks_like_path(token):
        if Path(token).is_file():
            return Found("the file that KAGGLE_API_TOKEN names")
        return Found("", "KAGGLE_API_TOKEN names a file that is not there")
    if token:
        return Found("KAGGLE_API_TOKEN")
    for name in ("access_token", "access_token.txt"):
        file = Path.home() / ".kaggle" / name
        if file.is_file():
            return Found(f"~/.kaggle/{name}", _open_to_others(file))
    return Found("")


def _user_and_key() -> Found:
    names = ("KAGGLE_USERNAME", "KAGGLE_KEY")
    there = [name for name in names if os.environ.get(name)]
    if len(there) == 1:
        missing = next(name for name in names if name not in there)
        return Found("", f"{there[0]} is set, {missing} is not: set both")
    return Found(" and ".join(there))


def _key_file() -> Found:
    given = os.environ.get("KAGGLE_CONFIG_DIR")
    homes = [Path.home() / ".kaggle", Path.home() / ".config" / "kaggle"]
    for folder in [Path(given)] if given else homes:
        file = folder / "kaggle.json"
        if not file.is_file():
            continue
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            whole = bool(content["username"] and content["key"])
        except (OSError, ValueError, TypeError, KeyError):
            whole = False
        if not whole:
            return Found("", f'{file} does not hold {{"username": ..., "key": ...}}: save it again')
        return Found(str(file), _open_to_others(file))
    return Found("")


def _login() -> Found:
    file = Path.home() / ".kaggle" / "credentials.json"
    return Found("~/.kaggle/credentials.json" if file.is_file() else "")


def _looks_like_path(token: str) -> bool:
    return "/" in token or "\\" in token or Path(token).is_file()


def _open_to_others(file: Path) -> str:
    return "" if not file.stat().st_mode & 0o077 else f"others can read it: chmod 600 {file}"
