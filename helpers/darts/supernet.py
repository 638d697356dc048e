"""Build the DARTS supernet: all operations on all edges, weighted by softmax(alpha), fused.

Sources: Liu et al. 2018, arXiv 1806.09055 (search space, weight sharing); Xu et al. 2019, arXiv
1907.05737 (partial channels, edge normalisation). The arithmetic is in `cell.py`, `mixed.py` and
`folding.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.darts.cell import Plan, mixed_cell
from helpers.darts.folding import to_maps, to_rows
from helpers.darts.linear_pieces import ReLU
from helpers.darts.operations import pad_to_even, softmax_by_node, stems
from helpers.darts.space import PRIMITIVES
from helpers.models.depthwise import half_resolution

ALPHA_STD = 1e-3  # the softmax starts nearly uniform (arXiv 1806.09055, appendix A.1)


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    """Return a parameter as torch starts convolutions: uniform within 1 / sqrt(fan_in)."""
    return nn.Parameter(torch.empty(*shape).uniform_(-1, 1) * fan_in**-0.5)


def reduction_cells(layers: int) -> tuple[int, ...]:
    """Return the positions of the reduction cells: a third and two thirds of the way."""
    return tuple(sorted({layers // 3, 2 * layers // 3}))


class StateEdges(nn.Module):
    """The weights of the operations on all E edges that leave one state; C channels.

    They are stacked over operations and edges: dw3 (sep first, sep second, dil; E, C, 1, 3, 3),
    dw5 likewise, pw (sep3 first, sep5 first, sep3 second, sep5 second, dil3, dil5; E, C, C), and
    with stride 2 the skip's factorized reduce (E, C, C), whose first C // 2 filters read even
    pixels.
    """

    def __init__(self, channels: int, edges: int, stride: int) -> None:
        super().__init__()
        self.dw3 = _uniform(3, edges, channels, 1, 3, 3, fan_in=9)
        self.dw5 = _uniform(3, edges, channels, 1, 5, 5, fan_in=25)
        self.pw = _uniform(6, edges, channels, channels, fan_in=channels)
        self.reduce = _uniform(edges, channels, channels, fan_in=channels) if stride == 2 else None

    def weights(self) -> list[nn.Parameter | None]:
        """Return the weights as `mixed_cell` takes them."""
        return [self.dw3, self.dw5, self.pw, self.reduce]


class Cell(nn.Module):
    """One cell: (B, C_pp, ., .) and (B, C_p, ., .) to (B, nodes * C, H, W)."""

    def __init__(
        self,
        in_channels: tuple[int, int],
        channels: int,
        plan: Plan,
        reduction_before: bool,
    ) -> None:
        super().__init__()
        self.plan, self.reduction_before = plan, reduction_before
        self.pre0 = _uniform(channels, in_channels[0], fan_in=in_channels[0])
        self.pre1 = _uniform(channels, in_channels[1], fan_in=in_channels[1])
        width = channels // plan.partial
        self.states = nn.ModuleList(
            StateEdges(width, len(plan.edges(s)), plan.stride(s)) for s in plan.states
        )

    def forward(self, r0: Tensor, r1: Tensor, scale: Tensor, beta: Tensor | None) -> Tensor:
        """Return the nodes from the inputs after their ReLU; scale and beta as in `mixed_cell`."""
        x0 = pointwise_bn(r0, self.pre0, self.reduction_before)
        x1 = pointwise_bn(r1, self.pre1)
        states = cast("Iterable[StateEdges]", self.states)
        weights = [weight for state in states for weight in state.weights()]
        return mixed_cell(self.plan, x0, x1, scale, beta, weights)


def pointwise_bn(r: Tensor, weight: Tensor, reduce: bool = False) -> Tensor:
    """Apply a 1x1 convolution (O, K) and BN without affine: (B, K, H, W) to (B, O, H, W).

    With `reduce` the first O // 2 filters read the even pixels, the others the odd ones, as in
    `operations.FactorizedReduce`: (B, O, ceil(H / 2), ceil(W / 2)).
    """
    if reduce:
        r = pad_to_even(r)
        even, odd = half_resolution(r), half_resolution(r, 1)
        half = weight.shape[0] // 2
        rows = torch.cat([to_rows(even) @ weight[:half].t(), to_rows(odd) @ weight[half:].t()], 1)
        maps = to_maps(rows, even)
    else:
        maps = to_maps(to_rows(r) @ weight.t(), r)
    return F.batch_norm(maps, None, None, training=True)


class Supernet(nn.Module):
    """The continuous relaxation of the search space over images (B, in_channels, H, W) of any size.

    `channels` is C, `layers` the number of cells L (reductions at L // 3 and 2L // 3), `stem`
    "cifar" (full resolution) or "imagenet" (one eighth), `partial` the K of PC-DARTS: 1/K of the
    channels go through the operations, with edge normalisation; 1 is plain DARTS. K must divide C.
    BN always uses batch statistics, so that no pass leaves a trace in the network. Everything is
    computed in the precision of the weights: autocast is switched off inside.

    Raises:
        ValueError: unknown stem.

    Example:
        >>> net = Supernet(channels=16, layers=8, num_classes=2)
        >>> loss = F.cross_entropy(net(images), targets)
    """

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
        self.relu = ReLU()
        self.stem0, self.stem1 = stems(stem, in_channels, channels, ReLU, track_statistics=False)
        before = stem == "imagenet"
        c_pp = c_p = channels if before else 3 * channels
        self.cells = nn.ModuleList()
        for i in range(layers):
            reduction = i in reduction_cells(layers)
            channels = channels * 2 if reduction else channels
            plan = Plan(nodes, partial, reduction)
            self.cells.append(Cell((c_pp, c_p), channels, plan, before))
            before = reduction
            c_pp, c_p = c_p, nodes * channels
        self.classifier = nn.Linear(c_p, num_classes)
        edges = nodes * (nodes + 3) // 2
        for kind in ("normal", "reduce"):
            alpha = ALPHA_STD * torch.randn(edges, len(PRIMITIVES))
            self.register_parameter(f"alpha_{kind}", nn.Parameter(alpha))
            beta = nn.Parameter(ALPHA_STD * torch.randn(edges)) if partial > 1 else None
            self.register_parameter(f"beta_{kind}", beta)

    def architecture_parameters(self) -> list[nn.Parameter]:
        """Return alpha (edges, 8) of normal and reduction cells; with partial channels beta too."""
        names = ("alpha_normal", "alpha_reduce", "beta_normal", "beta_reduce")
        return [p for p in (getattr(self, name) for name in names) if p is not None]

    def weight_parameters(self) -> list[nn.Parameter]:
        """Return w: every parameter that is not part of the architecture."""
        architecture = {id(p) for p in self.architecture_parameters()}
        return [p for p in self.parameters() if id(p) not in architecture]

    @contextmanager
    def frozen_weights(self) -> Iterator[None]:
        """Skip the gradients of w inside, as an architecture step does not need them."""
        frozen = [p for p in self.weight_parameters() if p.requires_grad]
        for p in frozen:
            p.requires_grad_(False)
        try:
            yield
        finally:
            for p in frozen:
                p.requires_grad_(True)

    def operation_weights(self, kind: str) -> Tensor:
        """Return softmax(alpha) (edges, 8) of the cells of a kind, "normal" or "reduce"."""
        return getattr(self, f"alpha_{kind}").softmax(dim=-1)

    def edge_weights(self, kind: str) -> Tensor | None:
        """Return softmax(beta) (edges,) over the edges into a node, None without beta."""
        beta = getattr(self, f"beta_{kind}")
        return None if beta is None else softmax_by_node(beta)

    def _scales(self) -> dict[bool, tuple[Tensor, Tensor | None]]:
        scales = {}
        for reduction, kind in ((False, "normal"), (True, "reduce")):
            weights, beta = self.operation_weights(kind)[:, 1:], self.edge_weights(kind)
            if beta is not None:
                weights = weights * beta[:, None]
            scales[reduction] = (weights.t(), beta)
        return scales

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of images x (B, in_channels, H, W)."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.classifier.weight.dtype).contiguous(memory_format=torch.channels_last)
            scales = self._scales()
            s0 = self.stem0(x)
            s1 = self.stem1(s0)
            r0 = self.relu(s0)
            r1 = r0 if s1 is s0 else self.relu(s1)
            for cell in cast("Iterable[Cell]", self.cells):
                out = cell(r0, r1, *scales[cell.plan.reduction])
                r0, r1 = r1, self.relu(out)
            return self.classifier(out.mean(dim=(2, 3)))
