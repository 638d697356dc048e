"""Compute the supernet of the standard operations faster; `Supernet` explains it.

A forward and a backward pass take 1/2.7 of the readable one's time with a quarter of the channels
and 1/1.6 with all (one thread, bf16, 32 images of 128 px, C = 16, L = 5).

The E edges that leave one state read the same maps, so they are computed together, in layers of
E * C channels. In shapes, H and W is the size of a state's maps, h and w that of the nodes' maps.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.core.rules import SettingsError
from helpers.darts.space import STANDARD, has_standard_operations, pad_to_even
from helpers.darts.supernet import Cell, Supernet, first_row

NARROW = 16  # with fewer channels, one product for all edges is faster than one per edge


def batch_norm(x: Tensor, scale: Tensor | None = None) -> Tensor:
    """Normalise (B, C, H, W) by the statistics of the batch; `scale` (C,) multiplies the result."""
    return F.batch_norm(x, None, None, scale, training=True)


class ConvBN(nn.Module):
    """Depthwise convolution, 1x1 convolution and BN on `edges` edges, each with its own filters."""

    def __init__(self, channels: int, edges: int, kernel: int, stride: int, dilation: int) -> None:
        super().__init__()
        width, padding = edges * channels, dilation * (kernel - 1) // 2
        self.depthwise = nn.Conv2d(
            width, width, kernel, stride, padding, dilation, groups=width, bias=False
        )
        self.pointwise = nn.Conv2d(width, width, 1, groups=edges, bias=False)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """Map (B, E * C, H, W) to (B, E * C, h, w), times scale (E * C,)."""
        weight, edges = self.pointwise.weight, self.pointwise.groups
        if weight.shape[1] < NARROW:
            blocks = weight.flatten(1).chunk(edges)
            weight, edges = torch.block_diag(*blocks)[:, :, None, None], 1
        return batch_norm(F.conv2d(self.depthwise(x), weight, groups=edges), scale)


class Reduce(nn.Module):
    """Factorized reduce without its ReLU on `edges` edges: halve the map, losing no pixel.

    The first half of an edge's 1x1 filters reads the even pixels, the other half the odd ones,
    shifted by a pixel both ways. So each is one of the taps of a 2x2 filter of stride 2.
    """

    def __init__(self, in_channels: int, channels: int, edges: int = 1) -> None:
        super().__init__()
        self.weight = nn.Conv2d(in_channels, edges * channels, 1, bias=False).weight
        self.channels = channels

    def forward(self, r: Tensor, scale: Tensor | None = None) -> Tensor:
        """Map (B, C_in, H, W) to (B, E * C, ceil(H / 2), ceil(W / 2)), times scale (E * C,)."""
        place = torch.arange(len(self.weight), device=r.device) % self.channels
        odd = (place >= self.channels // 2)[:, None, None, None]
        first, last = F.pad(self.weight, (0, 1, 0, 1)), F.pad(self.weight, (1, 0, 1, 0))
        weight = torch.where(odd, last, first)
        return batch_norm(F.conv2d(pad_to_even(r), weight, stride=2), scale)


class Edges(nn.Module):
    """All edges that leave one state: x (B, C, H, W) to (B, E * C, h, w), one block for each."""

    def __init__(self, channels: int, edges: int, stride: int) -> None:
        super().__init__()
        self.channels, self.edges, self.stride = channels, edges, stride
        conv = functools.partial(ConvBN, channels, edges)
        self.sep3 = nn.ModuleList([conv(3, stride, 1), conv(3, 1, 1)])
        self.sep5 = nn.ModuleList([conv(5, stride, 1), conv(5, 1, 1)])
        # With stride 2 and dilation 2 only the even pixels are read: see `forward`.
        self.dil3 = conv(3, 1, 3 - stride)
        self.dil5 = conv(5, 1, 3 - stride)
        self.reduce = Reduce(channels, channels, edges) if stride == 2 else None

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return sum_o weights[e, o] o(x) for each edge e (arXiv 1806.09055, equation 2).

        weights (E, 7) are those of all operations but `none`, which adds nothing.
        """
        # BN can scale each channel at no cost, so it multiplies by the weight of the operation.
        wide_weights = weights.t().repeat_interleave(self.channels, dim=1)  # (7, E * C)
        scale = dict(zip(STANDARD, wide_weights, strict=True))
        r = F.relu(x)
        wide = torch.cat([r] * self.edges, dim=1)  # (B, E * C, H, W)
        out = self.sep3[1](F.relu(self.sep3[0](wide)), scale["sep_conv_3x3"])
        out = out + self.sep5[1](F.relu(self.sep5[0](wide)), scale["sep_conv_5x5"])
        if self.stride == 2:
            wide = torch.cat([r[:, :, ::2, ::2]] * self.edges, dim=1)  # (B, E * C, h, w)
        out = out + self.dil3(wide, scale["dil_conv_3x3"])
        out = out + self.dil5(wide, scale["dil_conv_5x5"])
        max_pool = F.max_pool2d(x, 3, self.stride, 1)
        avg_pool = F.avg_pool2d(x, 3, self.stride, 1, count_include_pad=False)
        out = add_weighted(out, batch_norm(torch.cat([max_pool, avg_pool], dim=1)), weights[:, :2])
        if self.reduce is not None:
            return out + self.reduce(r, scale["skip_connect"])
        return add_weighted(out, x, weights[:, 2:3])


