"""Joining the files of all shards into one, as if one process had scored the whole list."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import re
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from helpers.commands.score import ScoreError
from helpers.commands.score.files import SCORE_COLUMNS, UNREADABLE_COLUMNS, check_mark, read_results
from helpers.commands.score.generations import outdated
from helpers.commands.score.listing import Shard
from helpers.commands.score.progress import (
    Mark,
    Progress,
    differences,
    load_progress,
    progress_path,
    save_progress,
    shard_path,
    unreadable_path,
)
from helpers.core import files

if TYPE_CHECKING:
    from _csv import Writer  # the type that `csv.writer` gives


_OWN = ("shard", "images")  # what may differ between shards: machines mount folders elsewhere


def merge(out: Path, restart: bool = False) -> Progress:
    """Join scores.0of2.csv and scores.1of2.csv into scores.csv, in the order of the list.

    Nothing is written where `out` is undamaged and was joined from these very files. A shard that
    was begun before another one was begun anew is refused. `restart` joins in any case: it
    replaces `out` whatever it holds, and takes outdated shards for whole.

    Memory: 8 bytes for each image. The shards' scores are kept.

    Raises:
        ScoreError: a shard is missing, unfinished, outdated or of another scoring; a path occurs
            twice; `out` holds something else.
    """
    shards = find_shards(out)
    parts = [_finished(out, shard) for shard in shards]
    _check_alike(out, shards, parts)
    first = parts[0]
    key = first.key | {"shard": str(Shard())}
    merged = Progress(key, first.position, first.digest, complete=True)
    merged = dataclasses.replace(
        merged,
        scored=sum(part.scored for part in parts),
        unreadable=sum(part.unreadable for part in parts),
        joined=tuple((part.scores_mark, part.unreadable_mark) for part in parts),
    )
    if not restart:
        if there := _merged_before(out, merged):
            return there
        _check_generations(out, shards)
        _check_free(out, key)
    for shard, part in zip(shards, parts, strict=True):
        check_mark(shard_path(out, shard), part.scores_mark)
        check_mark(unreadable_path(shard_path(out, shard)), part.unreadable_mark)
    _check_doubles(out, shards)
    save_progress(out, Progress(key))  # a kill in between leaves a file known as unfinished
    merged = _write(out, shards, merged)
    save_progress(out, merged)
    _renew(out, shards, parts)
    return merged


def withdraw(out: Path, key: dict[str, Any]) -> None:
    """Let a joined `out` count as unfinished, for a shard of it is begun anew with this key.

    A record without rows takes the place of the old one, so that the shards may be joined in
    `out` again without --restart. What one process scored there is left alone.
    """
    found = load_progress(out)
    if found is not None and found.joined:
        save_progress(out, Progress(key | {"shard": str(Shard())}))


def find_shards(out: Path) -> list[Shard]:
    """All shards that files beside `out` speak of; those that are missing are refused."""
    name = re.compile(
        rf"{re.escape(out.stem)}\.(\d+)of(\d+){re.escape(out.suffix)}\.progress\.json"
    )
    found = [match for path in out.parent.glob("*.json") if (match := name.fullmatch(path.name))]
    counts = sorted({int(match[2]) for match in found})
    if not counts:
        raise ScoreError(f"{out} has no shards beside it, e.g. {shard_path(out, Shard(0, 2)).name}")
    if len(counts) > 1:
        raise ScoreError(
            f"beside {out} lie shards of {counts[0]} and of {counts[-1]}; delete those of one kind"
        )
    shards = [Shard(index, counts[0]) for index in range(counts[0])]
    for shard in shards:
        if load_progress(shard_path(out, shard)) is None:
            raise ScoreError(
                f"{shard_path(out, shard)} is missing; run its command with --shard {shard}"
            )
    return shards


def _finished(out: Path, shard: Shard) -> Progress:
    path = shard_path(out, shard)
    progress = load_progress(path)
    if progress is None or not progress.complete:
        done = progress.scored + progress.unreadable if progress else 0
        raise ScoreError(
            f"{path} is not finished ({done} images so far); run its command again, with "
            f"--shard {shard}"
        )
    return progress


def _check_alike(out: Path, shards: list[Shard], parts: list[Progress]) -> None:
    first = parts[0]
    for shard, part in zip(shards, parts, strict=True):
        mine = {k: v for k, v in first.key.items() if k not in _OWN}
        theirs = {k: v for k, v in part.key.items() if k not in _OWN}
        reason = differences(mine, theirs)
        if (part.position, part.digest) != (first.position, first.digest):
            reason = reason or (
                f"the list had {first.position} images, now {part.position}"
                if part.position != first.position
                else "the list had other images"
            )
        if reason:
            raise ScoreError(
                f"{shard_path(out, shard)} does not belong to {shard_path(out, shards[0])}: "
                f"{reason}. Run both again on the same list with the same options"
            )


def _merged_before(out: Path, merged: Progress) -> Progress | None:
    """The record of `out` where it holds exactly these shards and is undamaged."""
    found = load_progress(out)
    there = dataclasses.replace(
        merged, scores_mark=_mark(out), unreadable_mark=_mark(unreadable_path(out))
    )
    return found if found == there else None


def _check_generations(out: Path, shards: list[Shard]) -> None:
    if old := outdated(out, len(shards)):
        raise ScoreError(
            f"{shard_path(out, old[0])} was begun before another shard was begun anew; run its "
            f"command with --shard {old[0]} --restart too, or, if its images are still the same, "
            f"join all shards as they are with --merge {out} --restart"
        )


def _renew(out: Path, shards: list[Shard], parts: list[Progress]) -> None:
    """Outdated shards that were joined as they are belong to the newest generation from now on."""
    newest = max(part.generation for part in parts)
    for shard, part in zip(shards, parts, strict=True):
        if part.generation < newest:
            save_progress(shard_path(out, shard), dataclasses.replace(part, generation=newest))


def _check_free(out: Path, key: dict[str, Any]) -> None:
    found = load_progress(out)
    if not out.exists() or (found is not None and found.key == key):
        return
    reason = differences(found.key, key) if found else f"no {progress_path(out).name} beside it"
    raise ScoreError(
        f"{out} holds something else ({reason}); move it away, or replace it with --merge {out} "
        "--restart"
    )


def _in_order(out: Path, shards: list[Shard]) -> Iterator[tuple[bool, list[str]]]:
    """Rows of all shards in the order of the list, and whether the image can be read."""
    readers = [read_results(shard_path(out, shard), shard) for shard in shards]
    while rows := [found for reader in readers if (found := next(reader, None)) is not None]:
        for _, readable, row in rows:  # one round: consecutive positions
            yield readable, row


def _check_doubles(out: Path, shards: list[Shard]) -> None:
    """Refuse a path that occurs twice; only digests of 8 bytes are held."""
    digests = array("Q", (_digest(row[0]) for _, row in _in_order(out, shards)))
    values = np.sort(np.frombuffer(digests, dtype=np.uint64))
    suspects = set(values[1:][values[1:] == values[:-1]].tolist())
    if not suspects:
        return
    seen = set()
    for _, row in _in_order(out, shards):
        if _digest(row[0]) in suspects:
            if row[0] in seen:
                raise ScoreError(
                    f"{row[0]} occurs twice in the shards of {out}; remove it from the list of "
                    "images and begin them anew with --restart"
                )
            seen.add(row[0])


def _digest(path: str) -> int:
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "big")


def _write(out: Path, shards: list[Shard], merged: Progress) -> Progress:
    """Write both files atomically; the record with their sizes."""
    with (
        files.atomic_path(out) as scores,
        files.atomic_path(unreadable_path(out)) as bad,
        scores.open("w", encoding="utf-8", newline="") as score_file,
        bad.open("w", encoding="utf-8", newline="") as bad_file,
    ):
        writers = {True: _writer(score_file), False: _writer(bad_file)}
        writers[True].writerow(SCORE_COLUMNS)
        writers[False].writerow(UNREADABLE_COLUMNS)
        for readable, row in _in_order(out, shards):
            writers[readable].writerow(row)
    if not merged.unreadable:
        unreadable_path(out).unlink(missing_ok=True)
    return dataclasses.replace(
        merged, scores_mark=_mark(out), unreadable_mark=_mark(unreadable_path(out))
    )


def _writer(handle: IO[str]) -> Writer:
    return csv.writer(handle, lineterminator="\n")


def _mark(path: Path) -> Mark:
    """Size and checksum of a whole file; of nothing where there is none."""
    if not path.is_file():
        return Mark()
    crc32, size = 0, 0
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            crc32, size = zlib.crc32(block, crc32), size + len(block)
    return Mark(size, crc32)
