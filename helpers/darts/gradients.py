"""Compute the loss of a batch and its gradients, in one process or in several."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from helpers.training.loop import TrainingError

Batch = tuple[Tensor, Tensor]  # images (B, C, H, W) and targets (B,)
Loss = Callable[[Tensor, Tensor], Tensor]  # of logits (B, K) and targets (B,)
# turns this process's mean, and its number of images, into the mean over all processes' images
Average = Callable[[Tensor, int], Tensor]


class GradientError(TrainingError):
    """A loss or a derivative is not finite."""


def gradients(
    net: Callable[[Tensor], Tensor],
    loss_of: Loss,
    batch: Batch,
    parameters: Sequence[Tensor],
    average: Average | None = None,
) -> tuple[float, list[Tensor]]:
    """Return the loss of a batch and its gradients from one backward pass that fills no .grad.

    With `average` the batch is the share of one process; the results are those of the whole batch.

    Raises:
        GradientError: a gradient is not finite.
    """
    images, targets = batch
    loss = loss_of(net(images), targets)
    # zeros for parameters without a part in the loss: alpha of a kind of cell that is absent
    own = torch.autograd.grad(loss, parameters, materialize_grads=True)
    value, *grads = averaged([loss.detach(), *own], len(targets), average)
    return float(value), grads


def averaged(tensors: Sequence[Tensor], images: int, average: Average | None) -> list[Tensor]:
    """Turn means over this process's `images` images into means over those of all processes.

    Raises:
        GradientError: a number is not finite.
    """
    flat = torch.cat([t.flatten() for t in tensors])
    if average:
        flat = average(flat, images)
    if not flat.isfinite().all():
        raise GradientError(
            "search: a loss or derivative by alpha is not finite: lower LR or ALPHA_LR. With "
            "another setting the search starts from scratch"
        )
    parts = flat.split([t.numel() for t in tensors])
    return [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]
