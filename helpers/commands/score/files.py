"""The files of one scoring: scores and unreadable images, written in pieces.

Rows are added in pieces. A piece is written, flushed to the disk, and only then does
the record of progress say so; what a kill left behind the last whole piece is cut off when the same
command is run again.
"""

from __future__ import annotations

import csv
import dataclasses
import glob
import io
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import filelock

from helpers.commands.score import ScoreError
from helpers.commands.score.listing import Entry, Shard
from helpers.commands.score.progress import (
    Mark,
    Progress,
    differences,
    load_progress,
    progress_path,
    save_progress,
    unreadable_path,
)
from helpers.core import locks
from helpers.core.files import ArtifactError

SCORE_COLUMNS = ("path", "id", "defect_score")
UNREADABLE_COLUMNS = ("path", "reason", "position")  # position in the list, counted from 0
_BLOCK_BYTES = 1 << 20


class Result(NamedTuple):
    """What became of one image: a probability of bad, or why it cannot be read."""

    entry: Entry
    score: float | None
    reason: str = ""


def score_rows(results: Iterable[Result]) -> list[tuple[str, ...]]:
    """Rows of the images that were scored, scores to 9 significant digits as in predictions."""
    return [(r.entry.path, r.entry.id, f"{r.score:.9g}") for r in results if r.score is not None]


def unreadable_rows(results: Iterable[Result]) -> list[tuple[str, ...]]:
    """Rows of the images that cannot be read."""
    return [(r.entry.path, r.reason, str(r.entry.position)) for r in results if r.score is None]


class GrowingCSV:
    """A CSV that grows by whole pieces, each of them on the disk before the next."""

    def __init__(self, path: Path, columns: Sequence[str], mark: Mark) -> None:
        """Check what is whole, and cut off what is not.

        Raises:
            ScoreError: the whole part is not what was written.
        """
        self.path, self.columns, self.mark = path, columns, mark
        check_mark(path, mark)
        if path.is_file():
            os.truncate(path, mark.size_bytes)

    def append(self, rows: Iterable[Sequence[str]]) -> None:
        """Add rows; the file is on the disk when this returns."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not self.mark.size_bytes:
            writer.writerow(self.columns)
        writer.writerows(rows)
        content = text.getvalue().encode()
        with self.path.open("ab") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        crc32 = zlib.crc32(content, self.mark.crc32)
        self.mark = Mark(self.mark.size_bytes + len(content), crc32)


class ScoreFiles:
    """Scores, unreadable images and progress of one scoring, held by one process at a time."""

    def __init__(
        self, out: Path, key: dict[str, Any], restart: bool = False, generation: int = 0
    ) -> None:
        """Begin (as a shard of that generation), or go on after the last whole piece.

        Raises:
            ScoreError: the file is of another scoring, was changed, or is being written.
        """
        self.out = out
        self._lock = _locked(out)
        try:
            self.progress = _begun(out, key, restart, generation)
            self._scores = GrowingCSV(out, SCORE_COLUMNS, self.progress.scores_mark)
            self._unreadable = GrowingCSV(
                unreadable_path(out), UNREADABLE_COLUMNS, self.progress.unreadable_mark
            )
            if not self.progress.unreadable_mark.size_bytes:
                unreadable_path(out).unlink(missing_ok=True)
        except BaseException:
            self._lock.lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.lock.release()

    def commit(
        self, results: Sequence[Result], position: int, digest: str, complete: bool = False
    ) -> None:
        """Add a piece: all results up to a position of the list, and the digest of its names."""
        good, bad = score_rows(results), unreadable_rows(results)
        if good or not self._scores.mark.size_bytes:
            self._scores.append(good)
        if bad:
            self._unreadable.append(bad)
        self.progress = dataclasses.replace(
            self.progress,
            position=position,
            digest=digest,
            scored=self.progress.scored + len(good),
            unreadable=self.progress.unreadable + len(bad),
            scores_mark=self._scores.mark,
            unreadable_mark=self._unreadable.mark,
            complete=complete,
            joined=(),  # rows of its own now
        )
        save_progress(self.out, self.progress)


def check_mark(path: Path, mark: Mark) -> None:
    """Refuse a file whose whole part was changed or lost."""
    crc32, left = 0, mark.size_bytes
    if left and path.is_file():
        with path.open("rb") as handle:
            while left and (block := handle.read(min(left, _BLOCK_BYTES))):
                crc32, left = zlib.crc32(block, crc32), left - len(block)
    if left or crc32 != mark.crc32:
        raise ScoreError(
            f"{path} was changed since it was written; put it back, or begin anew with --restart"
        )


def read_results(out: Path, shard: Shard) -> Iterator[tuple[int, bool, list[str]]]:
    """Position in the list, readable or not, and the row of every image of a whole file."""
    with out.open(encoding="utf-8", newline="") as handle:
        scores = csv.reader(handle)
        next(scores, None)
        bad = _rows(unreadable_path(out))
        position, waiting = shard.index, next(bad, None)
        while True:
            if waiting is not None and int(waiting[2]) == position:
                yield position, False, waiting
                waiting = next(bad, None)
            elif (row := next(scores, None)) is not None:
                yield position, True, row
            else:
                return
            position += shard.count


def _rows(path: Path) -> Iterator[list[str]]:
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as handle:
            rows = csv.reader(handle)
            next(rows, None)
            yield from rows


def _locked(out: Path) -> filelock.AcquireReturnProxy:
    """The lock of the file, which ends with the process; the file is there afterwards."""
    if not out.parent.is_dir():
        raise ScoreError(f"--out {out}: the folder {out.parent} does not exist; create it first")
    try:
        out.open("ab").close()
    except OSError as error:
        raise ScoreError(f"--out {out} cannot be written: {error.strerror}") from None
    try:
        return locks.held(out.with_name(f".{out.name}.lock"), wait=False)
    except locks.LockedError:
        raise ScoreError(
            f"another process writes {out}; wait for it, or give this one another --out"
        ) from None
    except ArtifactError as error:
        raise ScoreError(f"--out {error}") from None


def _begun(out: Path, key: dict[str, Any], restart: bool, generation: int) -> Progress:
    """The progress to go on from; written before the first row, so that a file is known by it."""
    record = progress_path(out)
    for stale in record.parent.glob(f".{glob.escape(record.name)}.*.tmp"):
        stale.unlink(missing_ok=True)  # a kill left it; the lock says that nobody writes it
    found = None if restart else load_progress(out)
    if found is None:
        if out.stat().st_size and not restart:
            raise ScoreError(
                f"{out} exists, and no {record.name} says that it holds scores of "
                "this program; give another --out, or overwrite it with --restart"
            )
        found = Progress(key, generation=generation)
        save_progress(out, found)
    elif found.key != key:
        raise ScoreError(
            f"{out} was begun otherwise: {differences(found.key, key)}. Give the same again, "
            "another --out, or begin anew with --restart"
        )
    return found
