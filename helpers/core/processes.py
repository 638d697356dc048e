"""The processes of a training: one, or as many as `accelerate launch` or `torchrun` started.

Each process holds the whole model and takes its share of every batch. All step by the mean of their
gradients, so the weights stay the same everywhere. The main process alone writes files and makes
decisions that depend on files or the clock. With one process, everything here costs nothing.

    score = processes.from_main(read_score, path)  # the main process reads, all get the value
    if processes.is_main():
        files.save_json(path, score)
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor, nn

from helpers.core import devices

TIMEOUT = timedelta(minutes=10)  # for exchanging numbers: far longer than any step
# For work of the main process alone, such as decoding all images. A process that dies is noticed
# at once anyway, because its connections close.
PATIENCE = timedelta(hours=2)


class _Joined(NamedTuple):
    state: PartialState
    patient: dist.ProcessGroup | None  # on the CPU, for objects and for waiting; None: one process


@functools.cache
def _joined() -> _Joined:
    """Find the other processes, once: Accelerate reads the launcher's environment."""
    cpu = devices.default_device().type == "cpu"
    # Divide the cores among the CPU processes of one machine, unless OMP_NUM_THREADS is set.
    # A value of 1 does not count as set, because launchers write it by default.
    neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if cpu and neighbours > 1 and os.environ.get("OMP_NUM_THREADS", "1") == "1":
        known = hasattr(os, "sched_getaffinity")  # the cores that a container grants; Linux only
        cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
        threads = max(1, cores // neighbours)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)
    state = PartialState(cpu=cpu, timeout=TIMEOUT)
    alone = state.num_processes == 1
    return _Joined(state, None if alone else dist.new_group(backend="gloo", timeout=PATIENCE))


def device() -> torch.device:
    """Return this process's device: a GPU of its own, or the CPU."""
    return _joined().state.device


def share() -> tuple[int, int]:
    """Return (rank, processes): this process's number, from 0, and the number of processes."""
    state = _joined().state
    return state.process_index, state.num_processes


def count() -> int:
    """Return the number of processes on all machines."""
    return share()[1]


def is_main() -> bool:
    """Return True in the one process that writes and prints."""
    return share()[0] == 0


def device_name() -> str:
    """Return the devices of all processes in words, for run.json and the tables."""
    name = devices.device_name(device())
    return f"{count()} x ({name})" if count() > 1 else name


def wait() -> None:
    """Wait until all processes are here."""
    if count() > 1:
        dist.barrier(group=_joined().patient)


@contextmanager
def main_first() -> Iterator[None]:
    """Run a block in the main process first, and then in the others, which find its files."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()


def from_main(function: Callable, *arguments: Any) -> Any:
    """Call a function in the main process, and return its result in all processes.

    Use it for everything that processes must not see differently: files, the clock, a decision.
    """
    held = [function(*arguments) if is_main() else None]
    if count() > 1:
        dist.broadcast_object_list(held, src=0, group=_joined().patient)
    return held[0]


def gather(value: Any) -> list[Any]:
    """Return the values of all processes by rank."""
    values = [value] * count()
    if count() > 1:
        dist.all_gather_object(values, value, group=_joined().patient)
    return values


def gather_dealt(items: list[Any]) -> list[Any]:
    """Return all items in order, if item i was dealt to process i % P like a card."""
    hands = gather(items)
    total = sum(map(len, hands))
    return [hands[i % len(hands)][i // len(hands)] for i in range(total)]


def same_weights(model: nn.Module) -> None:
    """Give every process the parameters and buffers of the main one."""
    if count() == 1:
        return
    for tensor in model.state_dict().values():
        whole = tensor.contiguous()  # collectives take plain memory, not channels_last
        dist.broadcast(whole, 0)
        tensor.copy_(whole)


def average(vector: Tensor, images: int) -> Tensor:
    """Return the mean of a vector over all processes, weighted by the number of their images."""
    if count() == 1:
        return vector
    summed = torch.cat([vector * images, vector.new_tensor([images])])
    dist.all_reduce(summed)
    return summed[:-1] / summed[-1]


@torch.no_grad()
def average_buffers(model: nn.Module) -> None:
    """Average the running statistics of batch norm over the processes.

    In training, each share is normalised by its own statistics. The running statistics follow them
    linearly, so averaging now gives the same as averaging after every step.
    """
    buffers = [b for b in model.buffers() if b.is_floating_point()]
    if count() > 1 and buffers:
        _put(buffers, average(_flat(buffers), 1))


@torch.no_grad()
def average_gradients(
    parameters: Sequence[nn.Parameter], loss: Tensor | float, images: int
) -> tuple[float, int]:
    """Set each .grad to the gradient of the whole batch's loss; return that loss and its images.

    Everything travels in one all-reduce. If a gradient is not finite in one process, it is not
    finite in all, so that all skip the step (fp16) or stop together. A parameter without a gradient
    in all processes stays without one.

    Args:
        parameters: in the same order in all processes; an empty share has no gradients.
        loss: the mean over this process's share of `images` images.
    """
    like = parameters[0]
    held = [p.grad is not None for p in parameters]
    own = [torch.as_tensor(x).to(like) for x in (loss * images, images)]
    facts = torch.cat([torch.stack(own), like.new_tensor(held)])
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    summed = torch.cat([facts, _flat(grads) * images])
    dist.all_reduce(summed)
    total, whole, *holders = summed[: len(facts)].tolist()
    _put(grads, summed[len(facts) :] / whole)
    for parameter, grad, held_by in zip(parameters, grads, holders, strict=True):
        parameter.grad = grad if held_by else None
    return total / whole, round(whole)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])


def _put(tensors: Sequence[Tensor], flat: Tensor) -> None:
    parts = flat.split([t.numel() for t in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))


def leave() -> None:
    """Leave the other processes at the end of a successful run."""
    if count() > 1:
        dist.destroy_process_group()
