"""Build the DARTS supernet: all operations on all edges, weighted by softmax(alpha).

Sources: Liu et al. 2018, arXiv 1806.09055 (search space, weight sharing); Xu et al. 2019, arXiv
1907.05737 (partial channels, edge normalisation).

The edges that leave one state read the same maps, so they are computed together, in layers whose
channels are E edges times C channels: an operation is a few layers however many edges there are.
In the shapes B are the images, H and W the size of a state's maps, h and w that of the nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.darts.linear_pieces import ReLU, max_pool, relu
from helpers.darts.operations import pad_to_even, softmax_by_node, stems
from helpers.darts.space import PRIMITIVES
from helpers.models.depthwise import DepthwiseConv2d

ALPHA_STD = 1e-3  # the softmax starts nearly uniform (arXiv 1806.09055, appendix A.1)


def batch_norm(x: Tensor, scale: Tensor | None = None) -> Tensor:
    """Normalise (B, C, H, W) by the statistics of the batch; `scale` (C,) multiplies the result."""
    return F.batch_norm(x, None, None, scale, None, training=True)


class ConvBN(nn.Module):
    """Depthwise convolution, 1x1 convolution and BN on `edges` edges, each with its own filters."""

    def __init__(self, channels: int, edges: int, kernel: int, stride: int, dilation: int) -> None:
        super().__init__()
        width, padding = edges * channels, dilation * (kernel - 1) // 2
        self.depthwise = DepthwiseConv2d(
            width, width, kernel, stride, padding, dilation, groups=width, bias=False
        )
        self.pointwise = nn.Conv2d(width, width, 1, groups=edges, bias=False)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """(B, E * C, H, W) -> (B, E * C, h, w), times scale (E * C,)."""
        return batch_norm(self.pointwise(self.depthwise(x)), scale)


class Reduce(nn.Module):
    """Factorized reduce without its ReLU on `edges` edges: halve the map, losing no pixel.

    The first half of an edge's 1x1 filters reads the even pixels, the other half the odd ones,
    shifted by a pixel both ways. So each is one of the taps of a 2x2 filter of stride 2.
    """

    def __init__(self, in_channels: int, channels: int, edges: int = 1) -> None:
        super().__init__()
        self.weight = nn.Conv2d(in_channels, edges * channels, 1, bias=False).weight
        self.odd = [c >= channels // 2 for c in range(channels)] * edges

    def forward(self, r: Tensor, scale: Tensor | None = None) -> Tensor:
        """(B, C_in, H, W) -> (B, E * C, ceil(H / 2), ceil(W / 2)), times scale (E * C,)."""
        odd = torch.tensor(self.odd, device=r.device)[:, None, None, None]
        first, last = F.pad(self.weight, (0, 1, 0, 1)), F.pad(self.weight, (1, 0, 1, 0))
        return batch_norm(F.conv2d(pad_to_even(r), torch.where(odd, last, first), stride=2), scale)


class Edges(nn.Module):
    """All edges that leave one state: x (B, C, H, W) to (B, E * C, h, w), one block for each."""

    def __init__(self, channels: int, edges: int, stride: int) -> None:
        super().__init__()
        self.channels, self.edges, self.stride = channels, edges, stride

        def conv(kernel: int, stride: int, dilation: int = 1) -> ConvBN:
            return ConvBN(channels, edges, kernel, stride, dilation)

        self.sep3 = nn.ModuleList([conv(3, stride), conv(3, 1)])
        self.sep5 = nn.ModuleList([conv(5, stride), conv(5, 1)])
        self.dil3 = conv(3, stride, dilation=2)
        self.dil5 = conv(5, stride, dilation=2)
        self.reduce = Reduce(channels, channels, edges) if stride == 2 else None

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return sum_o weights[e, o] * o(x) for each edge e; weights (E, 7)."""
        # BN multiplies by a number per channel anyway: the weight of the edge.
        scale = weights.t().repeat_interleave(self.channels, dim=1)  # (7, E * C)
        r = relu(x)
        wide = torch.cat([r] * self.edges, dim=1)  # (B, E * C, H, W)
        out = self.sep3[1](relu(self.sep3[0](wide), inplace=True), scale[3])
        out += self.sep5[1](relu(self.sep5[0](wide), inplace=True), scale[4])
        out += self.dil3(wide, scale[5])
        out += self.dil5(wide, scale[6])
        # Pools and skip are the same for all edges
        maps = [
            batch_norm(max_pool(x, 3, self.stride, 1)),
            batch_norm(F.avg_pool2d(x, 3, self.stride, 1, count_include_pad=False)),
        ]
        if self.reduce is None:
            maps.append(x)
        else:
            out += self.reduce(r, scale[2])
        eye = torch.eye(self.channels, dtype=x.dtype, device=x.device)
        matrix = torch.kron(weights[:, : len(maps)], eye)[:, :, None, None]  # (E * C, 3 * C, 1, 1)
        out += F.conv2d(torch.cat(maps, dim=1), matrix)
        return out


