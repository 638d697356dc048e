"""From listed images to probabilities of bad: decoded ahead in threads, scored in batches."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from helpers.commands.score import ScoreError
from helpers.commands.score.files import Result
from helpers.commands.score.listing import Entry, ImageList
from helpers.datasets.decoding import (
    DECODE_ERRORS,
    BitsFound,
    deep_bits,
    read_pixels,
    resize,
    unreadable_reason,
)
from helpers.datasets.folder import SUFFIXES
from helpers.models.backbones import Model
from helpers.models.spec import ModelSpec
from helpers.training.batches import normalise, to_float
from helpers.training.inference import placed, probability_of_bad, run_batches, score_runner

PROBES = 64  # images looked at to tell the bits of deep ones
PIECE = 512  # images between two writes: what a kill can cost; seconds of work on a CPU


@dataclass(frozen=True)
class ScoreSettings:
    """What the scores depend on, and how they are computed."""

    model: Path
    precision: str  # "bf16", "fp16" or "no"
    bits: int  # that fill the range of images of more than 8 bits
    flips: bool = False
    batch_size: int = 64
    listed: int = 0  # images of the whole list: many are worth a compilation

    @property
    def piece(self) -> int:
        """Images between two writes: whole batches, about `PIECE`."""
        return self.batch_size * max(1, round(PIECE / self.batch_size))


class Decoded(NamedTuple):
    """One image at the model's size, or why it cannot be read."""

    entry: Entry
    pixels: np.ndarray | None  # (S, S, 1) gray or (S, S, 3), uint8
    reason: str = ""


class PieceBatches:
    """The readable ones among some decoded images as batches, once."""

    def __init__(
        self, decoded: Iterable[Decoded], spec: ModelSpec, batch_size: int, device: torch.device
    ) -> None:
        self.decoded, self.spec = iter(decoded), spec
        self.batch_size, self.device = batch_size, device
        self.results: list[Result] = []  # of all images so far; scores are filled in later
        self._batches = self._read()
        self._first = next(self._batches, None)

    def __bool__(self) -> bool:
        """Whether any image can be read."""
        return self._first is not None

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Yield (B, C, H, W) float32 in the list's order."""
        first = [] if self._first is None else [self._first]
        return itertools.chain(first, self._batches)

    def _read(self) -> Iterator[torch.Tensor]:
        readable = (item for item in self.decoded if self._noted(item))
        while batch := list(itertools.islice(readable, self.batch_size)):
            found = [item.pixels for item in batch if item.pixels is not None]
            pixels = torch.from_numpy(stack(found))
            yield normalise(to_float(pixels, self.device), self.spec)

    def _noted(self, item: Decoded) -> bool:
        self.results.append(Result(item.entry, None, item.reason))
        return item.pixels is not None


class Scorer:
    """A model made ready on a device, and the threads that decode for it."""

    def __init__(
        self,
        model: Model,
        settings: ScoreSettings,
        device: torch.device,
        threads: int | None = None,
    ) -> None:
        """Take a model as `backbones.load_model` gives it."""
        self.spec, self.settings, self.device = model.spec, settings, device
        placed(model, device)
        self.run = score_runner(model, settings.listed, settings.precision)
        self.threads = threads or decoding_threads()

    def stream(
        self, entries: Iterable[Entry], advance: Callable[[], object] = int
    ) -> Iterator[list[Result]]:
        """Yield the results of every piece of a list, in its order; memory is that of one piece.

        Args:
            entries: read no further than two batches ahead.
            advance: called for each image that goes into a batch, or cannot be read.

        Raises:
            ScoreError: the model gave no number.
        """
        size_px, bits = self.spec.image_size_px, self.settings.bits
        ahead = 2 * self.settings.batch_size
        with closing(decode_ahead(entries, size_px, bits, ahead, self.threads)) as decoded:
            counted = _counted(decoded, advance)
            while results := self._score(itertools.islice(counted, self.settings.piece)):
                yield results

    def _score(self, decoded: Iterable[Decoded]) -> list[Result]:
        """The results of one piece, in its order."""
        settings = self.settings
        batches = PieceBatches(decoded, self.spec, settings.batch_size, self.device)
        if not batches:
            return batches.results
        raw = run_batches(self.run, batches, settings.flips)
        scores = iter(probability_of_bad(raw, settings.flips).tolist())
        results = [r if r.reason else r._replace(score=next(scores)) for r in batches.results]
        for result in results:
            if result.score is not None and not np.isfinite(result.score):
                raise ScoreError(
                    f"{settings.model} gives no number for {result.entry.path}; try --precision no"
                )
        return results


def score_stream(
    model: Model,
    entries: Iterable[Entry],
    settings: ScoreSettings,
    device: torch.device,
    advance: Callable[[], object] = int,
) -> Iterator[list[Result]]:
    """The results of every piece of a list, scored in this process; see `Scorer.stream`."""
    return Scorer(model, settings, device).stream(entries, advance)


def decode_ahead(
    entries: Iterable[Entry], size_px: int, bits: int, ahead: int, threads: int
) -> Generator[Decoded, None, None]:
    """Decode in threads, at most `ahead` images before the one that is asked for."""
    entries = iter(entries)
    # Pillow frees the interpreter lock while it decodes and resizes, so threads are enough.
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Decoded]] = deque()
    try:
        for entry in itertools.islice(entries, ahead):
            waiting.append(pool.submit(decode, entry, size_px, bits))
        while waiting:
            done = waiting.popleft().result()
            for entry in itertools.islice(entries, 1):
                waiting.append(pool.submit(decode, entry, size_px, bits))
            yield done
    finally:
        pool.shutdown(cancel_futures=True)


def decode(entry: Entry, size_px: int, bits: int) -> Decoded:
    """One image as the cache of the series holds it, gray or colour by its own pixels."""
    path = Path(entry.file)
    if not path.is_file():  # a pipe would never end
        return Decoded(entry, None, "not a file" if path.exists() else "No such file or directory")
    try:
        resized = resize(read_pixels(path, bits), size_px)
    except DECODE_ERRORS as error:
        return Decoded(entry, None, unreadable_reason(path, error))
    except BitsFound as found:
        reason = f"it uses {found.bits} bits, the scale is of {bits}: see --bits"
        return Decoded(entry, None, reason)
    return Decoded(entry, resized if resized.ndim == 3 else resized[..., None])


def stack(pixels: list[np.ndarray]) -> np.ndarray:
    """Images (S, S, 1) and (S, S, 3) as one batch (B, S, S, 1), or (B, S, S, 3) with colour."""
    channels = max(image.shape[2] for image in pixels)
    return np.stack([np.broadcast_to(p, (*p.shape[:2], channels)) for p in pixels])


def _counted(decoded: Iterable[Decoded], advance: Callable[[], object]) -> Iterator[Decoded]:
    for item in decoded:
        advance()
        yield item


def decoding_threads() -> int:
    """Cores for each of the processes that a launcher has started on this machine."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, (os.cpu_count() or 1) // processes)


def probe_bits(images: ImageList) -> int:
    """The bits that deep images use, by the first images of the list; 16 where none is deep.

    Raises:
        ScoreError: there is no image.
    """
    first = [Path(e.file) for e in itertools.islice(images.entries(), PROBES)]
    if not first:
        kinds = "line" if images.place.endswith(".csv") else f"image ({', '.join(SUFFIXES)})"
        raise ScoreError(f"{images.place} holds no {kinds}")
    return deep_bits(first) or 16
