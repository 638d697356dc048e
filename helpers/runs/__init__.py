"""Runs: what a notebook opens, its settings, its record, and the memo of finished work."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helpers.runs.run import Run


def open(name: str, names: Mapping[str, Any]) -> "Run":
    """Open a run from a notebook's global names; see `start.open_run`."""
    from helpers.runs.start import open_run  # imports torch

    return open_run(name, names)
