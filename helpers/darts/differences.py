"""Gradients of a batch's loss, and of the same loss nearby: what finite differences are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]  # images (B, C, H, W) and targets (B,)
Loss = Callable[[Tensor, Tensor], Tensor]  # of logits (B, K) and targets (B,)
# a vector that is a mean over so many images, to its mean over those of all processes
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
    """Loss of a batch and its gradients in one backward pass that fills no .grad.

    With `average` the batch is a process's share, and both are those of the whole batch.
    Raises GradientError for a gradient that is not finite.
    """
    images, targets = batch
    loss = loss_of(net(images), targets)
    # zeros where a parameter has no part in the loss: alpha of a kind of cell that is absent
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
    """Derivative from the values p at +eps and n at -eps (arXiv 1806.09055, equation 8)."""
    return (p - n) / (2 * eps)


@contextmanager
def moved(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> Iterator[None]:
    """Inside, the parameters have these values; after, their own again, bit for bit."""
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
    """All their numbers in one vector."""
    return torch.cat([t.flatten() for t in tensors])


def unflatten(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """`flatten` undone: views of the vector with the shapes of `like`."""
    parts = flat.split([t.numel() for t in like])
    return [part.view(t.shape) for part, t in zip(parts, like, strict=True)]
