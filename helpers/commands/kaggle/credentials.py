"""Find how Kaggle's credentials are given on this machine; they are never used or shown."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Found:
    """Where the client will find credentials, and what is odd about them; never their value."""

    source: str  # "" if there are none
    trouble: str = ""


def look() -> Found:
    """Return the first way that gives credentials, in the client's order.

    No request is made and the client is not imported, since that authenticates.
    """
    token = os.environ.get("KAGGLE_API_TOKEN", "")
    if token and Path(token).is_file():
        return Found("the file that KAGGLE_API_TOKEN names")
    if "/" in token or "\\" in token:
        return Found("", "KAGGLE_API_TOKEN names a file that is not there")
    if token:
        return Found("KAGGLE_API_TOKEN")
    kaggle = Path.home() / ".kaggle"
    for name in ("access_token", "access_token.txt"):
        if (file := kaggle / name).is_file():
            return Found(f"~/.kaggle/{name}", _open_to_others(file))
    pair = ("KAGGLE_USERNAME", "KAGGLE_KEY")
    there = [name for name in pair if os.environ.get(name)]
    if len(there) == 1:
        missing = next(name for name in pair if name not in there)
        return Found("", f"{there[0]} is set, {missing} is not: set both")
    if there:
        return Found(" and ".join(there))
    given = os.environ.get("KAGGLE_CONFIG_DIR")
    for folder in [Path(given)] if given else [kaggle, Path.home() / ".config" / "kaggle"]:
        if (file := folder / "kaggle.json").is_file():
            return _key_file(file)
    login = (kaggle / "credentials.json").is_file()
    return Found("~/.kaggle/credentials.json" if login else "")


def _key_file(file: Path) -> Found:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["username"] and content["key"]:
            return Found(str(file), _open_to_others(file))
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return Found("", f'{file} does not hold {{"username": ..., "key": ...}}: save it again')


def _open_to_others(file: Path) -> str:
    return "" if not file.stat().st_mode & 0o077 else f"others can read it: chmod 600 {file}"