def add_weighted(out: Tensor, maps: Tensor, weights: Tensor) -> Tensor:
    """Return out (B, E * C, H, W) plus sum_s weights[e, s] maps_s in each of its blocks e.

    maps (B, S * C, H, W) hold S maps that are the same for all edges. The sums are one product with
    a matrix whose blocks are weights[e, s] times the identity.
    """
    channels = maps.shape[1] // weights.shape[1]
    eye = torch.eye(channels, dtype=weights.dtype, device=weights.device)
    rows, matrix = out.permute(0, 2, 3, 1), torch.kron(weights, eye).t()
    total = torch.addmm(rows.flatten(0, 2), maps.permute(0, 2, 3, 1).flatten(0, 2), matrix)
    return total.view(rows.shape).permute(0, 3, 1, 2)


class FastCell(Cell):
    """One cell of a `FastSupernet`; its edges are grouped by the state that they leave."""

    def halved(self, in_channels: int, channels: int) -> nn.Module:
        """Return a `FactorizedReduce`."""
        return nn.Sequential(nn.ReLU(), Reduce(in_channels, channels))

    def edges_of(self, channels: int) -> Iterator[nn.Module]:
        """Yield the edges that leave each state; it reaches all later nodes."""
        # States 0 and 1 are the cell's inputs.
        self.targets = [range(max(0, state - 1), self.nodes) for state in range(self.nodes + 1)]
        for state, targets in enumerate(self.targets):
            stride = 2 if self.reduction and state < 2 else 1
            yield Edges(channels // self.partial, len(targets), stride)

    def forward(self, older: Tensor, newer: Tensor, weights: Tensor, beta: Tensor | None) -> Tensor:
        """Return the nodes (B, nodes * C, h, w); weights (edges, 7) and beta: see `mixing`."""
        states = [self.older(older), self.newer(newer)]
        terms: list[list[Tensor]] = [[] for _ in range(self.nodes)]
        rests: list[Tensor] = []  # with partial channels: those that bypass the operations
        for state, (targets, edges) in enumerate(zip(self.targets, self.edges, strict=True)):
            x = states[state]
            if self.partial > 1:
                x, rest = x.tensor_split([x.shape[1] // self.partial], dim=1)
                x = x.contiguous(memory_format=torch.channels_last)
                rests.append(F.max_pool2d(rest, 2, ceil_mode=True) if edges.stride == 2 else rest)
            out = edges(x, weights[[first_row(node) + state for node in targets]])
            for node, term in zip(targets, out.chunk(len(targets), dim=1), strict=True):
                terms[node].append(term)  # (B, C / K, h, w)
            if state:  # the node after it has all of its terms (arXiv 1806.09055, equation 1)
                node = state - 1
                total = sum(terms[node][1:], terms[node][0])
                if beta is not None:
                    share = beta[first_row(node) : first_row(state)]
                    total = self._shuffled(total, share, rests)
                states.append(total)
        return torch.cat(states[2:], dim=1)

    def _shuffled(self, total: Tensor, beta: Tensor, rests: list[Tensor]) -> Tensor:
        """Return sum_s beta_s (mixed_s, rest_s) (arXiv 1907.05737, equation 2), shuffled."""
        rest = sum(weight * x for weight, x in zip(beta, rests, strict=True))
        rows = torch.cat([total, rest], dim=1).permute(0, 2, 3, 1)
        rows = rows.unflatten(3, (self.partial, -1))  # (B, h, w, K, C / K)
        return rows.transpose(3, 4).flatten(3).permute(0, 3, 1, 2)


class FastSupernet(Supernet):
    """A `Supernet` that shares work between edges; it knows the standard operations alone."""

    cell = FastCell

    def __init__(self, *args: Any, **options: Any) -> None:
        if not has_standard_operations():
            raise SettingsError("FastSupernet knows the standard operations alone: use Supernet")
        super().__init__(*args, **options)

    def mixing(self, kind: str) -> tuple[Tensor, Tensor | None]:
        """Return the weights of all operations but `none`, times those of their edge, and these."""
        weights, beta = super().mixing(kind)
        weights = weights[:, 1:]
        return (weights if beta is None else weights * beta[:, None]), beta

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of images x (B, in_channels, H, W)."""
        return super().forward(x.contiguous(memory_format=torch.channels_last))
