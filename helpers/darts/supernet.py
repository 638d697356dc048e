"""The DARTS supernet: every operation on every edge, weighted by softmax(alpha), computed fused.

Sources: Liu et al. 2018, arXiv 1806.09055 (search space, weight sharing); Xu et al. 2019, arXiv
1907.05737 (partial channels, edge normalisation). The fused arithmetic is in `fused.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .fused import mixed_state, pointwise_bn, split_filters
from .operations import PRIMITIVES

ALPHA_STD = 1e-3  # the softmax starts nearly uniform (arXiv 1806.09055, appendix A.1)
# Below this many channels all edges of a state share one wide computation: narrower maps leave the
# processor's vector units idle (measured with partial channels).
WIDE_BELOW = 16


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    """torch's default for convolutions: uniform within 1 / sqrt(fan_in)."""
    return nn.Parameter(torch.empty(*shape).uniform_(-1, 1) * fan_in**-0.5)


def reduction_cells(layers: int) -> tuple[int, ...]:
    """Positions of the reduction cells: a third and two thirds of the way."""
    return tuple(sorted({layers // 3, 2 * layers // 3}))


class StateEdges(nn.Module):
    """The operations on all E edges that leave one state; C channels.

    Weights are stacked over operations and edges: dw3 (sep first, sep second, dil; E, C, 1, 3, 3),
    dw5 likewise, pw (sep3 first, sep5 first, sep3 second, sep5 second, dil3, dil5; E, C, C), and
    with stride 2 the skip's factorized reduce (E, C, C), whose first C // 2 filters read even
    pixels.
    """

    def __init__(self, channels: int, edges: int, stride: int) -> None:
        super().__init__()
        self.channels, self.edges, self.stride = channels, edges, stride
        self.wide = edges > 1 and channels < WIDE_BELOW
        self.dw3 = _uniform(3, edges, channels, 1, 3, 3, fan_in=9)
        self.dw5 = _uniform(3, edges, channels, 1, 5, 5, fan_in=25)
        self.pw = _uniform(6, edges, channels, channels, fan_in=channels)
        self.reduce = _uniform(edges, channels, channels, fan_in=channels) if stride == 2 else None

    def forward(self, x: Tensor, scale: Tensor) -> list[Tensor]:
        """Weighted sums of the operations on x (B, C, H, W), one map for each edge.

        scale (7, E) holds the weights of all operations but `none`, in PRIMITIVES' order.
        """
        c, e = self.channels, self.edges
        groups = 1 if self.wide else e
        width = c * e // groups
        scale = scale[:, :, None].expand(-1, -1, c).reshape(-1, groups, width)
        dw3 = self.dw3.reshape(3, groups, width, 1, 3, 3)
        dw5 = self.dw5.reshape(3, groups, width, 1, 5, 5)
        pw, reduce = self.pw, None
        if self.reduce is not None:
            reduce = split_filters(self.reduce).reshape(2, groups, width, c)
        if self.wide:  # one block-diagonal matrix instead of E small ones
            eye = torch.eye(e, dtype=pw.dtype, device=pw.device)[None, :, None, :, None]
            pw = (pw[:, :, :, None, :] * eye).reshape(6, 1, width, width)
        outs = mixed_state(x, scale, dw3, dw5, pw, reduce, self.stride)
        return list(outs[0].chunk(e, 1)) if self.wide else list(outs)


class Cell(nn.Module):
    """One cell: (B, C_pp, ., .) and (B, C_p, ., .) to (B, nodes * C, H, W)."""

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
        self.nodes, self.partial, self.reduction = nodes, partial, reduction
        self.reduction_before = reduction_before
        self.op_channels = channels // partial
        self.pre0 = _uniform(channels, in_channels[0], fan_in=in_channels[0])
        self.pre1 = _uniform(channels, in_channels[1], fan_in=in_channels[1])
        states = range(nodes + 1)  # the last node has no edge leaving it
        self.states = nn.ModuleList(
            StateEdges(self.op_channels, len(self.targets(s)), self.stride(s)) for s in states
        )

    def targets(self, state: int) -> range:
        """The nodes that an edge from `state` reaches."""
        return range(max(0, state - 1), self.nodes)

    def stride(self, state: int) -> int:
        """2 on the edges from the two inputs of a reduction cell, else 1."""
        return 2 if self.reduction and state < 2 else 1

    def forward(self, s0: Tensor, s1: Tensor, weights: Tensor, beta: Tensor | None) -> Tensor:
        """weights (7, edges) of all operations but `none`; beta (edges,) with partial channels."""
        states = [pointwise_bn(s0, self.pre0, self.reduction_before), pointwise_bn(s1, self.pre1)]
        mixed: list[list[Tensor]] = [[] for _ in range(self.nodes)]
        bypass: list[list[Tensor]] = [[] for _ in range(self.nodes)]
        for s, edges in enumerate(self.states):
            if s >= 2:
                states.append(self._node(mixed[s - 2], bypass[s - 2]))
            index = [node * (node + 3) // 2 + s for node in self.targets(s)]
            x = states[s]
            if self.partial > 1:
                rest = x[:, self.op_channels :]
                x = x[:, : self.op_channels].contiguous(memory_format=torch.channels_last)
                if edges.stride == 2:
                    rest = F.max_pool2d(rest, 2, 2, ceil_mode=True)
                for node, edge in zip(self.targets(s), index, strict=True):
                    bypass[node].append(rest * beta[edge])
            outs = edges(x, weights[:, index])
            for node, out in zip(self.targets(s), outs, strict=True):
                mixed[node].append(out)
        states.append(self._node(mixed[-1], bypass[-1]))
        return torch.cat(states[2:], dim=1)

    def _node(self, mixed: list[Tensor], bypass: list[Tensor]) -> Tensor:
        out = sum(mixed[1:], mixed[0])
        if not bypass:
            return out
        out = torch.cat([out, sum(bypass[1:], bypass[0])], dim=1)
        return channel_shuffle(out, self.partial)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave `groups` groups of channels of x (B, C, H, W) (arXiv 1907.05737, figure 1)."""
    maps = x.permute(0, 2, 3, 1).unflatten(-1, (groups, -1)).transpose(-1, -2)
    return maps.flatten(-2).permute(0, 3, 1, 2)


def _stem_conv(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
    return [conv, nn.BatchNorm2d(out_channels, track_running_stats=False)]


class Supernet(nn.Module):
    """The continuous relaxation of the search space over images (B, in_channels, H, W) of any size.

    `channels` is C, `layers` the number of cells L (reductions at L // 3 and 2L // 3), `stem`
    "cifar" (full resolution) or "imagenet" (one eighth), `partial` the K of PC-DARTS: 1/K of the
    channels go through the operations, with edge normalisation; 1 is plain DARTS. BN uses batch
    statistics always, so that no pass leaves a trace in the network. Everything is computed in the
    weights' own precision: autocast is switched off inside.
    Raises ValueError for an unknown stem or channels that K does not divide.
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
        if stem not in ("cifar", "imagenet"):
            raise ValueError(f"unknown stem '{stem}': choose 'cifar' or 'imagenet'")
        if partial < 1 or channels % partial:
            raise ValueError(
                f"partial={partial} does not divide channels={channels}: choose a divisor, e.g. 1"
            )
        self.partial, self.nodes = partial, nodes
        self._build_stem(stem, in_channels, channels)
        before = stem == "imagenet"
        c_pp = c_p = channels if before else 3 * channels
        self.cells = nn.ModuleList()
        for i in range(layers):
            reduction = i in reduction_cells(layers)
            channels = channels * 2 if reduction else channels
            self.cells.append(Cell((c_pp, c_p), channels, nodes, partial, reduction, before))
            before = reduction
            c_pp, c_p = c_p, nodes * channels
        self.classifier = nn.Linear(c_p, num_classes)
        edges = nodes * (nodes + 3) // 2
        for kind in ("normal", "reduce"):
            alpha = ALPHA_STD * torch.randn(edges, len(PRIMITIVES))
            self.register_parameter(f"alpha_{kind}", nn.Parameter(alpha))
            beta = nn.Parameter(ALPHA_STD * torch.randn(edges)) if partial > 1 else None
            self.register_parameter(f"beta_{kind}", beta)

    def _build_stem(self, stem: str, in_channels: int, channels: int) -> None:
        self.stem0, self.stem1 = None, None
        if stem == "cifar":
            self.stem0 = nn.Sequential(*_stem_conv(in_channels, 3 * channels, 1))
            return
        half = channels // 2
        first = [*_stem_conv(in_channels, half, 2), nn.ReLU(), *_stem_conv(half, channels, 2)]
        self.stem0 = nn.Sequential(*first)
        self.stem1 = nn.Sequential(nn.ReLU(), *_stem_conv(channels, channels, 2))

    def architecture_parameters(self) -> list[nn.Parameter]:
        """alpha of normal and reduction cells (edges, 8) each; with partial channels beta too."""
        names = ("alpha_normal", "alpha_reduce", "beta_normal", "beta_reduce")
        return [p for p in (getattr(self, name) for name in names) if p is not None]

    def weight_parameters(self) -> list[nn.Parameter]:
        """w: every parameter that is not part of the architecture."""
        architecture = {id(p) for p in self.architecture_parameters()}
        return [p for p in self.parameters() if id(p) not in architecture]

    @contextmanager
    def frozen_weights(self) -> Iterator[None]:
        """Inside, w needs no gradient: an architecture step then skips all weight gradients."""
        frozen = [p for p in self.weight_parameters() if p.requires_grad]
        for p in frozen:
            p.requires_grad_(False)
        try:
            yield
        finally:
            for p in frozen:
                p.requires_grad_(True)

    def operation_weights(self, kind: str) -> Tensor:
        """softmax(alpha) (edges, 8) of the cells of a kind, "normal" or "reduce"."""
        return getattr(self, f"alpha_{kind}").softmax(dim=-1)

    def edge_weights(self, kind: str) -> Tensor | None:
        """softmax(beta) (edges,) over the edges into a node; None without partial channels."""
        beta = getattr(self, f"beta_{kind}")
        if beta is None:
            return None
        return torch.cat([part.softmax(0) for part in beta.split(tuple(range(2, self.nodes + 2)))])

    def _scales(self) -> dict[bool, tuple[Tensor, Tensor | None]]:
        scales = {}
        for reduction, kind in ((False, "normal"), (True, "reduce")):
            weights, beta = self.operation_weights(kind)[:, 1:], self.edge_weights(kind)
            if beta is not None:
                weights = weights * beta[:, None]
            scales[reduction] = (weights.t(), beta)
        return scales

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of images x (B, in_channels, H, W)."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.classifier.weight.dtype).contiguous(memory_format=torch.channels_last)
            scales = self._scales()
            s0 = s1 = self.stem0(x)
            if self.stem1 is not None:
                s1 = self.stem1(s0)
            for cell in self.cells:
                s0, s1 = s1, cell(s0, s1, *scales[cell.reduction])
            return self.classifier(s1.mean(dim=(2, 3)))
