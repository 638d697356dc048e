"""Independent trainings, one after another or on a Ray cluster: folds, seeds, candidate cells.

Ray is optional: `pip install ray`. The images travel with the jobs; the run's folder must be on a
disk that all machines of the cluster share, under the same path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from helpers.core import devices, paths
from helpers.training.loop import TrainingError

ENGINES = ("plain", "ray")


def run_all(jobs: Sequence[Callable[[], Any]], engine: str) -> list[Any]:
    """Call all jobs, and return their results in order.

    With "ray" one job runs on each GPU of the cluster, or on each core if this machine has none. A
    training on the CPU then has one thread and gives the bits of a process with one thread
    (`OMP_NUM_THREADS=1`); more threads add up in another order.

    Raises:
        TrainingError: Ray is not installed, or has failed. Errors of a job come as they are.
    """
    if engine == "plain":
        return [job() for job in jobs]
    try:
        import ray
    except ImportError:
        raise TrainingError(
            "--engine ray needs Ray: pip install ray, or use --engine plain"
        ) from None
    # joins the cluster that RAY_ADDRESS names, or starts one on this machine
    ray.init(include_dashboard=False, ignore_reinit_error=True, log_to_driver=False)
    cluster, on_gpu = ray.cluster_resources(), devices.default_device().type == "cuda"
    cpus = int(cluster.get("CPU", 1))
    threads = max(1, cpus // max(1, int(cluster.get("GPU", 0)))) if on_gpu else 1
    home = {"env_vars": {paths.HOME_VARIABLE: str(paths.home())}}
    remote = ray.remote(num_cpus=threads, num_gpus=int(on_gpu), runtime_env=home)(_call)
    held: Any = ray.put(list(jobs))  # once, with one copy of the images that the jobs share
    waiting = [remote.remote(held, index, threads) for index in range(len(jobs))]
    try:
        return [ray.get(one) for one in tqdm(waiting, desc="trainings on Ray")]
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise TrainingError(f"Ray stopped: {error}") from None


def _call(jobs: Sequence[Callable[[], Any]], index: int, threads: int) -> Any:
    torch.set_num_threads(threads)
    return jobs[index]()
