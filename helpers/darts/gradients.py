"""Compute the loss of a batch and its gradients, in one process or in several."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from helpers.core import processes
from helpers.training.loop import TrainingError

Batch = tuple[Tensor, Tensor]  # images (B, C, H, W) and targets (B,)
Loss = Callable[[Tensor, Tensor], Tensor]  # of logits (B, K) and targets (B,)


class GradientError(TrainingError):
    """A loss or a derivative is not finite."""


def gradients(
    net: Callable[[Tensor], Tensor], loss_of: Loss, batch: Batch, parameters: Sequence[Tensor]
) -> tuple[float, list[Tensor]]:
    """Return the loss of a batch and its gradients from one backward pass that fills no .grad.

    If there are several processes, the batch is the share of this one; the results are those of the
    whole batch.

    Raises:
        GradientError: a gradient is not finite.
    """
    images, targets = batch
    loss = loss_of(net(images), targets)
    # zeros for parameters without a part in the loss: alpha of a kind of cell that is absent
    own = torch.autograd.grad(loss, parameters, materialize_grads=True)
    flat = torch.cat([t.flatten() for t in (loss.detach(), *own)])
    value, *parts = finite(processes.average(flat, len(targets))).split(
        [1, *(p.numel() for p in parameters)]
    )
    return float(value), [part.view(p.shape) for part, p in zip(parts, parameters, strict=True)]


def finite(numbers: Tensor) -> Tensor:
    """Return the numbers; GradientError if one of them is not finite."""
    if not numbers.isfinite().all():
        raise GradientError(
            "search: a loss or derivative by alpha is not finite: lower LR or ALPHA_LR. With "
            "another setting the search starts from scratch"
        )
    return numbers
