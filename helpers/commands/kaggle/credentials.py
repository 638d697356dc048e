"""Find how Kaggle's credentials are given on this machine; they are never used or shown."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple


class Found(NamedTuple):
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
    pair = [bool(os.environ.get(name)) for name in ("KAGGLE_USERNAME", "KAGGLE_KEY")]
    if any(pair):
        half = "one of KAGGLE_USERNAME and KAGGLE_KEY is not set: set both"
        return Found("KAGGLE_USERNAME and KAGGLE_KEY") if all(pair) else Found("", half)
    given = os.environ.get("KAGGLE_CONFIG_DIR")
    for folder in [Path(given)] if given else [kaggle, Path.home() / ".config" / "kaggle"]:
        if (file := folder / "kaggle.json").is_file():
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
                if content["username"] and content["key"]:
                    return Found(str(file), _open_to_others(file))
            except (OSError, ValueError, TypeError, KeyError):
                pass
            form = '{"username": ..., "key": ...}'
            return Found("", f"{file} does not hold {form}: save it again")
    login = (kaggle / "credentials.json").is_file()
    return Found("~/.kaggle/credentials.json" if login else "")


def _open_to_others(file: Path) -> str:
    return "" if not file.stat().st_mode & 0o077 else f"others can read it: chmod 600 {file}"
