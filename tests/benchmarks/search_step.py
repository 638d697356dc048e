"""Time a search step against a plain one: `python -m tests.benchmarks.search_step`.

The plain network computes each operation of each edge by torch's modules and, in the second order,
copies the model for w', as the public reference does. C = 16, L = 8, batch 32, maps of 32 px. The
sides alternate in processes of their own; the fastest step of each counts.
"""

from __future__ import annotations

import copy
import math
import multiprocessing
import sys
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.darts.architect import EPSILON, Architect
from helpers.darts.supernet import Supernet
from helpers.training import allocator
from tests.plain_darts import PlainSupernet

Batch = tuple[Tensor, Tensor]
ROUNDS = 2
KINDS = {"plain": 0, "ours": 1, "ours, 1/4 of the channels": 4}


def loss_of(net: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(net(batch[0]), batch[1])


def plain_second_order(net: PlainSupernet, val: Batch, train: Batch, sgd: torch.optim.SGD) -> None:
    """Leave the gradient of alpha after a step of w in alpha.grad (DARTS, equations 7 and 8)."""
    weights, group = net.weights(), sgd.param_groups[0]
    ahead, xi = copy.deepcopy(net), group["lr"]
    gradient = torch.autograd.grad(loss_of(net, train), weights)
    for moved, w, g in zip(ahead.weights(), weights, gradient, strict=True):
        momentum = sgd.state[w].get("momentum_buffer", torch.zeros_like(w))
        step = group["momentum"] * momentum + g + group["weight_decay"] * w
        moved.data.copy_(w.data - xi * step)
    loss_of(ahead, val).backward()
    direction = [w.grad for w in ahead.weights()]
    epsilon, sides = EPSILON / torch.cat([g.flatten() for g in direction]).norm(), []
    for shift in (epsilon, -2 * epsilon):
        for w, g in zip(weights, direction, strict=True):
            w.data.add_(shift * g)
        sides.append(torch.autograd.grad(loss_of(net, train), net.alphas()))
    for w, g in zip(weights, direction, strict=True):
        w.data.add_(epsilon * g)
    for alpha, first, plus, minus in zip(net.alphas(), ahead.alphas(), *sides, strict=True):
        alpha.grad = first.grad - xi * (plus - minus) / (2 * epsilon)


def seconds(
    kind: str, order: int, channels: int = 16, layers: int = 8, batch: int = 32, steps: int = 3
) -> float:
    """Return the seconds of the fastest step after the first one: of alpha, then of w."""
    torch.manual_seed(0)
    val, train = ((torch.randn(batch, 3, 32, 32), torch.arange(batch) % 2) for _ in range(2))
    if plain := not KINDS[kind]:
        net: nn.Module = PlainSupernet(channels, layers, 2)
        weights = net.weights()
        adam = torch.optim.Adam(net.alphas(), 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    else:
        allocator.keep_freed_memory()
        net = Supernet(channels, layers, 2, partial=KINDS[kind])
        weights = net.weight_parameters()
        architect = Architect(net, F.cross_entropy, order)
    sgd, times = torch.optim.SGD(weights, 0.025, momentum=0.9, weight_decay=3e-4), []
    for _ in range(steps + 1):
        started = time.perf_counter()
        if plain:
            adam.zero_grad()
            if order == 2:
                plain_second_order(net, val, train, sgd)
            else:
                loss_of(net, val).backward()  # of the weights too, as the reference does
            adam.step()
        else:
            architect.step(val, train, sgd)
        sgd.zero_grad()
        loss_of(net, train).backward()
        nn.utils.clip_grad_norm_(weights, 5.0)
        sgd.step()
        times.append(time.perf_counter() - started)
    return min(times[1:])


def main() -> int:
    """Print seconds and ratios of both orders; return the exit code."""
    for order in (1, 2):
        fastest = dict.fromkeys(KINDS, math.inf)
        for kind in [*KINDS] * ROUNDS:
            with multiprocessing.get_context("spawn").Pool(1) as fresh:
                fastest[kind] = min(fastest[kind], fresh.apply(seconds, (kind, order)))
        for kind, value in fastest.items():
            print(f"order {order}, {kind}: {value:.2f} s, {fastest['plain'] / value:.2f}x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
