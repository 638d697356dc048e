"""Score the listed images of a part, in this process or on a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from helpers.commands.score import ScoreError
from helpers.commands.score.listing import Entry
from helpers.commands.score.parts import Row
from helpers.deploy.predictor import Opened, TrainedModel

RETRIES = 3  # if the machine of a Ray actor is lost


class PartScorer:
    """Models that are ready on a device, and the threads that decode for them."""

    def __init__(
        self,
        opened: Opened,
        device: torch.device,
        images: int,
        batch_size: int = 64,
        threads: int = 0,
    ) -> None:
        """Make the scorers of all trainings, which see the same images; their scores are averaged.

        `images` will be scored in all; 0 `threads`: a launcher's processes divide the cores.
        """
        self.model, self.batch_size = TrainedModel(opened, device, images), batch_size
        neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        # Pillow frees the interpreter lock while it decodes and resizes, so threads are enough.
        self.pool = ThreadPoolExecutor(threads or max(1, (os.cpu_count() or 1) // neighbours))

    def score(self, entries: list[Entry]) -> tuple[list[Row], list[str]]:
        """Return the rows of a part and the paths of its images with several pages or frames.

        `TrainedModel.answers` says what is raised.
        """
        answers = self.model.answers([one.file for one in entries], self.pool, self.batch_size)
        rows: list[Row] = []
        several: list[str] = []
        for entry, answer in zip(entries, answers, strict=True):
            score = "" if answer.reason else f"{answer.score:.9g}"
            rows.append(Row(entry.path, entry.id, score, answer.reason))
            if answer.has_more:
                several.append(entry.path)
        return rows, several


def score_on_ray(
    opened: Opened,
    device: torch.device,
    images: int,
    batch_size: int,
    parts: Iterable[list[Entry]],
) -> Iterator[tuple[list[Row], list[str]]]:
    """Yield `PartScorer.score` of every part in the list's order; the arguments are the class's.

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
    given = (ray.put(opened), torch.device(device.type), images, batch_size, threads)
    pool: Any = ActorPool([remote.remote(*given) for _ in range(actors)])
    try:
        yield from pool.map(lambda actor, entries: actor.score.remote(entries), parts)
    except ray.exceptions.RayError as error:
        raise ScoreError(f"Ray stopped: {getattr(error, 'cause', None) or error}") from None
