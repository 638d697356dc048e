"""The marker file of a synthetic chip data set."""

import json
from pathlib import Path

from helpers.datasets import DataError

MARKER = "chips.json"


def is_done(out: Path | str) -> bool:
    """Whether `out` is a data set whose writing came to its end."""
    return _read_marker(Path(out)).get("state") == "done"


def _read_marker(out: Path) -> dict:
    try:
        marker = json.loads((out / MARKER).read_text())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise DataError(f"{out / MARKER} is not JSON; delete {out} or choose another") from error
    if not isinstance(marker, dict) or not isinstance(marker.get("settings", {}), dict):
        raise DataError(f"{out / MARKER} is no marker of chips; delete {out} or choose another")
    return marker
