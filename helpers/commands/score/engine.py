"""Score the listed images of a part, in this process or on a Ray cluster."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from helpers.commands.score import ScoreError
from helpers.commands.score.listing import Entry
from helpers.commands.score.parts import Part, Row, Settings
from helpers.datasets.decoding import DECODE_ERRORS, BitsFound, read_image, unreadable_reason
from helpers.deploy.predictor import Averaged, square
from helpers.models.spec import Model

RETRIES = 3  # if the machine of a Ray actor is lost


class _Decoded(NamedTuple):
    pixels: np.ndarray
    reason: str
    has_more: bool = False


class PartScorer:
    """Models that are ready on a device, and the threads that decode for them."""

    def __init__(
        self,
        models: Sequence[Model],
        settings: Settings,
        device: torch.device,
        images: int,
        batch_size: int = 64,
        threads: int = 0,
    ) -> None:
        """Make the scorers of all models, which see the same images; their scores are averaged.

        `images` will be scored in all; 0 `threads`: a launcher's processes divide the cores.
        """
        self.settings, self.batch_size = settings, batch_size
        self.averaged = Averaged(models, settings.views, settings.precision, device, images)
        neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        # Pillow frees the interpreter lock while it decodes and resizes, so threads are enough.
        self.pool = ThreadPoolExecutor(threads or max(1, (os.cpu_count() or 1) // neighbours))

    def score(self, entries: list[Entry]) -> Part:
        """Score the images of one part.

        Raises:
            ScoreError: the model gives a score that is not a number.
        """
        # the threads decode ahead of the batches that are scored
        decoded = zip(entries, self.pool.map(self._decode, entries), strict=True)
        rows: list[Row] = []
        several: list[str] = []
        while batch := list(itertools.islice(decoded, self.batch_size)):
            readable = [one.pixels for _, one in batch if not one.reason]
            scores = iter(self.averaged.scores(readable) if readable else ())
            for entry, one in batch:
                score = "" if one.reason else f"{next(scores):.9g}"
                if score == "nan":
                    raise ScoreError(
                        f"{self.settings.model} gives no number for {entry.path}; "
                        "try --precision no"
                    )
                rows.append(Row(entry.path, entry.id, score, one.reason))
                if one.has_more:
                    several.append(entry.path)
        return Part(entries[-1].part, rows, entries[-1].digest, tuple(several))

    def _decode(self, entry: Entry) -> _Decoded:
        """Return pixels (S, S, 1 or 3) uint8, or none and why it cannot be read."""
        path = Path(entry.file)
        try:
            picture = read_image(path, self.settings.bits)
            pixels = square(picture, self.averaged.spec.image_size_px, self.settings.fit)
        except DECODE_ERRORS as error:
            return _Decoded(np.empty(0), unreadable_reason(path, error))
        except BitsFound as found:
            scale = f"the scale is of {self.settings.bits}: see --bits"
            return _Decoded(np.empty(0), f"it uses {found.bits} bits, {scale}")
        return _Decoded(pixels, "", picture.has_more)


def score_on_ray(
    models: Sequence[Model],
    settings: Settings,
    device: torch.device,
    images: int,
    batch_size: int,
    parts: Iterable[list[Entry]],
) -> Iterator[Part]:
    """Yield the scores of every part, in the list's order; the arguments are `PartScorer`'s.

    Parts go to actors that hold the models: one for each GPU of the cluster if `device` is a GPU,
    else for each core. Every machine of the cluster must find the images under the same path.

    Raises:
        ScoreError: Ray is not installed, or an actor failed.
    """
    try:
        import ray
        from ray.util import ActorPool
    except ImportError:
        raise ScoreError("--engine ray needs Ray: pip install ray, or use --engine plain") from None
    # joins the cluster that RAY_ADDRESS names, or starts one on this machine
    ray.init(include_dashboard=False, ignore_reinit_error=True)
    cluster, on_gpu = ray.cluster_resources(), device.type == "cuda"
    cpus = int(cluster.get("CPU", 1))
    actors = max(1, int(cluster.get("GPU", 0)) if on_gpu else cpus)
    threads = max(1, cpus // actors)
    remote = ray.remote(
        num_cpus=threads, num_gpus=int(on_gpu), max_restarts=RETRIES, max_task_retries=RETRIES
    )(PartScorer)
    given = (ray.put(models), settings, torch.device(device.type), images, batch_size, threads)
    pool: Any = ActorPool([remote.remote(*given) for _ in range(actors)])
    try:
        yield from pool.map(lambda actor, entries: actor.score.remote(entries), parts)
    except ray.exceptions.RayError as error:
        raise ScoreError(f"Ray stopped: {getattr(error, 'cause', None) or error}") from None
