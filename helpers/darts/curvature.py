"""Measure how sharply the validation loss bends in alpha, which foretells a search's collapse."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.darts.differences import (
    Average,
    Batch,
    Loss,
    central_difference,
    flatten,
    gradients,
    moved,
    true_float32,
    unflatten,
)
from helpers.darts.linear_pieces import LinearPieces
from helpers.darts.supernet import Supernet


def dominant_eigenvalue(
    net: Supernet,
    loss_of: Loss,
    val: Batch,
    iterations: int = 12,
    seed: int = 0,
    average: Average | None = None,
) -> float:
    """Return the eigenvalue of d2 L_val / d alpha2 of largest size, with its sign.

    Its growth foretells a collapse (Zela et al. 2020, arXiv 1909.09656). Power iteration from a
    seeded start, with the vectors made orthogonal on the way (Lanczos): alone it takes hundreds of
    steps if two eigenvalues of opposite signs are nearly as large. An iteration is one
    Hessian-vector product, two passes over the batch. The value is the Rayleigh quotient. The
    network stays as it was, bit for bit.

    Raises:
        GradientError: a gradient is not finite.
    """
    alphas = net.architecture_parameters()
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(sum(map(torch.numel, alphas)), generator=generator).to(alphas[0])
    v = v / v.norm()
    # Rounding leaves an error like u / h, the third derivative one like h^2: h = u^(1/3), times
    # the length over which a softmax changes, which is 1 whatever alpha is.
    h = torch.finfo(v.dtype).eps ** (1 / 3)

    def gradient_at(shift: Tensor) -> Tensor:
        """Return dL_val/dalpha at alpha + shift on the recorded linear piece."""
        pieces.replay()
        ahead = zip(alphas, unflatten(shift, alphas), strict=True)
        with moved(alphas, [alpha + part for alpha, part in ahead]):
            return flatten(gradients(net, loss_of, val, alphas, average)[1])

    basis, products = v.new_zeros(0, len(v)), []
    with true_float32(v.device), net.frozen_weights(), LinearPieces() as pieces:
        with torch.no_grad():
            net(val[0])
        for _ in range(min(iterations, len(v))):
            basis = torch.cat([basis, v[None]])
            hv = central_difference(gradient_at(h * v), gradient_at(-h * v), h)
            products.append(hv)
            rest = hv
            for _ in range(2):  # rounding leaves a part along the basis in the first round
                rest = rest - basis.t() @ (basis @ rest)
            if rest.norm() <= torch.finfo(v.dtype).eps ** 0.5 * hv.norm():
                break  # the basis holds all that the Hessian makes of the start
            v = rest / rest.norm()
    projected = basis @ torch.stack(products, 1)  # (iterations, iterations)
    eigenvalues = torch.linalg.eigvalsh((projected + projected.t()).cpu() / 2)
    return float(eigenvalues[eigenvalues.abs().argmax()])
