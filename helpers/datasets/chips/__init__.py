"""Synthetic chip images in the look and the folder layout of the Nexperia contest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from helpers.core import paths
from helpers.datasets import Source, nexperia
from helpers.datasets.chips.write import write_dataset

if TYPE_CHECKING:
    from helpers.datasets.settings import SplitSettings

DEFAULT_COUNTS = (6000, 1000)  # of `--dataset chips`: drawn in less than a minute


def load(place: Path | None, settings: SplitSettings) -> Source:
    """Load the chips at `place`; without it those in `data/raw/chips`, drawn if missing."""
    root = place or paths.raw_root() / "chips"
    if place is None and not (root / nexperia.MARKER).is_file():
        write_dataset(root, *DEFAULT_COUNTS)
    return nexperia.load(root, settings)