class Cell(nn.Module):
    """One cell: (B, C_pp, ., .) and (B, C_p, ., .) to (B, nodes * C, h, w)."""

    def __init__(self, in_channels, channels, nodes, partial, reduction, reduction_before) -> None:
        super().__init__()
        self.nodes, self.partial, self.reduction = nodes, partial, reduction
        if reduction_before:
            self.pre0 = Reduce(in_channels[0], channels)
        else:
            self.pre0 = nn.Conv2d(in_channels[0], channels, 1, bias=False)
        self.pre1 = nn.Conv2d(in_channels[1], channels, 1, bias=False)
        self.states = nn.ModuleList(
            Edges(channels // partial, len(self.targets(s)), 2 if reduction and s < 2 else 1)
            for s in range(nodes + 1)
        )

    def targets(self, state: int) -> range:
        """Return the nodes that an edge from `state` reaches."""
        return range(max(0, state - 1), self.nodes)

    def forward(self, r0: Tensor, r1: Tensor, weights: Tensor, beta: Tensor | None) -> Tensor:
        x0 = self.pre0(r0) if isinstance(self.pre0, Reduce) else batch_norm(self.pre0(r0))
        states, rests = [x0, batch_norm(self.pre1(r1))], []
        sums: list = [0] * self.nodes
        for s, edges in enumerate(self.states):
            if s >= 2:
                states.append(self.node(s - 2, sums[s - 2], rests, beta))
            x = states[s]
            if self.partial > 1:
                x, rest = x.tensor_split([edges.channels], dim=1)
                x = x.contiguous(memory_format=torch.channels_last)
                rests.append(max_pool(rest, 2, 2, 0, ceil=True) if edges.stride == 2 else rest)
            rows = [node * (node + 3) // 2 + s for node in self.targets(s)]
            out = edges(x, weights[rows])
            for node, term in zip(self.targets(s), out.chunk(len(rows), dim=1)):
                sums[node] = sums[node] + term
        states.append(self.node(self.nodes - 1, sums[-1], rests, beta))
        return torch.cat(states[2:], dim=1)

    def node(self, node, total, rests, beta):
        if beta is None:
            return total
        start = node * (node + 3) // 2
        inputs = torch.cat(rests, dim=1)
        eye = torch.eye(rests[0].shape[1], dtype=beta.dtype, device=beta.device)
        bypass = F.conv2d(inputs, torch.kron(beta[None, start : start + node + 2], eye)[:, :, None, None])
        both = torch.cat([total, bypass], dim=1)
        rows = both.permute(0, 2, 3, 1).unflatten(3, (self.partial, -1))
        return rows.transpose(3, 4).flatten(3).permute(0, 3, 1, 2)


def reduction_cells(layers: int) -> tuple[int, ...]:
    """Return the positions of the reduction cells: a third and two thirds of the way."""
    return tuple(sorted({layers // 3, 2 * layers // 3}))


class Supernet(nn.Module):
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
        self.stem0, self.stem1 = stems(stem, in_channels, channels, ReLU, track_statistics=False)
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

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of images x (B, in_channels, H, W)."""
        x = x.contiguous(memory_format=torch.channels_last)
        scales = {}
        for kind in ("normal", "reduce"):
            weights, beta = self.operation_weights(kind)[:, 1:], self.edge_weights(kind)
            scales[kind] = (weights if beta is None else weights * beta[:, None], beta)
        s0 = self.stem0(x)
        s1 = self.stem1(s0)
        r0 = relu(s0)
        r1 = r0 if s1 is s0 else relu(s1)
        for cell in self.cells:
            out = cell(r0, r1, *scales["reduce" if cell.reduction else "normal"])
            r0, r1 = r1, relu(out)
        return self.classifier(out.mean(dim=(2, 3)))
