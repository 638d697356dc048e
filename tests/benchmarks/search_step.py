"""Time a step of the search against a plain one: `python -m tests.benchmarks.search_step`.

Plain is the readable `Supernet` as torch computes it. Each step of its alpha computes gradients of
the weights too and, in the second order, copies the network for w', as the authors' code does. C =
16, L = 8, 32 images of 32 px, float32. The sides alternate in processes of their own; the fastest
step of each counts.
"""

import copy
import math
import multiprocessing
import time

import torch
import torch.nn.functional as F
from torch import nn

from helpers.darts.architect import EPSILON, Architect, unrolled
from helpers.darts.fast_supernet import FastSupernet
from helpers.darts.supernet import Supernet
from helpers.training import inference, loop

ROUNDS, STEPS = 2, 3
KINDS = {"plain": 0, "ours": 1, "ours, 1/4 of the channels": 4}  # K of ours


def loss_of(net, batch):
    return F.cross_entropy(net(batch[0]), batch[1])


def plain_step(net, val, train, sgd, order):
    """Leave the gradient of alpha in alpha.grad (arXiv 1806.09055, equations 6 to 8)."""
    if order == 1:
        loss_of(net, val).backward()
        return
    alphas, weights = net.architecture_parameters(), net.weight_parameters()
    ahead, dw = copy.deepcopy(net), torch.autograd.grad(loss_of(net, train), weights)
    for moved, w in zip(ahead.weight_parameters(), unrolled(weights, dw, sgd), strict=True):
        moved.data.copy_(w)
    loss_of(ahead, val).backward()
    v, sides = [w.grad for w in ahead.weight_parameters()], []
    epsilon = EPSILON / torch.cat([g.flatten() for g in v]).norm()
    for shift in (epsilon, -2 * epsilon):
        for w, g in zip(weights, v, strict=True):
            w.data.add_(shift * g)
        sides.append(torch.autograd.grad(loss_of(net, train), alphas))
    for w, g in zip(weights, v, strict=True):
        w.data.add_(epsilon * g)
    xi, ends = sgd.param_groups[0]["lr"], zip(ahead.architecture_parameters(), *sides, strict=True)
    for alpha, (first, plus, minus) in zip(alphas, ends, strict=True):
        alpha.grad = first.grad - xi * (plus - minus) / (2 * epsilon)


def seconds(kind, order):
    """Return the seconds of the fastest step after the first one: of alpha, then of w."""
    torch.manual_seed(0)
    val, train = ((torch.randn(32, 3, 32, 32), torch.arange(32) % 2) for _ in range(2))
    if k := KINDS[kind]:
        loop.keep_freed_memory()
        net = inference.placed(FastSupernet(16, 8, 2, partial=k), torch.device("cpu"))
    else:
        net = Supernet(16, 8, 2)
    weights, times = net.weight_parameters(), []
    architect = Architect(net, F.cross_entropy, order)
    sgd = torch.optim.SGD(weights, 0.025, momentum=0.9, weight_decay=3e-4)
    for _ in range(1 + STEPS):
        started = time.perf_counter()
        if k:
            architect.step(val, train, sgd)
        else:
            architect.adam.zero_grad()
            plain_step(net, val, train, sgd, order)
            architect.adam.step()
        sgd.zero_grad()
        loss_of(net, train).backward(inputs=weights)
        nn.utils.clip_grad_norm_(weights, 5.0)
        sgd.step()
        times.append(time.perf_counter() - started)
    return min(times[1:])


def main():
    """Print seconds and ratios of both orders."""
    for order in (1, 2):
        fastest = dict.fromkeys(KINDS, math.inf)
        for kind in [*KINDS] * ROUNDS:
            with multiprocessing.get_context("spawn").Pool(1) as fresh:
                fastest[kind] = min(fastest[kind], fresh.apply(seconds, (kind, order)))
        for kind, value in fastest.items():
            print(f"order {order}, {kind}: {value:.2f} s, {fastest['plain'] / value:.2f}x")


if __name__ == "__main__":
    main()
