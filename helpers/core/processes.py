"""The processes of a training: one, or as many as `accelerate launch` or `torchrun` have started.

Each process holds the whole model and takes its share of every batch; the gradients' mean over all
of them is what every process steps by, so that the weights are the same everywhere, always. The
main process alone writes files and decides what depends on files or the clock. Where nothing was
launched there is one process, and everything here does nothing, at no cost.
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

TIMEOUT = timedelta(minutes=10)  # of the numbers' exchange: far above any step, so a peer is lost
# of waiting for what the main process does alone: decoding all images, say. A process that dies
# is noticed at once all the same: its connections close.
PATIENCE = timedelta(hours=2)


class _Joined(NamedTuple):
    state: PartialState
    patient: dist.ProcessGroup | None  # on the CPU, for objects and for waiting; None: alone


@functools.cache
def _joined() -> _Joined:
    """Find the other processes, once: Accelerate reads the launcher's environment."""
    cpu = devices.default_device().type == "cpu"
    if cpu:
        _take_threads()
    state = PartialState(cpu=cpu, timeout=TIMEOUT)
    alone = state.num_processes == 1
    return _Joined(state, None if alone else dist.new_group(backend="gloo", timeout=PATIENCE))


def _take_threads() -> None:
    """CPU processes on one machine divide its cores, unless OMP_NUM_THREADS says otherwise.

    A value of 1 says nothing: launchers set it where the user has not.
    """
    neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if neighbours > 1 and os.environ.get("OMP_NUM_THREADS", "1") == "1":
        known = hasattr(os, "sched_getaffinity")  # the cores that a container grants; Linux only
        cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
        threads = max(1, cores // neighbours)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)


def device() -> torch.device:
    """This process's device: a GPU of its own, or the CPU."""
    return _joined().state.device


def share() -> tuple[int, int]:
    """(rank, processes): this process's number, from 0, and how many there are."""
    state = _joined().state
    return state.process_index, state.num_processes


def count() -> int:
    """How many processes there are, on all machines."""
    return share()[1]


def is_main() -> bool:
    """True in the one process that writes and prints."""
    return share()[0] == 0


def device_name() -> str:
    """The devices of all processes in words, for run.json and the tables."""
    name = devices.device_name(device())
    return f"{count()} x ({name})" if count() > 1 else name


def wait() -> None:
    """Go on when all processes have come here."""
    if count() > 1:
        dist.barrier(group=_joined().patient)


@contextmanager
def main_first() -> Iterator[None]:
    """The main process does the block while the others wait; then they do it and find its files."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()


def from_main(function: Callable, *arguments: Any) -> Any:
    """What the main process gets from the call; the others do not call it, but get its value.

    For all that processes must not see differently: files, the clock, a decision.
    """
    held = [function(*arguments) if is_main() else None]
    if count() > 1:
        dist.broadcast_object_list(held, src=0, group=_joined().patient)
    return held[0]


def gather(value: Any) -> list[Any]:
    """The values of all processes by rank, everywhere."""
    values = [value] * count()
    if count() > 1:
        dist.all_gather_object(values, value, group=_joined().patient)
    return values


def gather_dealt(items: list[Any]) -> list[Any]:
    """One list from items dealt like cards, item i to process i % P: in order, each once."""
    hands = gather(items)
    total = sum(map(len, hands))
    return [hands[i % len(hands)][i // len(hands)] for i in range(total)]


def same_weights(model: nn.Module) -> None:
    """Give every process the main one's parameters and buffers."""
    if count() == 1:
        return
    for tensor in model.state_dict().values():
        whole = tensor.contiguous()  # collectives take plain memory, not channels_last
        dist.broadcast(whole, 0)
        tensor.copy_(whole)


def average(vector: Tensor, images: int) -> Tensor:
    """The mean of a vector over all processes' images, where each has the mean over its own."""
    if count() == 1:
        return vector
    summed = torch.cat([vector * images, vector.new_tensor([images])])
    dist.all_reduce(summed)
    return summed[:-1] / summed[-1]


@torch.no_grad()
def average_buffers(model: nn.Module) -> None:
    """Bring batch norm's running statistics to their mean over the processes.

    In training each share is normalised by its own statistics, as usual. The running ones follow
    them linearly: their mean now is what averaging them after every step would have given. The
    variance is that within shares, without that of the shares' means.
    """
    buffers = [b for b in model.buffers() if b.is_floating_point()]
    if count() > 1 and buffers:
        _put(buffers, average(_flat(buffers), 1))


@torch.no_grad()
def average_gradients(
    parameters: Sequence[nn.Parameter], loss: Tensor | float, images: int
) -> tuple[float, int]:
    """Put into each .grad the gradient of the whole batch's loss; give that loss and its images.

    One all-reduce of everything. `loss` is the mean over the `images` of this process's share; an
    empty one has no .grad.
    What is not finite in one process's share becomes so in all, so that all skip the step (fp16)
    or stop together. A parameter without a gradient everywhere stays without one.
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
    """Part from the other processes, at the end of a run that went well."""
    if count() > 1:
        dist.destroy_process_group()
