"""Measure how sharply the validation loss bends in alpha, which foretells a search's collapse."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from helpers.darts.architect import Batch, Loss, finite
from helpers.models.convolution import constant_weights


def dominant_eigenvalue(
    net: Any, loss_of: Loss, val: Batch, iterations: int = 10, seed: int = 0
) -> float:
    """Return the eigenvalue of d2 L_val / d alpha2 of largest size, with its sign.

    L_val is the loss of the batch `val`; with partial channels alpha includes beta. The growth of
    the eigenvalue foretells a collapse (Zela et al. 2020, arXiv 1909.09656).

    The method is that of Lanczos from a seeded start. All vectors are kept, and each new one is
    made orthogonal to them. The result is the Ritz value of largest size. Power iteration would
    take hundreds of steps if two eigenvalues of opposite signs are nearly as large. An iteration is
    one Hessian-vector product, by double backward. The network stays as it was, bit for bit.

    Raises:
        GradientError: a derivative is not finite.
    """
    alphas = net.architecture_parameters()
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(sum(map(torch.numel, alphas)), generator=generator).to(alphas[0])
    v = v / v.norm()
    basis, products = v.new_zeros(0, len(v)), []

    def product(direction: Tensor) -> Tensor:
        """Return the Hessian times a direction: the derivative of gradient times direction."""
        parts = direction.split([alpha.numel() for alpha in alphas])
        shaped = [part.view_as(alpha) for part, alpha in zip(parts, alphas, strict=True)]
        options: dict[str, Any] = {"retain_graph": True, "materialize_grads": True}
        hv = torch.autograd.grad(gradient, alphas, shaped, **options)
        return finite(torch.cat([h.flatten() for h in hv]))

    with constant_weights():
        loss = loss_of(net(val[0]), val[1])
        gradient = torch.autograd.grad(loss, alphas, create_graph=True, materialize_grads=True)
        for _ in range(min(iterations, len(v))):
            basis = torch.cat([basis, v[None]])
            hv = product(v)
            products.append(hv)
            rest = hv
            for _ in range(2):  # rounding leaves a part along the basis in the first round
                rest = rest - basis.t() @ (basis @ rest)
            if rest.norm() <= torch.finfo(v.dtype).eps ** 0.5 * hv.norm():
                break  # the basis spans the whole Krylov space of the start
            v = rest / rest.norm()
    projected = basis @ torch.stack(products, 1)  # (iterations, iterations)
    eigenvalues = torch.linalg.eigvalsh((projected + projected.t()).cpu() / 2)
    return float(eigenvalues[eigenvalues.abs().argmax()])
