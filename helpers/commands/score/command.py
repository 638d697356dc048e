"""Score any number of images with a trained model of the series, in constant memory:

    python -m helpers.score --model data/runs/RUN/checkpoints/fbp --images parts --out scores.csv

writes `path,id,defect_score` for each image, and `probability,verdict` (pass, look again, reject)
if the model has thresholds; the files that cannot be read go into scores.unreadable.csv. Images are
scored as in the model's own run, unless options say something else. If it is killed at any time,
the same command continues after the last complete part. A file that was replaced after it was
scored keeps its score until --restart.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm.auto import tqdm

from helpers.commands.cli import parser_of
from helpers.commands.score import ScoreError, listing
from helpers.commands.score.engine import PartScorer, score_on_ray
from helpers.commands.score.parts import Job, PartFiles, Settings, load_job, names_digest, record_of
from helpers.core import devices, files
from helpers.core.errors import UserError
from helpers.datasets.decoding import CAMERA_BITS, depth_of
from helpers.datasets.folder import SUFFIXES
from helpers.deploy.description import Description
from helpers.deploy.predictor import Opened, open_model
from helpers.training.inference import precision_of

PROBES = 64  # first images that are read to find the bits of deep ones


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 1 after an error reported on stderr, 130 after Ctrl-C."""
    parser = _parser()
    options, more = parser.parse_known_args(arguments)
    if more:  # the shell has turned a pattern into many arguments
        advice = "" if any(one.startswith("-") for one in more) else " (put a pattern in quotes)"
        parser.error(f"unrecognized arguments: {' '.join(more)}{advice}")
    try:
        unreadable = run(options)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f"Stopped. Complete parts are kept; the same command {options.again}continues.",
            file=sys.stderr,
        )
        return 130
    return int(options.strict and unreadable > 0)


def run(options: argparse.Namespace) -> int:
    """Score the parts that are missing, and join all parts if none is missing then.

    Returns:
        The number of files so far that cannot be read.

    Raises:
        ScoreError, ArtifactError: model, images or output cannot be used as they are.
    """
    check_options(options)
    (index, count), device = _place(options)
    out, images = options.out, listing.open_list(options.images)
    opened = open_model(options.model)
    facts = opened.facts
    before = None if options.restart else load_job(out)
    if before is None and out.exists() and not options.restart:
        raise ScoreError(
            f"{out} exists without {record_of(out)}, so it may hold something else: give another "
            "--out, or overwrite it with --restart"
        )
    bits = options.bits or (before.settings.bits if before else facts.full_scale_bits)
    first = (Path(entry.file) for entry in itertools.islice(images.entries(), PROBES))
    settings = Settings(
        # relative: machines may mount the disk at different places
        images=os.path.relpath(images.place, out.absolute().parent),
        model=", ".join(f"{file.name} ({files.file_digest(file)})" for file in opened.checkpoints),
        precision=precision_of(device, options.precision or facts.precision),
        views=options.views or facts.views,
        bits=bits or depth_of(list(first)).bits or 8,
        fit=facts.fit,
    )
    description, remark = _thresholds(opened, settings, device)
    job = _survey(images, settings, before, out)
    parts = PartFiles(out, job)
    if options.restart:
        parts.remove(index, count)
        options.again = "without --restart "
    files.save_json(parts.record, asdict(job))
    starts = range(0, job.count, listing.PART_IMAGES)
    sizes = [min(listing.PART_IMAGES, job.count - start) for start in starts]
    mine = range(index, len(sizes), count)
    todo = set(parts.check()[0]).intersection(mine)
    several, example = 0, ""
    began_s, left = time.monotonic(), sum(sizes[number] for number in todo)
    total = sum(sizes[number] for number in mine)
    if todo:
        entries = (part for number, part in enumerate(images.parts()) if number in todo)
        facts = replace(
            facts, precision=settings.precision, views=settings.views, full_scale_bits=settings.bits
        )
        given = (opened._replace(facts=facts), device, job.count, options.batch_size)
        if options.engine == "ray":
            scored = score_on_ray(*given, entries)
        else:
            scored = map(PartScorer(*given).score, entries)
        # one bar for all processes of a launcher; None: unless the output is not a terminal
        hidden = (index > 0 and options.shard is None) or None
        with tqdm(
            desc="score", unit="img", total=total, initial=total - left, disable=hidden
        ) as bar:
            # not strict, as the list may have become shorter
            for number, (rows, more) in zip(sorted(todo), scored, strict=False):
                parts.write(number, rows)
                several += len(more)
                example = example or next(iter(more), "")
                bar.update(len(rows))
    seconds = max(time.monotonic() - began_s, 1e-9)
    print(description.promise if description else remark)
    rate = f" in {seconds:.1f} s, {left / seconds:.1f} images/s" if left else ": nothing to do"
    print(f"{out}: {left} images{rate}")
    if left < total:
        print(f"{total - left} images were read by an earlier call; --restart reads them again")
    if several:
        print(
            f"{several} file(s) have several pages or frames, e.g. {example}; "
            "only the first is read"
        )
    missing, unreadable = parts.check()
    if own := set(missing).intersection(mine):
        raise ScoreError(
            f"{parts.path(min(own))} does not fit the list: {images.place} changed while it was "
            "scored, or another process started from scratch. Run the same command again, without "
            "--restart"
        )
    if missing:
        shards = ", ".join(f"{i}/{count}" for i in sorted({number % count for number in missing}))
        print(f"{out} is joined when all shards are complete; to do: {shards}", flush=True)
        return unreadable
    parts.join(description)
    where = f" ({parts.unreadable})" if unreadable else ""
    print(f"{out}: scored {job.count - unreadable}, unreadable {unreadable}{where}", flush=True)
    for line in images.left_out():
        print(f"left out: {line}", flush=True)
    return unreadable


