"""Build the DARTS supernet: all operations on all edges, weighted by softmax(alpha).

Sources: Liu et al. 2018, arXiv 1806.09055 (search space, weight sharing); Xu et al. 2019, arXiv
1907.05737 (partial channels, edge normalisation).

Here every edge computes every operation, as the formulas say. `fast_supernet` computes the same in
a third of the time, but only for the standard operations.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.darts.operations import (
    OPS,
    FactorizedReduce,
    ReLUConvBN,
    primitives,
    softmax_by_node,
    stems,
)
from helpers.models.spec import Network

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
            {name: build(channels // partial, stride, False) for name, build in OPS.items()}
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
    """One cell: (B, C_pp, H0, W0) and (B, C_p, H, W) to (B, nodes * C, h, w).

    With `reduction_before` the older input is larger: H = ceil(H0 / 2).
    """

    def __init__(
        self,
        in_channels: tuple[int, int],
        channels: int,
        nodes: int,
        partial: int,
        reduction: bool,
        reduction_before: bool,
    ) -> None:
        super().__init__()
        self.nodes, self.reduction = nodes, reduction
        older = FactorizedReduce if reduction_before else ReLUConvBN
        self.older = older(in_channels[0], channels, affine=False)
        self.newer = ReLUConvBN(in_channels[1], channels, affine=False)
        self.edges = nn.ModuleList(
            MixedEdge(channels, 2 if reduction and source < 2 else 1, partial)
            for node in range(nodes)
            for source in range(node + 2)
        )

    def forward(self, s0: Tensor, s1: Tensor, weights: Tensor, beta: Tensor | None) -> Tensor:
        """Return the nodes (B, nodes * C, h, w): each is the sum of its edges from all states.

        weights (edges, 1 + operations) are softmax(alpha). With beta (edges,) each edge is
        multiplied by its own (arXiv 1907.05737, equation 2).
        """
        states = [self.older(s0), self.newer(s1)]
        for node in range(self.nodes):
            first = first_row(node)
            edges = [self.edges[row](x, weights[row]) for row, x in enumerate(states, start=first)]
            if beta is not None:
                edges = [beta[row] * edge for row, edge in enumerate(edges, start=first)]
            states.append(sum(edges[1:], edges[0]))
        return torch.cat(states[2:], dim=1)


def first_row(node: int) -> int:
    """Return the row of alpha of the first edge into a node: node 0 has 2 edges, node 1 has 3..."""
    return node * (node + 3) // 2


class Supernet(Network):
    """The continuous relaxation of the search space over images (B, in_channels, H, W) of any size.

    `channels` is C, `layers` the number of cells L (reductions at L // 3 and 2L // 3 if L > 1),
    `stem` "cifar" (full resolution), "half", "quarter" or "imagenet" (one eighth), `partial` the K
    of PC-DARTS: 1/K of the channels go through the operations, with edge normalisation; 1 is plain
    DARTS. K must divide C.
    BN always uses batch statistics, so a forward pass changes no state of the network.

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
        super().__init__()
        self.partial, self.nodes = partial, nodes
        self.stem0, self.stem1 = stems(stem, in_channels, channels)
        before = stem == "imagenet"
        c_pp = c_p = 3 * channels if stem == "cifar" else channels
        self.cells = nn.ModuleList()
        for i in range(layers):
            reduction = layers > 1 and i in (layers // 3, 2 * layers // 3)
            channels = channels * 2 if reduction else channels
            self.cells.append(self.cell((c_pp, c_p), channels, nodes, partial, reduction, before))
            before = reduction
            c_pp, c_p = c_p, nodes * channels
        self.pool: nn.Module = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(c_p, num_classes)
        edges = first_row(nodes)
        for kind in ("normal", "reduce"):
            alpha = ALPHA_STD * torch.randn(edges, len(primitives()))
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

    def operation_weights(self, kind: str) -> Tensor:
        """Return softmax(alpha) (edges, 8) of the cells of a kind, "normal" or "reduce"."""
        return getattr(self, f"alpha_{kind}").softmax(dim=-1)

    def edge_weights(self, kind: str) -> Tensor | None:
        """Return softmax(beta) (edges,) over the edges into a node, None without beta."""
        beta = getattr(self, f"beta_{kind}")
        return None if beta is None else softmax_by_node(beta)

    def inputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two inputs of the first cell, the older one first."""
        s0 = self.stem0(x)
        return s0, self.stem1(s0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of images x (B, in_channels, H, W)."""
        s0, s1 = self.inputs(x)
        for cell in self.cells:
            kind = "reduce" if cell.reduction else "normal"
            s0, s1 = s1, cell(s0, s1, self.operation_weights(kind), self.edge_weights(kind))
        return self.classifier(self.pool(s1).flatten(1))
