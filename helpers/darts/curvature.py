"""How sharply the validation loss bends in alpha: the watch for a search's collapse."""

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
)
from helpers.darts.differences import unflatten as shaped
from helpers.darts.linear_pieces import LinearPieces
from helpers.darts.precision import true_float32
from helpers.darts.supernet import Supernet


def dominant_eigenvalue(
    net: Supernet,
    loss_of: Loss,
    val: Batch,
    iterations: int = 12,
    seed: int = 0,
    average: Average | None = None,
) -> float:
    """The eigenvalue of d2 L_val / d alpha2 of largest size, with its sign.

    Its growth foretells a collapse (Zela et al. 2020, arXiv 1909.09656). Power iteration from a
    seeded start, with the vectors made orthogonal on the way (Lanczos): alone it takes hundreds of
    steps where two eigenvalues of opposite signs are nearly as large. An iteration is one
    Hessian-vector product, two passes over the batch. Returns the Rayleigh quotient and leaves the
    network as it was, bit for bit. Raises GradientError for a gradient that is not finite.
    """
    alphas = net.architecture_parameters()
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(sum(map(torch.numel, alphas)), generator=generator).to(alphas[0])
    v = v / v.norm()
    basis, products = v.new_zeros(0, len(v)), []
    with true_float32(v.device), net.frozen_weights(), LinearPieces() as pieces:
        with torch.no_grad():
            net(val[0])
        for _ in range(min(iterations, len(v))):
            basis = torch.cat([basis, v[None]])
            hv = _hessian_vector_product(net, loss_of, val, v, pieces, average)
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


def _hessian_vector_product(
    net: Supernet,
    loss_of: Loss,
    val: Batch,
    v: Tensor,
    pieces: LinearPieces,
    average: Average | None,
) -> Tensor:
    """d2 L_val / d alpha2 times the unit vector v: the gradient's central difference along it."""
    alphas, sides = net.architecture_parameters(), []
    # Rounding leaves an error like u / h, the third derivative one like h^2: h = u^(1/3), times
    # the length over which a softmax changes, which is 1 whatever alpha is.
    h = torch.finfo(v.dtype).eps ** (1 / 3)
    for step in (h, -h):
        pieces.replay()
        ahead = zip(alphas, shaped(step * v, alphas), strict=True)
        with moved(alphas, [alpha + part for alpha, part in ahead]):
            sides.append(flatten(gradients(net, loss_of, val, alphas, average)[1]))
    p, n = sides
    return central_difference(p, n, h)
