"""The sources of images (`sources.SOURCES`), their decoded pixels (`cache`), and their split.

A source's table has one row per image: `id` (text, unique), `path`, `label` (0 good, 1 bad,
missing if hidden), `official_split` ("train", "test", or "" if the source has no test set of its
own), and columns of the source's own. One of these may be `group` (text, or missing): the lot,
wafer, module or tool of the part, which `SPLIT="groups"` keeps on one side.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from helpers.core.errors import UserError


class DataError(UserError):
    """The images or their table cannot be used; the message says which, and what to do."""


DROPPED = ["id", "path", "official_split"]


@dataclass(frozen=True)
class Source:
    """A data set: its table, and the attribution and caveats to show with its numbers."""

    name: str
    table: pd.DataFrame
    label_mapping: str
    stratify: tuple[str, ...] = ()  # columns that a random split keeps in proportion
    kinds: tuple[str, ...] = ()  # columns whose values are evaluated separately
    attribution: str = ""
    caveats: str = ""
    left_out: tuple[str, ...] = ()  # lines about files that are not in the table
    dropped: pd.DataFrame | None = None  # columns DROPPED of images taken out of the table
    mask: str = ""  # of each image, see `sources.mask_of`
    submission: Mapping[str, Any] = field(default_factory=dict)  # see `contest.read_sample`


def check_utf8(path: str) -> None:
    """Raise DataError if a CSV cannot hold a file's name: not in UTF-8, or with a line break."""
    if not path.isascii() and path != path.encode(errors="ignore").decode():
        raise DataError(f"{path!r}: the name is not in UTF-8; rename it")
    if "\r" in path or "\n" in path:
        raise DataError(f"{path!r}: the name has a line break; rename it")
