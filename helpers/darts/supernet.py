"""Build the DARTS supernet: all operations on all edges, weighted by softmax(alpha).

Sources: Liu et al. 2018, arXiv 1806.09055 (search space, weight sharing); Xu et al. 2019, arXiv
1907.05737 (partial channels, edge normalisation).

Here every edge computes every operation, as the formulas say; `fast_supernet` is faster.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.darts import space
from helpers.darts.network import Stack
from helpers.darts.space import FactorizedReduce, ReLUConvBN

ARCHITECTURE = ("alpha_normal", "alpha_reduce", "beta_normal", "beta_reduce")  # parameters
ALPHA_STD = 1e-3  # the softmax starts nearly uniform (arXiv 1806.09055, appendix A.1)


class MixedEdge(nn.Module):
    """All operations on one edge: (B, C, H, W) to (B, C, h, w).

    With `partial` = K only the first C / K channels of the input go through the operations; the
    others bypass them, and the channels are shuffled (arXiv 1907.05737, equation 1).
    """

    def __init__(self, channels: int, stride: int, partial: int) -> None:
        super().__init__()
        self.stride, self.partial = stride, partial
        self.operations = nn.ModuleDict(
            {name: build(channels // partial, stride, False) for name, build in space.OPS.items()}
        )

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return sum_o weights[o] o(x) (arXiv 1806.09055, equation 2); weights (1 + operations,).

        The first weight is that of `none`, which adds nothing.
        """
        x, rest = x.tensor_split([x.shape[1] // self.partial], dim=1)
        operations = self.operations.values()
        mixed = sum(w * op(x) for w, op in zip(weights[1:], operations, strict=True))
        if self.partial == 1:
            return mixed
        if self.stride == 2:
            rest = F.max_pool2d(rest, 2, ceil_mode=True)
        both = torch.cat([mixed, rest], dim=1)
        return both.unflatten(1, (self.partial, -1)).transpose(1, 2).flatten(1, 2)


class Cell(nn.Module):
    """One cell: (B, C_older, H0, W0) and (B, C_newer, H, W) to (B, nodes * C, h, w).

    With `reduction_before` the older input is larger: H = ceil(H0 / 2).
    """

    def __init__(
        self,
        nodes: int,
        partial: int,
        older_channels: int,
        newer_channels: int,
        channels: int,
        reduction: bool,
        reduction_before: bool,
    ) -> None:
        super().__init__()
        self.nodes, self.partial, self.reduction = nodes, partial, reduction
        entry = functools.partial(ReLUConvBN, affine=False)
        self.older = (self.halved if reduction_before else entry)(older_channels, channels)
        self.newer = entry(newer_channels, channels)
        self.edges = nn.ModuleList(self.edges_of(channels))

    def halved(self, in_channels: int, channels: int) -> nn.Module:
        """Return the entry for an older input of twice the size."""
        return FactorizedReduce(in_channels, channels, affine=False)

    def edges_of(self, channels: int) -> Iterator[nn.Module]:
        """Yield the module of each edge, in the order of alpha's rows."""
        for node in range(self.nodes):
            for source in range(node + 2):
                yield MixedEdge(channels, 2 if self.reduction and source < 2 else 1, self.partial)

    def forward(self, older: Tensor, newer: Tensor, weights: Tensor, beta: Tensor | None) -> Tensor:
        """Return the nodes (B, nodes * C, h, w): each is the sum of its edges from all states.

        With beta each edge is multiplied by its own (arXiv 1907.05737, equation 2).
        """
        states = [self.older(older), self.newer(newer)]
        for node in range(self.nodes):
            first = first_row(node)
            edges = [self.edges[row](x, weights[row]) for row, x in enumerate(states, start=first)]
            if beta is not None:
                edges = [beta[row] * edge for row, edge in enumerate(edges, start=first)]
            states.append(sum(edges))
        return torch.cat(states[2:], dim=1)


def first_row(node: int) -> int:
    """Return the row of alpha of the first edge into a node: node 0 has 2 edges, node 1 has 3..."""
    return node * (node + 3) // 2


class Supernet(Stack):
    """The continuous relaxation of the search space, for images of any size.

    `partial` is the K of PC-DARTS: 1/K of the channels go through the operations, with edge
    normalisation; 1 is plain DARTS. K must divide C. BN always uses batch statistics, so a forward
    pass changes no state of the network.

    Example:
        >>> net = Supernet(channels=16, layers=8, num_classes=2)
        >>> loss = F.cross_entropy(net(images), targets)
    """

    cell: ClassVar[type[nn.Module]] = Cell

    def __init__(
        self,
        channels: int,
        layers: int,
        num_classes: int,
        in_channels: int = 3,
        stem: str = "cifar",
        partial: int = 1,
        nodes: int = 4,
    ) -> None:
        cell = functools.partial(self.cell, nodes, partial)
        super().__init__(cell, channels, layers, num_classes, in_channels, stem, nodes)
        self.partial, self.nodes = partial, nodes
        self.pool: nn.Module = nn.AdaptiveAvgPool2d(1)
        edges = first_row(nodes)
        for kind in space.KINDS:
            alpha = ALPHA_STD * torch.randn(edges, len(space.primitives()))
            self.register_parameter(f"alpha_{kind}", nn.Parameter(alpha))
            beta = nn.Parameter(ALPHA_STD * torch.randn(edges)) if partial > 1 else None
            self.register_parameter(f"beta_{kind}", beta)
        for module in self.modules():  # batch statistics always, in evaluation too
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.track_running_stats = False
                module.running_mean = module.running_var = module.num_batches_tracked = None

    def architecture_parameters(self) -> list[nn.Parameter]:
        """Return alpha (edges, 8) of normal and reduction cells; with partial channels beta too."""
        return [p for p in (getattr(self, name) for name in ARCHITECTURE) if p is not None]

    def weight_parameters(self) -> list[nn.Parameter]:
        """Return w: every parameter that is not part of the architecture."""
        return [p for name, p in self.named_parameters() if name not in ARCHITECTURE]

    def mixing(self, kind: str) -> tuple[Tensor, Tensor | None]:
        """Return softmax(alpha) (edges, 8) of the cells of a kind, and softmax(beta) or None."""
        alpha, beta = getattr(self, f"alpha_{kind}"), getattr(self, f"beta_{kind}")
        return alpha.softmax(dim=-1), None if beta is None else space.softmax_by_node(beta)

    def inputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two inputs of the first cell, the older one first."""
        older = self.stem0(x)
        return older, self.stem1(older)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of images x (B, in_channels, H, W)."""
        older, newer = self.inputs(x)
        mixing = {kind: self.mixing(kind) for kind in space.KINDS}
        for cell in self.cells:
            kind = "reduce" if cell.reduction else "normal"
            older, newer = newer, cell(older, newer, *mixing[kind])
        return self.classifier(self.pool(newer).flatten(1))
