"""Score any number of images with a trained model of the series, in constant memory:

    python -m helpers.score --model checkpoints/fbp.safetensors --images parts --out scores.csv

writes `path, id, defect_score` for each image, and the files that cannot be read into
scores.unreadable.csv. Killed at any time, the same command goes on after the last whole piece;
images that were added behind those that are done are scored by running it again.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from tqdm.auto import tqdm

from helpers.commands.score import ScoreError, engine
from helpers.commands.score.files import Result, ScoreFiles
from helpers.commands.score.generations import generation_of, outdated, unfinished
from helpers.commands.score.listing import ImageList, Shard, open_list, parse_shard
from helpers.commands.score.merge import merge, withdraw
from helpers.commands.score.progress import Progress, load_progress, shard_path, unreadable_path
from helpers.commands.score.resume import Remaining, survey
from helpers.core import devices
from helpers.core import files as artifacts
from helpers.datasets.decoding import CAMERA_BITS
from helpers.models import backbones
from helpers.training.inference import precision_of


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns 0, 1 after an error that was told on stderr, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        progress = _merge(options) if options.merge else run(options)
    except (ScoreError, artifacts.ArtifactError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        again = "without --restart " if options.restart else ""
        print(
            f"Stopped. What was written is kept; the same command {again}goes on.", file=sys.stderr
        )
        return 130
    return int(options.strict and progress.unreadable > 0)


def run(options: argparse.Namespace) -> Progress:
    """Score what is not scored yet; join the shards when this was the last one.

    Raises:
        ScoreError, ArtifactError: model, images or output cannot be used as they are.
    """
    check_options(options)
    shard, device = place(options)
    out = shard_path(options.out, shard)
    images = open_list(options.images[0])
    model = backbones.load_model(options.model)
    settings = _settings(options, images, out, device)
    key = _key(settings, images, shard)
    generation = generation_of(options.out, shard, options.restart) if shard.count > 1 else 0
    with ScoreFiles(out, key, options.restart, generation) as files:
        if shard.count > 1 and options.restart:
            withdraw(options.out, key)
        before = files.progress
        listed = survey(images, shard, before, out)
        if before.complete and before.position == listed:
            print(f"{out} is whole: nothing to do. {_summary(out, before)}")
        else:
            settings = dataclasses.replace(settings, listed=listed)
            remaining = Remaining(images, shard, before)
            hidden = shard.index > 0 and options.shard is None  # one bar for all of a launcher
            with tqdm(
                desc="score",
                unit="img",
                total=shard.share(listed),
                initial=shard.share(before.position),
                disable=hidden or None,  # None: unless the output is no terminal
            ) as bar:
                stream = _engine(options.engine)(model, remaining, settings, device, bar.update)
                rate = _write(files, remaining, stream)
            print(f"{out}: {rate}. {_summary(out, files.progress)}", flush=True)
    if shard.count > 1:
        _join(options.out, shard, options.restart)
    return files.progress


def check_options(options: argparse.Namespace) -> None:
    """Refuse what cannot work, before anything is read."""
    missing = [f"--{name}" for name in ("model", "images", "out") if not getattr(options, name)]
    if missing:
        raise ScoreError(f"{', '.join(missing)} must be given")
    if len(options.images) > 1:
        raise ScoreError(
            "--images takes one folder, CSV or pattern; put a pattern in quotes, e.g. "
            "--images 'parts/*.png'"
        )
    out = options.out
    if out.is_dir():
        raise ScoreError(f"--out {out} is a folder; name a file in it, e.g. {out / 'scores.csv'}")
    if not out.absolute().parent.is_dir():
        raise ScoreError(f"--out {out}: the folder {out.parent} does not exist; create it first")
    table = Path(options.images[0]).expanduser()
    if out.exists() and table.exists() and out.samefile(table):
        raise ScoreError(f"--out {out} is the list of images; give another file")
    if options.batch_size < 1:
        raise ScoreError(f"--batch-size {options.batch_size} must be 1 or more")


def place(options: argparse.Namespace) -> tuple[Shard, torch.device]:
    """Which images this process takes, and on which device."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # started by accelerate launch or torchrun
        if options.shard:
            raise ScoreError("--shard is for processes started by hand; the launcher shards itself")
        from accelerate import PartialState  # slow to import; only where it is used

        state = PartialState(cpu=devices.default_device().type == "cpu")
        # The processes never wait for each other: the last one to finish joins the files.
        state.destroy_process_group()
        shard, device = Shard(state.process_index, state.num_processes), state.device
    else:
        shard = parse_shard(options.shard) if options.shard else Shard()
        device = devices.default_device()
    return shard, _checked_device(options.device) if options.device else device


