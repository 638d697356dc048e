"""The DARTS supernet edge by edge and operation by operation, written from the formulas.

The oracle of `helpers.darts`: it shares no code with it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def bn(channels: int) -> nn.BatchNorm2d:
    """Return the BN of the search."""
    return nn.BatchNorm2d(channels, affine=False, track_running_stats=False)


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, **options) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, stride, bias=False, **options)


class PlainReduce(nn.Module):
    """ReLU, two 1x1 convolutions of stride 2 shifted by a pixel, BN."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_1 = conv(c_in, c_out // 2, 1, 2)
        self.conv_2 = conv(c_in, c_out - c_out // 2, 1, 2)
        self.bn = bn(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / 2), ceil(W / 2))."""
        x = F.relu(x)
        if x.shape[2] % 2 or x.shape[3] % 2:
            x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], dim=1))


class PlainNone(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride] * 0.0


def separable(c: int, kernel: int, stride: int, dilation: int) -> list[nn.Module]:
    """Return ReLU, depthwise convolution, 1x1 convolution, BN."""
    padding = dilation * (kernel // 2)
    depthwise = conv(c, c, kernel, stride, padding=padding, dilation=dilation, groups=c)
    return [nn.ReLU(), depthwise, conv(c, c, 1), bn(c)]


def operations(c: int, stride: int) -> nn.ModuleList:
    """none, max pool, average pool, skip, sep 3, sep 5, dil 3, dil 5."""
    average = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    return nn.ModuleList(
        [
            PlainNone(stride),
            nn.Sequential(nn.MaxPool2d(3, stride, 1), bn(c)),
            nn.Sequential(average, bn(c)),
            PlainReduce(c, c) if stride == 2 else nn.Identity(),
            nn.Sequential(*separable(c, 3, stride, 1), *separable(c, 3, 1, 1)),
            nn.Sequential(*separable(c, 5, stride, 1), *separable(c, 5, 1, 1)),
            nn.Sequential(*separable(c, 3, stride, 2)),
            nn.Sequential(*separable(c, 5, stride, 2)),
        ]
    )


class PlainCell(nn.Module):
    def __init__(self, c_pp, c_p, c, nodes, partial, reduction, reduction_before) -> None:
        super().__init__()
        self.nodes, self.partial, self.reduction = nodes, partial, reduction
        relu_conv_bn = nn.Sequential(nn.ReLU(), conv(c_pp, c, 1), bn(c))
        self.pre0 = PlainReduce(c_pp, c) if reduction_before else relu_conv_bn
        self.pre1 = nn.Sequential(nn.ReLU(), conv(c_p, c, 1), bn(c))
        self.edges = nn.ModuleList(
            operations(c // partial, 2 if reduction and source < 2 else 1)
            for node in range(nodes)
            for source in range(node + 2)
        )

    def edge(self, x: Tensor, operations: nn.ModuleList, weights: Tensor) -> Tensor:
        through, rest = x, None
        if self.partial > 1:
            through, rest = x.tensor_split([x.shape[1] // self.partial], dim=1)
        out = sum(w * operation(through) for w, operation in zip(weights, operations, strict=True))
        if rest is None:
            return out
        if out.shape[2:] != x.shape[2:]:
            rest = F.max_pool2d(rest, 2, 2, ceil_mode=True)
        out = torch.cat([out, rest], dim=1)
        n, c, h, w = out.shape
        out = out.view(n, self.partial, c // self.partial, h, w).transpose(1, 2)
        return out.reshape(n, c, h, w)

    def forward(self, s0: Tensor, s1: Tensor, weights: Tensor, beta: Tensor) -> Tensor:
        states = [self.pre0(s0), self.pre1(s1)]
        e = 0
        for _ in range(self.nodes):
            terms = []
            for x in states:
                terms.append(beta[e] * self.edge(x, self.edges[e], weights[e]))
                e += 1
            states.append(sum(terms))
        return torch.cat(states[2:], dim=1)


class PlainSupernet(nn.Module):
    """Same arguments as `helpers.darts.supernet.Supernet`."""

    def __init__(self, c, layers, num_classes, in_channels=3, stem="cifar", partial=1, nodes=4):
        super().__init__()
        self.partial, self.nodes = partial, nodes

        def stem_conv(c_in: int, c_out: int, stride: int) -> list[nn.Module]:
            norm = nn.BatchNorm2d(c_out, track_running_stats=False)
            return [conv(c_in, c_out, 3, stride, padding=1), norm]

        before = stem == "imagenet"
        if before:
            first = stem_conv(in_channels, c // 2, 2)
            self.stem0 = nn.Sequential(*first, nn.ReLU(), *stem_conv(c // 2, c, 2))
            self.stem1 = nn.Sequential(nn.ReLU(), *stem_conv(c, c, 2))
            c_pp = c_p = c
        else:
            self.stem0 = nn.Sequential(*stem_conv(in_channels, 3 * c, 1))
            self.stem1 = nn.Identity()
            c_pp = c_p = 3 * c
        self.cells = nn.ModuleList()
        for i in range(layers):
            reduction = i in (layers // 3, 2 * layers // 3)
            c = 2 * c if reduction else c
            self.cells.append(PlainCell(c_pp, c_p, c, nodes, partial, reduction, before))
            c_pp, c_p, before = c_p, nodes * c, reduction
        self.classifier = nn.Linear(c_p, num_classes)
        edges = nodes * (nodes + 3) // 2
        for name in ("normal", "reduce"):
            setattr(self, f"alpha_{name}", nn.Parameter(1e-3 * torch.randn(edges, 8)))
            beta = nn.Parameter(1e-3 * torch.randn(edges)) if partial > 1 else None
            setattr(self, f"beta_{name}", beta)

    def alphas(self) -> list[nn.Parameter]:
        named = dict(self.named_parameters())
        names = ("alpha_normal", "alpha_reduce", "beta_normal", "beta_reduce")
        return [named[name] for name in names if name in named]

    def weights(self) -> list[nn.Parameter]:
        chosen = ("alpha_", "beta_")
        return [p for name, p in self.named_parameters() if not name.startswith(chosen)]

    def beta(self, name: str) -> Tensor:
        beta = getattr(self, f"beta_{name}")
        if beta is None:
            return torch.ones(self.alpha_normal.shape[0], dtype=self.alpha_normal.dtype)
        parts, start = [], 0
        for node in range(self.nodes):
            parts.append(F.softmax(beta[start : start + node + 2], dim=0))
            start += node + 2
        return torch.cat(parts)

    def forward(self, x: Tensor) -> Tensor:
        s0 = self.stem0(x)
        s1 = self.stem1(s0)
        for cell in self.cells:
            name = "reduce" if cell.reduction else "normal"
            weights = F.softmax(getattr(self, f"alpha_{name}"), dim=-1)
            s0, s1 = s1, cell(s0, s1, weights, self.beta(name))
        return self.classifier(F.adaptive_avg_pool2d(s1, 1).flatten(1))


def operation_slots(edges_of_state: nn.Module, operations: nn.ModuleList, edge: int):
    """Pairs (parameter of the plain operations, its slice of the weights of a state's edges)."""
    state = edges_of_state

    def slices(depthwise: nn.Module, pointwise: nn.Module, layer: nn.Module):
        for mine, theirs in ((depthwise, layer.depthwise), (pointwise, layer.pointwise)):
            yield mine.weight, theirs.weight.chunk(state.edges)[edge]

    for name, at in (("sep3", 4), ("sep5", 5)):
        yield from slices(operations[at][1], operations[at][2], getattr(state, name)[0])
        yield from slices(operations[at][5], operations[at][6], getattr(state, name)[1])
    for name, at in (("dil3", 6), ("dil5", 7)):
        yield from slices(operations[at][1], operations[at][2], getattr(state, name))
    if state.reduce is not None:
        yield from reduce_slots(operations[3], state.reduce.weight.chunk(state.edges)[edge])


def reduce_slots(plain: PlainReduce, weight: Tensor):
    half = plain.conv_1.weight.shape[0]
    yield plain.conv_1.weight, weight[:half]
    yield plain.conv_2.weight, weight[half:]


def slots(plain: PlainSupernet, batched: nn.Module):
    """Pairs (plain parameter, batched tensor of as many numbers) that cover both networks."""
    for name in ("stem0", "stem1", "classifier"):
        a, b = plain.get_submodule(name), batched.get_submodule(name)
        yield from zip(a.parameters(), b.parameters(), strict=True)
    for a, b in zip(plain.cells, batched.cells, strict=True):
        if isinstance(a.pre0, PlainReduce):
            yield from reduce_slots(a.pre0, b.pre0.weight)
        else:
            yield a.pre0[1].weight, b.pre0.weight
        yield a.pre1[1].weight, b.pre1.weight
        e = 0
        for node in range(a.nodes):
            for source in range(node + 2):
                edge = node - max(0, source - 1)
                yield from operation_slots(b.states[source], a.edges[e], edge)
                e += 1
    yield from zip(plain.alphas(), batched.architecture_parameters(), strict=True)


@torch.no_grad()
def copy_to_plain(batched: nn.Module, plain: PlainSupernet) -> None:
    for a, b in slots(plain, batched):
        a.copy_(b.reshape(a.shape))
