"""Score any number of images with a trained model, in constant memory:

    python -m helpers.score --model RUN/fbp --images parts --out scores.csv

writes `path,id,defect_score` for each image, and `probability,verdict` (pass, look again, reject)
if the model has thresholds; files that cannot be read go into scores.unreadable.csv. Images are
scored as in the model's own run, unless options say something else.

scores.csv.parts/ has a file for each 512 images. Its name is a digest of what its scores depend on:
the model, the options, and the names, sizes and times of the images. A part that exists is not
scored again: after a kill the same command continues. A new image changes its
part and those after it.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from tqdm.auto import tqdm

from helpers.commands.cli import parser_of
from helpers.core import devices, files
from helpers.core.errors import UserError
from helpers.datasets.cache import CAMERA_BITS
from helpers.datasets.folder import SUFFIXES, is_image, left_out, walk
from helpers.deploy import lots
from helpers.deploy.predictor import ANSWER, Opened, TrainedModel
from helpers.runs import workers
from helpers.runs.parts import open_model
from helpers.training.inference import precision_of

PART_IMAGES = 512  # scored and written together: what a kill can cost, seconds of work on a CPU
RETRIES = 3  # if the machine of a Ray worker is lost


class Entry(NamedTuple):
    """One image of a list."""

    path: str  # below the list's folder, as the CSV of scores names it
    id: str
    file: str  # to open


# of a part: the defect score is empty if the image cannot be read
COLUMNS = ["path", "id", "defect_score", *ANSWER[1:]]
Part = tuple[Path, list[Entry]]  # the file of its scores, and its images


def main(arguments: Sequence[str] | None = None) -> int:
    """Score the parts that are missing, and join all.

    Returns:
        1 if no file can be read, or with `--strict` if one cannot; otherwise 0.

    Raises:
        UserError: model, images or output cannot be used as they are.
    """
    options = _parser().parse_args(arguments)
    place, out = Path(options.images).expanduser(), options.out
    folder = out.with_name(f"{out.name}.parts")
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; name a file in it, e.g. {out / 'scores.csv'}")
    if out.exists() and not folder.is_dir():
        raise UserError(f"--out {out} exists already: name another file, or delete it")
    if not (count := sum(1 for _ in entries(place))):
        raise UserError(f"{place} lists no image ({', '.join(SUFFIXES)})")
    about, of = folder / "images.json", str(place.absolute())
    if about.is_file() and files.load_json(about) != of:
        raise UserError(f"--out {out} has scores of {files.load_json(about)}: name another file")
    opened = with_options(open_model(options.model), options)
    files.save_json(about, of)
    digests = [files.file_digest(path) for path in opened.checkpoints]
    paths, new, began_s = list[Path](), 0, time.monotonic()

    def missing(bar: tqdm) -> Iterator[Part]:
        listed = entries(place)
        while part := list(itertools.islice(listed, PART_IMAGES)):
            depends_on = files.fingerprint([digests, asdict(opened.facts), *map(_stamp, part)])
            paths.append(folder / f"{len(paths):06d}_{depends_on}.csv")
            if paths[-1].is_file():
                bar.update(len(part))
            else:
                yield paths[-1], part

    with tqdm(desc="score", unit="img", total=count, disable=None) as bar:
        if options.engine == "ray":  # every machine finds the images under the same path
            scored = workers.on_cluster(PartScorer, (opened, count), missing(bar), RETRIES)
        else:
            scored = starmap(PartScorer(opened, count).work, missing(bar))
        for path, rows in scored:
            files.save_csv(path, pd.DataFrame(rows, columns=COLUMNS))
            bar.update(len(rows))
            new += len(rows)
    print(opened.description.promise if opened.description else opened.remark)
    seconds = max(time.monotonic() - began_s, 1e-9)
    print(f"{out}: {new} new images in {seconds:.1f} s, {new / seconds:.1f} images/s")
    unreadable = join(paths, out, opened)
    for path in {*folder.glob("[0-9]*_*.csv")} - {*paths}:  # of an earlier call
        path.unlink()
    for line in left_out([place]) if place.is_dir() else ():
        print(f"left out: {line}", flush=True)
    return int(unreadable > 0 and (options.strict or unreadable == count))


def entries(place: Path) -> Iterator[Entry]:
    """Yield the images of a folder with its subfolders, or of a CSV, in a fixed order.

    A CSV needs a column `path` (relative to the CSV's folder, or absolute) and may have a column
    `id`; without one, the id of an image is its path without the extension. No entry is kept
    in memory, so a list may have any length.

    Raises:
        UserError: `place` does not exist, or is not such a CSV.
    """
    if place.is_dir():
        for file in filter(is_image, walk(place)):
            path = file.relative_to(place).as_posix()
            yield Entry(_in_utf8(path), _in_utf8(os.path.splitext(path)[0]), str(file))
        return
    try:
        with place.open(encoding="utf-8-sig", newline="") as handle:
            for row in (reader := csv.DictReader(handle)):
                path = row.get("path") or ""
                name = row.get("id", os.path.splitext(path)[0])
                entry, wrong = Entry(path, name, os.path.join(place.parent, path)), ""
                if not path or not name:
                    wrong = f"{'id' if path else 'path'} is empty or missing ({files.COMMAS})"
                elif "\\" in path.replace(os.sep, "/") and not os.path.exists(entry.file):
                    wrong = f"{path} is not there: write / instead of \\"
                if wrong:
                    raise UserError(f"{place}, line {reader.line_num}: {wrong}")
                yield entry
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        what = "neither a folder of images nor a CSV in UTF-8 with a column path"
        raise UserError(f"--images {place} is {what}: {error}") from None


def with_options(opened: Opened, options: argparse.Namespace) -> Opened:
    """Return the model as the options use it, without thresholds if they change its scores."""
    trained, device = opened.facts, devices.default_device()
    if options.views not in (None, 1) and opened.models[0].spec.options.get("grid"):
        raise UserError(f"--views {options.views}: PatchCore with a MASK takes --views 1")
    bits = trained.full_scale_bits or 8  # 0: the training had no images of more bits
    precision = precision_of(device, trained.precision)
    trained = replace(trained, precision=precision, full_scale_bits=bits)
    precision = precision_of(device, options.precision or precision)
    views = options.views or trained.views
    facts = replace(trained, precision=precision, views=views, full_scale_bits=options.bits or bits)
    if facts != trained:
        remark = "no verdicts: the thresholds are for other views, precision or bits than these"
        opened = opened._replace(description=None, remark=remark)
    return opened._replace(facts=facts)


class PartScorer:
    """A model that is ready on this process's device."""

    def __init__(self, opened: Opened, images: int) -> None:
        """Prepare the model for `images` images in all."""
        self.model = TrainedModel(opened, images=images)

    def work(self, path: Path, part: list[Entry]) -> tuple[Path, list[tuple]]:
        """Return path and rows (`COLUMNS`) of a part; raise what `TrainedModel.answers` raises."""
        answers = self.model.answers([entry.file for entry in part])
        return path, [(*entry[:2], *answer) for entry, answer in zip(part, answers, strict=True)]


def join(parts: Sequence[Path], out: Path, opened: Opened) -> int:
    """Write the scores of all parts to `out`, with probabilities and verdicts if there are any.

    Print how the lots (folders of the images) compare with those behind the thresholds. List the
    files that cannot be read beside `out`, and return their number.
    """
    description, seen = opened.description, pd.DataFrame()  # sums over the parts of each lot
    bad = out.with_name(f"{out.stem}.unreadable{out.suffix}")
    scored = unreadable = several = 0
    mode = "wb"  # overwrites what a killed process of this number left
    with files.atomic_path(out) as to_out, files.atomic_path(bad) as to_bad:
        for path in parts:
            part = files.load_csv(path, COLUMNS, text=("id", "path", "defect_score", "reason"))
            is_read = part.reason.isna()
            good, rest = part[is_read], part[~is_read]
            scores = good[["path", "id", "defect_score"]]
            if description:
                values = good.defect_score.astype(float)
                scores = scores.assign(
                    probability=description.probabilities(values),
                    verdict=description.verdicts(values),
                )
                new = lots.sums(good, values, good.path.map(os.path.dirname))
                seen = new.add(seen, fill_value=0)
            for file, table in ((to_out, scores), (to_bad, rest[["path", "reason"]])):
                lines = files.csv_bytes(table)
                with file.open(mode) as handle:
                    handle.write(lines[0 if mode == "wb" else lines.index(b"\n") + 1 :])
            mode = "ab"
            scored, unreadable = scored + len(good), unreadable + len(rest)
            several += int(part.has_more.sum())
    if not unreadable:
        bad.unlink()
    for line in lots.sentences(opened.reference, seen):
        print(line)
    where = f" ({bad})" if unreadable else ""
    print(f"{out}: scored {scored}, unreadable {unreadable}{where}", flush=True)
    if several:
        print(f"{several} file(s) have several pages or frames; only the first is read")
    return unreadable


def _stamp(entry: Entry) -> list[str | int]:
    """Return path, id, size and time of an image: they change if it is replaced."""
    try:
        about = os.stat(entry.file)
    except OSError:
        return [entry.path, entry.id]
    return [entry.path, entry.id, about.st_size, about.st_mtime_ns]


def _in_utf8(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("score", __doc__)
    add = parser.add_argument
    add("--model", required=True, help="RUN or RUN/MODEL, a model's folder, or a checkpoint in it")
    add("--images", required=True, help="a folder, or a CSV with a column path (and id)")
    add("--out", type=Path, required=True, help="the CSV to write")
    precisions = ("auto", "bf16", "fp16", "no")
    add("--precision", choices=precisions, help="no: float32; default: the run's")
    add("--views", type=int, choices=(1, 4, 8), help="symmetries averaged; default: as the run did")
    bits = "of images of more than 8 bits; default: the training's"
    add("--bits", type=int, choices=CAMERA_BITS, help=bits)
    add("--strict", action="store_true", help="exit with 1 if a file cannot be read")
    add("--engine", choices=("plain", "ray"), default="plain", help="ray: on all cores or GPUs")
    return parser
