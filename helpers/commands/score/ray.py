"""Scoring on a Ray cluster: parts of the list go to actors that hold the models.

An optional extra: `pip install .[ray]`. Every machine of the cluster must find the images under the
same path. The process that was started writes the parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from helpers.commands.score import ScoreError
from helpers.commands.score.engine import PartScorer
from helpers.commands.score.listing import Entry
from helpers.commands.score.parts import Part, Settings
from helpers.models.spec import Model

RETRIES = 3  # if an actor's machine is lost


def score_parts(
    models: Sequence[Model],
    settings: Settings,
    device: torch.device,
    images: int,
    batch_size: int,
    parts: Iterable[list[Entry]],
) -> Iterator[Part]:
    """Yield the scores of every part, in the list's order; the arguments are `PartScorer`'s.

    There is one actor for each GPU of the cluster if `device` is a GPU, else for each core.

    Raises:
        ScoreError: Ray is not installed, or an actor failed.
    """
    try:
        import ray
        from ray.util import ActorPool
    except ImportError:
        raise ScoreError(
            "--engine ray needs Ray: pip install .[ray], or use --engine plain"
        ) from None
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
