"""Take the alpha steps of the search (DARTS, Algorithm 1), of first and second order.

Source: Liu et al. 2018, arXiv 1806.09055, equations 5 to 8. "alpha" is everything that
`net.architecture_parameters()` returns; with partial channels this includes the edge weights beta.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from helpers.training.loop import TrainingError

BETAS = (0.5, 0.999)  # of Adam (arXiv 1806.09055, appendix A.1)
EPSILON = 0.01  # of equation 8: the length of its steps from w
# Learning rate of beta divided by that of alpha. At equal rates (PC-DARTS) beta learns faster, and
# an edge whose beta falls never learns its operation: see "differ" in `tests/benchmarks`.
BETA_RATE = 0.1

Batch = tuple[Tensor, Tensor]  # images (B, C, H, W) and targets (B,)
Loss = Callable[[Tensor, Tensor], Tensor]  # of logits (B, K) and targets (B,)


class GradientError(TrainingError):
    """A loss or a derivative is not finite."""


def gradients(
    net: Callable[[Tensor], Tensor], loss_of: Loss, batch: Batch, parameters: Sequence[Tensor]
) -> tuple[float, list[Tensor]]:
    """Return the loss of a batch and its gradients from one backward pass that fills no .grad."""
    images, targets = batch
    loss = loss_of(net(images), targets)
    # zeros for parameters that the loss does not use: alpha of a kind of cell that is absent
    grads = torch.autograd.grad(loss, parameters, materialize_grads=True)
    if not all(value.isfinite().all() for value in (loss, *grads)):
        wrong = "search: a loss or derivative by alpha is not finite: lower LR or ALPHA_LR"
        raise GradientError(f"{wrong}. With another setting the search starts from scratch")
    return float(loss.detach()), list(grads)


class Architect:
    """Adam on alpha, by the gradient of the validation loss at w (order 1) or at w' (order 2).

    `net` is a `Supernet` or any module with the methods `architecture_parameters()` (alpha) and
    `weight_parameters()` (w). A step changes alpha and the state of Adam, but not w, and no .grad
    or SGD buffer of w.
    """

    def __init__(
        self, net: Any, loss_of: Loss, order: int = 1, lr: float = 3e-4, weight_decay: float = 1e-3
    ) -> None:
        self.net, self.loss_of, self.order = net, loss_of, order
        slow = {p for name, p in net.named_parameters() if name.startswith("beta_")}
        parameters = net.architecture_parameters()
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p not in slow]},
            {"params": [p for p in parameters if p in slow], "lr": BETA_RATE * lr},
        ]
        self.adam = torch.optim.Adam(groups, lr=lr, betas=BETAS, weight_decay=weight_decay)

    def step(self, val: Batch, train: Batch | None = None, optimizer: Any = None) -> float:
        """Take one step of alpha; return the validation loss before it.

        Order 2 also needs the batch `train` and the SGD `optimizer` of w: its lr (xi), momentum
        buffers and weight decay.
        """
        loss, grads = self.gradient(val, train, optimizer)
        for alpha, grad in zip(self.net.architecture_parameters(), grads, strict=True):
            alpha.grad = grad
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        return loss

    def gradient(
        self, val: Batch, train: Batch | None = None, optimizer: Any = None
    ) -> tuple[float, list[Tensor]]:
        """Return the validation loss and its gradients for `net.architecture_parameters()`."""
        if self.order == 2:
            assert train is not None
            return self.second_order(val, train, optimizer)
        # detached: gradients for w would take half of the time, and are not used
        weights = [w.detach() for w in self.net.weight_parameters()]
        return self._at(weights, val, self.net.architecture_parameters())

    def _at(
        self, weights: Sequence[Tensor], batch: Batch, by: Sequence[Tensor]
    ) -> tuple[float, list[Tensor]]:
        """Return loss and gradients of a batch at these weights; the network keeps its own."""
        moved = dict(zip(self.net.weight_parameters(), weights, strict=True))
        parameters = {name: moved.get(p, p) for name, p in self.net.named_parameters()}
        output_of = functools.partial(functional_call, self.net, parameters)
        return gradients(output_of, self.loss_of, batch, by)

    def second_order(self, val: Batch, train: Batch, optimizer: Any) -> tuple[float, list[Tensor]]:
        """Return dL_val(w')/dalpha - xi d2L_train(w)/dalpha dw v, with v = dL_val(w')/dw'.

        Equations 6 and 7; the product with v is the finite difference of equation 8. Exact
        differentiation would hold two graphs at once, with more memory and time.
        """
        net, weights = self.net, self.net.weight_parameters()
        alphas, xi = net.architecture_parameters(), optimizer.param_groups[0]["lr"]

        cudnn = torch.backends.cudnn
        kept = {"benchmark": cudnn.benchmark, "deterministic": cudnn.deterministic}
        # cuDNN would round to ten bits, which is too coarse for epsilon
        with cudnn.flags(enabled=True, allow_tf32=False, **kept):
            _, dw = gradients(net, self.loss_of, train, weights)
            ahead = [w.requires_grad_() for w in unrolled(weights, dw, optimizer)]
            loss, grads = self._at(ahead, val, [*alphas, *ahead])
            dalpha, v = grads[: len(alphas)], grads[len(alphas) :]
            epsilon = EPSILON / max(float(torch.cat([u.flatten() for u in v]).norm()), 1e-12)
            sides = []
            for e in (epsilon, -epsilon):
                moved = [w.detach() + e * u for w, u in zip(weights, v, strict=True)]
                sides.append(self._at(moved, train, alphas)[1])
        ends = zip(dalpha, *sides, strict=True)
        return loss, [d - xi * (p - m) / (2 * epsilon) for d, p, m in ends]


def unrolled(weights: Sequence[Tensor], dw: Sequence[Tensor], optimizer: Any) -> list[Tensor]:
    """Return w' = w - xi (mu * buffer + dw + wd * w): one SGD step of the weights, not clipped."""
    (group,) = optimizer.param_groups
    xi, mu, decay = group["lr"], group["momentum"], group["weight_decay"]
    out = []
    for w, g in zip(weights, dw, strict=True):
        buffer = optimizer.state.get(w, {}).get("momentum_buffer")
        direction = g + decay * w.detach()
        out.append(w.detach() - xi * (direction if buffer is None else direction + mu * buffer))
    return out
