"""Gradients of a batch's loss and differences of them: what both Hessian products are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]  # images (B, C, H, W) and targets (B,)
Loss = Callable[[Tensor, Tensor], Tensor]  # of logits (B, K) and targets (B,)
# takes a vector that is a mean over so many images to the mean over the images of all processes
Average = Callable[[Tensor, int], Tensor]


class GradientError(ValueError):
    """A gradient is not finite."""


def gradients(
    net: nn.Module,
    loss_of: Loss,
    batch: Batch,
    parameters: Sequence[Tensor],
    average: Average | None = None,
) -> tuple[float, list[Tensor]]:
    """Return the loss of a batch and its gradients from one backward pass that fills no .grad.

    With `average` the batch is the share of one process, and both are those of the whole batch.

    Raises:
        GradientError: a gradient is not finite.
    """
    images, targets = batch
    loss = loss_of(net(images), targets)
    # zeros for parameters without a part in the loss: alpha of a kind of cell that is absent
    flat = flatten(torch.autograd.grad(loss, parameters, materialize_grads=True))
    if average:
        both = average(torch.cat([loss.detach()[None].to(flat), flat]), len(targets))
        loss, flat = both[0], both[1:]
    if not flat.isfinite().all():
        raise GradientError(
            "the architecture step met a gradient that is not finite: lower the learning rate of "
            "the weights, or that of alpha"
        )
    return float(loss.detach()), unflatten(flat, parameters)


def central_difference(p: Tensor, n: Tensor, eps: float) -> Tensor:
    """Return the derivative from the values p at +eps and n at -eps (arXiv 1806.09055, eq. 8)."""
    return (p - n) / (2 * eps)


@contextmanager
def moved(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> Iterator[None]:
    """Give the parameters other values inside; after, they have their own again, bit for bit."""
    saved = [p.detach().clone() for p in parameters]
    try:
        _put(parameters, values)
        yield
    finally:
        _put(parameters, saved)


@torch.no_grad()
def _put(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """Return all their numbers in one vector."""
    return torch.cat([t.flatten() for t in tensors])


def unflatten(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Undo `flatten`: return views of the vector with the shapes of `like`."""
    parts = flat.split([t.numel() for t in like])
    return [part.view(t.shape) for part, t in zip(parts, like, strict=True)]


@contextmanager
def true_float32(device: torch.device) -> Iterator[None]:
    """Compute float32 as float32 inside: no autocast, no TF32, no bf16 inside products."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in _float32_switches()]
    try:
        older = torch.get_float32_matmul_precision()
    except RuntimeError:  # the newer settings, set since, contradict the older one
        older = None
    try:
        # Both generations of settings: torch refuses to multiply while they contradict each other.
        torch.set_float32_matmul_precision("highest")
        for owner, name, exact in _float32_switches():
            setattr(owner, name, exact)
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if older is not None:
            torch.set_float32_matmul_precision(older)
        for owner, name, value in before:
            setattr(owner, name, value)


def _float32_switches() -> list[tuple[Any, str, Any]]:
    """Return (owner, attribute, exact value) of the settings that let products be rounded."""
    backends: Any = torch.backends
    if not hasattr(backends.cudnn, "conv"):  # before torch 2.9
        return [(backends.cuda.matmul, "allow_tf32", False), (backends.cudnn, "allow_tf32", False)]
    owners = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul)
    return [(owner, "fp32_precision", "ieee") for owner in (*owners, backends.mkldnn.conv)]
