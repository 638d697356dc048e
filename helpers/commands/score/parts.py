"""The part files of a scoring, and the CSV that they are joined in.

`scores.csv.parts/000123.csv` holds 512 images of the list: their scores, or why they cannot be
read. A part is written atomically, so after a kill it is complete or missing. Its first line is a
digest of its rows, their names and the settings; a part that is damaged, or that belongs to another
list, model or setting, counts as missing. `list.json` beside the parts records list and settings.
If two processes score the same part, one of both files stays.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from helpers.commands.score import ScoreError
from helpers.commands.score.listing import Entry
from helpers.core import files
from helpers.datasets.decoding import Fit
from helpers.deploy.description import Description


class Row(NamedTuple):
    """One image of a part."""

    path: str
    id: str
    defect_score: str  # 9 significant digits; "" if it cannot be read
    reason: str  # why it cannot be read


@dataclass(frozen=True)
class Settings:
    """Everything that the scores depend on beside the images."""

    images: str  # folder, pattern or CSV, relative to the folder of the scores
    model: str  # name and digest of each checkpoint
    precision: str  # "bf16", "fp16" or "no"
    views: int  # symmetries of each image over which its scores are averaged
    bits: int  # that fill the range of images of more than 8 bits
    fit: Fit = "squash"  # how images become squares


@dataclass(frozen=True)
class Job:
    """The list of images to score, and the settings."""

    settings: Settings
    count: int  # images in the list
    digests: list[str]  # `names_digest` of each part


class PartFiles:
    """The part files of `out`: `write` them, `check` them, and `join` them if none is missing."""

    def __init__(self, out: Path, job: Job) -> None:
        self.out, self.job, self.record = out, job, record_of(out)
        self.unreadable = out.with_name(f"{out.stem}.unreadable{out.suffix}")

    def path(self, number: int) -> Path:
        """Return the file of a part."""
        return self.record.with_name(f"{number:06d}.csv")

    def remove(self, index: int, count: int) -> None:
        """Remove everything, if there is any part of the shard: every `count`-th from `index` on.

        If there is none, another shard has started from scratch before, and its parts are kept.
        """
        found = list(self.record.parent.glob("[0-9]*.csv"))
        if any(int(path.stem) % count == index for path in found):
            for path in (self.out, self.unreadable, *found):
                path.unlink(missing_ok=True)

    def write(self, number: int, rows: Sequence[Row]) -> None:
        """Write a part atomically."""
        text = io.StringIO()
        cells = (map(files.as_cell, row) for row in rows)
        csv.writer(text, lineterminator="\n").writerows([Row._fields, *cells])
        body = text.getvalue().encode()
        files.write_bytes(self.path(number), self._seal(names_digest(rows), body) + b"\n" + body)

    def read(self, number: int) -> list[Row] | None:
        """Return the rows of a part; None if it is missing, damaged or of another job."""
        try:
            seal, _, body = self.path(number).read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        if seal != self._seal(self.job.digests[number], body):
            return None
        _, *rows = csv.reader(io.StringIO(body.decode(), newline=""))
        return [Row(*map(files.from_cell, row)) for row in rows]

    def _seal(self, names: str, body: bytes) -> bytes:
        start = files.fingerprint([asdict(self.job.settings), names]).encode()
        return files.bytes_digest(start + body).encode()

    def check(self) -> tuple[list[int], int]:
        """Return the parts that are missing, and how many images of the others have no score."""
        missing, unreadable = [], 0
        for number in range(len(self.job.digests)):
            rows = self.read(number)
            if rows is None:
                missing.append(number)
            else:
                unreadable += sum(not row.defect_score for row in rows)
        return missing, unreadable

    def join(self, description: Description | None = None) -> None:
        """Write all scores in the list's order, and the unreadable files, each atomically.

        With a description there are columns `probability` and `verdict`.

        Raises:
            ScoreError: a part is missing.
        """
        position = unreadable_count = 0
        with (
            files.atomic_path(self.out) as scores_path,
            files.atomic_path(self.unreadable) as unreadable_path,
            scores_path.open("w", encoding="utf-8", newline="") as scores_file,
            unreadable_path.open("w", encoding="utf-8", newline="") as unreadable_file,
        ):
            scores = csv.writer(scores_file, lineterminator="\n")
            unreadable = csv.writer(unreadable_file, lineterminator="\n")
            more = ("probability", "verdict") if description else ()
            scores.writerow(("path", "id", "defect_score", *more))
            unreadable.writerow(("path", "reason", "position"))  # counted from 0
            for number in range(len(self.job.digests)):
                rows = self.read(number)
                if rows is None:
                    raise ScoreError(f"{self.path(number)} is missing: run the same command again")
                for row in rows:
                    path, name, score, reason = map(files.as_cell, row)
                    if score:
                        if description:
                            (probability,) = description.probabilities([float(score)])
                            more = (f"{probability:.6g}", *description.verdicts([score]))
                        scores.writerow((path, name, score, *more))
                    else:
                        unreadable.writerow((path, reason, position))
                        unreadable_count += 1
                    position += 1
        if not unreadable_count:
            self.unreadable.unlink(missing_ok=True)


def names_digest(images: Sequence[Entry | Row]) -> str:
    """Return a digest of the paths and ids of a part's images."""
    return files.fingerprint([[image.path, image.id] for image in images])


def record_of(out: Path) -> Path:
    """Return the file beside the parts of `out` that says what they depend on."""
    return out.with_name(f"{out.name}.parts") / "list.json"


def load_job(out: Path) -> Job | None:
    """Return the job that `out` was started with; None if there is none.

    Raises:
        ScoreError: the record is damaged.
    """
    if not record_of(out).is_file():
        return None
    try:
        content = files.load_json(record_of(out))
        return Job(Settings(**content["settings"]), content["count"], content["digests"])
    except (files.ArtifactError, KeyError, TypeError):
        raise ScoreError(
            f"{record_of(out)} is damaged: start from scratch with --restart"
        ) from None