def _write(files: ScoreFiles, remaining: Remaining, stream: Iterator[list[Result]]) -> str:
    """Write the pieces as they come; how many images there were, and how fast."""
    started, before = time.monotonic(), files.progress
    for results in stream:
        last = results[-1].entry
        files.commit(results, last.position + 1, last.digest)
    files.commit([], remaining.position, remaining.digest, complete=True)
    seconds = time.monotonic() - started
    done = files.progress.scored + files.progress.unreadable - before.scored - before.unreadable
    return f"{done} images in {seconds:.1f} s, {done / max(seconds, 1e-9):.1f} images/s"


def _summary(out: Path, progress: Progress) -> str:
    unreadable = f", unreadable: {progress.unreadable}"
    if progress.unreadable:
        unreadable += f" ({unreadable_path(out)})"
    return f"Scored: {progress.scored}{unreadable}"


def _settings(
    options: argparse.Namespace, images: ImageList, out: Path, device: torch.device
) -> engine.ScoreSettings:
    # as in training, where it had deep images; what was begun goes on with the bits found then
    probed = engine.probe_bits(images)
    chosen = backbones.bits_of(options.model) or probed
    before = None if options.restart else load_progress(out)
    found = before.key.get("bits", chosen) if before else chosen
    return engine.ScoreSettings(
        model=options.model.absolute(),
        precision=precision_of(device, options.precision),
        bits=options.bits or found,
        flips=options.flips,
        batch_size=options.batch_size,
    )


def _key(settings: engine.ScoreSettings, images: ImageList, shard: Shard) -> dict:
    """What must be the same for a scoring to go on."""
    return {
        "images": images.place,
        "model": f"{settings.model.name} ({artifacts.file_digest(settings.model)})",
        "precision": settings.precision,
        "flips": settings.flips,
        "bits": settings.bits,
        "shard": str(shard),
    }


def _engine(name: str) -> Callable:
    if name == "plain":
        return engine.score_stream
    from helpers.commands.score import ray

    return ray.score_stream


def _checked_device(name: str) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ScoreError(f"--device {name} cannot be used: {reason}") from None


def _join(out: Path, shard: Shard, restart: bool) -> None:
    left = unfinished(out, shard)
    if not left:
        merged = merge(out, restart)
        print(f"All {shard.count} shards are whole, joined in {out}. {_summary(out, merged)}")
        return
    print(f"{out} is joined when all shards are whole; to do: {', '.join(map(str, left))}")
    if old := outdated(out, shard.count):
        print(
            f"Begun before another shard was begun anew: {', '.join(map(str, old))}. Run with "
            "--restart what isn't running yet, or, if its images are still the same, join all "
            f"shards as they are with --merge {out} --restart"
        )


def _merge(options: argparse.Namespace) -> Progress:
    merged = merge(options.merge, options.restart)
    print(f"{options.merge} holds all shards. {_summary(options.merge, merged)}")
    return merged


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m helpers.score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", type=Path, help="a checkpoint of the series: data/runs/RUN/checkpoints/*")
    add(
        "--images",
        nargs="+",
        metavar="IMAGES",
        help="a folder, a pattern in quotes, or a CSV with a column path (and id)",
    )
    add("--out", type=Path, help="the CSV to write")
    add("--batch-size", type=int, default=64, help="default: %(default)s")
    add("--precision", choices=("auto", "bf16", "fp16", "no"), default="auto")
    add("--device", help="cpu, cuda, cuda:1, mps; default: the fastest")
    add("--flips", action="store_true", help="average over four mirror images")
    add(
        "--bits",
        type=int,
        choices=CAMERA_BITS,
        help="of images of more than 8 bits; default: as in the model's training; where that had "
        "none, by the first images of the list",
    )
    add("--shard", metavar="I/N", help="score every N-th image only, into <out>.IofN.csv")
    add("--merge", type=Path, metavar="OUT", help="join the shards of OUT and do nothing else")
    add("--restart", action="store_true", help="begin anew, overwriting what is there")
    add("--strict", action="store_true", help="exit with 1 when a file cannot be read")
    add("--engine", choices=("plain", "ray"), default="plain", help="ray: on a Ray cluster")
    return parser
