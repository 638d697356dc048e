"""Which shards belong together, and which are to do before they can be joined.

A list is known by its names, so that nothing in the records tells images that were replaced under
the same names. What tells them is `--restart`: it raises the generation of a shard above that of
all others, or to the newest one where another shard was begun anew before. Only shards of one
generation are joined; an older one is begun anew too, or joined as it is by `--merge OUT --restart`
by someone who knows that its images are still the same.
"""

from __future__ import annotations

from pathlib import Path

from helpers.commands.score.listing import Shard
from helpers.commands.score.progress import Progress, load_progress, shard_path


def generation_of(out: Path, shard: Shard, restart: bool) -> int:
    """The generation of a shard that is run now: its own, the newest one, or a new one.

    A shard that goes on keeps its generation, and one without a record joins the newest. With
    `restart`, an outdated shard (or one without a record, as generation 0) catches up with the
    newest; otherwise it begins a new generation, and leaves all others behind.
    """
    records = _records(out, shard.count)
    own = records[shard]
    newest = _newest(records)
    if not restart:
        return newest if own is None else own.generation
    return max(newest, (own.generation if own else 0) + 1)


def outdated(out: Path, count: int) -> list[Shard]:
    """The shards that were begun before another one was begun anew with --restart."""
    records = _records(out, count)
    newest = _newest(records)
    return [shard for shard, found in records.items() if found and found.generation < newest]


def unfinished(out: Path, shard: Shard) -> list[Shard]:
    """The shards of `out` that are to do before it is joined, as seen from one that is whole.

    A shard is to do when it isn't whole, was whole for another list than `shard` is (images were
    added since), or is outdated.
    """
    records = _records(out, shard.count)
    this = records[shard]
    listed = (this.position, this.digest) if this else None
    old = outdated(out, shard.count)
    return [
        other
        for other, found in records.items()
        if found is None
        or not found.complete
        or (found.position, found.digest) != listed
        or other in old
    ]


def _records(out: Path, count: int) -> dict[Shard, Progress | None]:
    shards = [Shard(index, count) for index in range(count)]
    return {shard: load_progress(shard_path(out, shard)) for shard in shards}


def _newest(records: dict[Shard, Progress | None]) -> int:
    return max((found.generation for found in records.values() if found), default=0)