def _thresholds(
    opened: Opened, settings: Settings, device: torch.device
) -> tuple[Description | None, str]:
    """Return the description whose thresholds fit scores with these settings, or None and why."""
    facts = opened.facts
    own = {
        "views": facts.views,
        "precision": precision_of(device, facts.precision),
        "bits": facts.full_scale_bits or 8,  # 8 if the training had no deep images
    }
    changed = ", ".join(
        f"--{name}" for name, value in own.items() if getattr(settings, name) != value
    )
    if opened.description and changed:
        return None, f"no verdicts: the thresholds are not for scores with this {changed}"
    return opened.description, opened.remark


def _survey(images: listing.ImageList, settings: Settings, before: Job | None, out: Path) -> Job:
    """Read the whole list once; refuse another one than that of `before`."""
    way_out = "give another --out, or start from scratch with --restart"
    if before and before.settings != settings:
        both = zip(asdict(before.settings).items(), asdict(settings).values(), strict=True)
        changed = "; ".join(f"{k} was {old}, now {new}" for (k, old), new in both if old != new)
        raise ScoreError(
            f"{out} was started with other settings: {changed}. Use the same, {way_out}"
        )
    count, digests = 0, list[str]()
    for part in images.parts():
        count += len(part)
        digests.append(names_digest(part))
    if not count:
        kinds = "line" if images.place.endswith(".csv") else f"image ({', '.join(SUFFIXES)})"
        raise ScoreError(f"{images.place} has no {kinds}")
    job = Job(settings, count, digests)
    if before and before != job:
        raise ScoreError(f"{images.place} changed since {out} was started: restore it, {way_out}")
    return job


def check_options(options: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is read."""
    out = options.out
    if out.is_dir():
        raise ScoreError(f"--out {out} is a folder; name a file in it, e.g. {out / 'scores.csv'}")
    table = Path(options.images).expanduser()
    if out.exists() and table.exists() and out.samefile(table):
        raise ScoreError(f"--out {out} is the list of images; give another file")
    if options.batch_size < 1:
        raise ScoreError(f"--batch-size {options.batch_size} must be 1 or more")


def _place(options: argparse.Namespace) -> tuple[tuple[int, int], torch.device]:
    shard, device = (0, 1), devices.default_device()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # started by accelerate launch or torchrun
        # The processes need no connection: the one that completes the last part joins all.
        if options.shard:
            raise ScoreError("--shard is for processes started by hand; the launcher shards itself")
        shard = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    elif options.shard:
        match = re.fullmatch(r"(\d+)/(\d+)", options.shard)
        if not match or int(match[1]) >= int(match[2]):
            raise ScoreError(
                f"--shard {options.shard}: write i/n with i from 0 to n - 1, e.g. 0/2 and 1/2"
            )
        shard = int(match[1]), int(match[2])
    if not options.device:
        return shard, device
    try:
        return shard, torch.empty(0, device=options.device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ScoreError(f"--device {options.device} cannot be used: {reason}") from None


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("score", __doc__)
    parser.set_defaults(again="")  # what to leave out of the command that continues
    add = parser.add_argument
    add(
        "--model",
        required=True,
        help="a model's folder, to average all its trainings, one checkpoint in it, or RUN or "
        "RUN/MODEL in data/runs",
    )
    add(
        "--images",
        required=True,
        help="a folder, a pattern in quotes, or a CSV with a column path (and id)",
    )
    add("--out", type=Path, required=True, help="the CSV to write")
    add("--batch-size", type=int, default=64, help="default: %(default)s; at most 512")
    precision = "auto: the fastest safe one; no: float32; default: as the run scored its own images"
    add("--precision", choices=("auto", "bf16", "fp16", "no"), help=precision)
    add("--device", help="cpu, cuda, cuda:1, mps; default: the fastest")
    views = (
        "average over 4 mirror images, or all 8 symmetries of the square; default: as the run did"
    )
    add("--views", type=int, choices=(1, 4, 8), help=views)
    add(
        "--bits",
        type=int,
        choices=CAMERA_BITS,
        help="of images of more than 8 bits; default: as in the model's training; if that had "
        "none, by the first images of the list",
    )
    add("--shard", metavar="I/N", help="score every N-th part only")
    add("--restart", action="store_true", help="start from scratch, in all shards")
    add("--strict", action="store_true", help="exit with 1 if a file cannot be read")
    add("--engine", choices=("plain", "ray"), default="plain", help="ray: on a Ray cluster")
    return parser
