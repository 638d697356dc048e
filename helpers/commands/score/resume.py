"""Where a list goes on, and whether it is still the list that was begun.

Scores go on behind an image only when all names up to it are what they were: the record keeps a
digest of them. Images that come behind it are new work; any other change is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from helpers.commands.score import ScoreError
from helpers.commands.score.files import read_results
from helpers.commands.score.listing import Entry, ImageList, Shard
from helpers.commands.score.progress import Progress

_WAY_OUT = "Put the list back as it was, or begin anew with --restart"


class Remaining:
    """The images of a shard that are not dealt with; keeps how far the list was read."""

    def __init__(self, images: ImageList, shard: Shard, before: Progress) -> None:
        self._images, self._shard = images, shard
        self.position, self.digest = before.position, before.digest

    def __iter__(self) -> Iterator[Entry]:
        for entry in itertools.islice(self._images.entries(), self.position, None):
            self.position, self.digest = entry.position + 1, entry.digest
            if self._shard.takes(entry.position):
                yield entry


def survey(images: ImageList, shard: Shard, before: Progress, out: Path) -> int:
    """The number of images listed; refuses a list that does not begin with those that are done."""
    listed, digest = 0, ""
    for entry in images.entries():
        listed = entry.position + 1
        if listed == before.position:
            digest = entry.digest
    if digest != before.digest:
        for there, here in itertools.zip_longest(
            read_results(out, shard), Remaining(images, shard, Progress({}))
        ):
            found = "nothing" if here is None else here.path
            if there is not None and there[2][0] != found:
                raise ScoreError(
                    f"{images.place} changed since {out} was begun: image {there[0] + 1} was "
                    f"{there[2][0]}, now {found}. {_WAY_OUT}"
                )
        raise ScoreError(f"{images.place} changed since {out} was begun. {_WAY_OUT}")
    return listed
