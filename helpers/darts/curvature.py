"""How sharply the validation loss bends in alpha: the watch for a search's collapse."""

from __future__ import annotations

import torch
from torch import nn

from .differences import Average, Batch, Loss, central_difference, flatten, gradients, moved
from .differences import unflatten as shaped
from .precision import true_float32


def dominant_eigenvalue(
    net: nn.Module,
    loss_of: Loss,
    val: Batch,
    iterations: int = 20,
    seed: int = 0,
    average: Average | None = None,
) -> float:
    """The eigenvalue of d2 L_val / d alpha2 of largest size, by power iteration.

    Its growth foretells a collapse (Zela et al. 2020, arXiv 1909.09656). Hessian-vector products
    are central differences of the gradient by alpha: two passes over the batch each. Returns the
    Rayleigh quotient of the last iteration and leaves the network as it was, bit for bit. Raises
    ValueError for a gradient that is not finite.
    """
    alphas = net.architecture_parameters()
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(sum(map(torch.numel, alphas)), generator=generator).to(alphas[0])
    v, eigenvalue = v / v.norm(), 0.0
    # Rounding leaves an error like u / h, the third derivative one like h^2: h = u^(1/3), times
    # the length over which a softmax changes, which is 1 whatever alpha is.
    h = torch.finfo(v.dtype).eps ** (1 / 3)
    with true_float32(v.device), net.frozen_weights():
        for _ in range(iterations):
            sides = []
            for step in (h, -h):
                ahead = zip(alphas, shaped(step * v, alphas), strict=True)
                with moved(alphas, [alpha + part for alpha, part in ahead]):
                    sides.append(flatten(gradients(net, loss_of, val, alphas, average)[1]))
            hv = central_difference(*sides, h)
            eigenvalue = float(v @ hv)
            v = hv / hv.norm().clamp_min(torch.finfo(v.dtype).tiny)
    return eigenvalue
