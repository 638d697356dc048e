"""Seconds per search step and peak memory.

Ours against the plain network, which computes each operation of each edge by torch's modules and,
in the second order, rebuilds the model for w'. Batch 32, 32x32 after the stem, C = 16, L = 8, two
classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from helpers.core import devices
from helpers.darts.architect import Architect
from helpers.darts.supernet import Supernet
from tests import plain_darts
from tests.benchmarks import measure
from tests.benchmarks.measure import Timed

ORDERS = {1: "first order", 2: "second order"}
PARTIAL = {"fast": 1, "partial": 4}  # 1 / so many of the channels go through the operations


def sgd_of(weights):
    """Return SGD on w, as the search has it."""
    return torch.optim.SGD(weights, 0.025, momentum=0.9, weight_decay=3e-4)


def plain_steps(order: int, sizes: dict[str, int], device: torch.device) -> Callable:
    """Return a function that does one step of the plain search."""
    net = plain_darts.PlainSupernet(sizes["channels"], sizes["layers"], 2).to(device)
    sgd = sgd_of(net.weights())
    adam = torch.optim.Adam(net.alphas(), 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    return lambda train, val: plain_darts.plain_step(net, train, val, sgd, adam, order == 2)


def fast_steps(order: int, partial: int, sizes: dict[str, int], device: torch.device) -> Callable:
    """Return a function that does one step of our search: alpha, then w."""
    net = Supernet(sizes["channels"], sizes["layers"], 2, partial=partial).to(device)
    weights = net.weight_parameters()
    sgd = sgd_of(weights)
    architect = Architect(net, F.cross_entropy, order)

    def step(train, val):
        architect.step(val, train, sgd)
        sgd.zero_grad()
        F.cross_entropy(net(train[0]), train[1]).backward()
        nn.utils.clip_grad_norm_(weights, 5.0)
        sgd.step()

    return step


def fastest_step(kind: str, order: int, sizes: dict[str, int]) -> Timed:
    """Time the fastest step after a first one of kind "plain", "fast" or "partial"."""
    torch.manual_seed(0)
    device, (batch, size_px) = devices.default_device(), (sizes["batch"], sizes["size_px"])
    images, targets = torch.randn(2, batch, 3, size_px, size_px), torch.randint(0, 2, (2, batch))
    batches = [(images[i].to(device), targets[i].to(device)) for i in range(2)]
    if kind == "plain":
        step = plain_steps(order, sizes, device)
    else:
        step = fast_steps(order, PARTIAL[kind], sizes, device)
    seconds = [measure.seconds_of(lambda: step(*batches)) for _ in range(sizes["steps"] + 1)]
    return Timed(min(seconds[1:]))


def cases(folder: Path, small: bool) -> Iterator[tuple[str, Timed, Timed]]:
    """Yield two cases per order: all channels, and a quarter of them through the operations."""
    sizes = {"steps": 3, "batch": 32, "size_px": 32, "channels": 16, "layers": 8}
    if small:
        sizes = {"steps": 1, "batch": 2, "size_px": 8, "channels": 4, "layers": 3}
    for order in ORDERS:
        theirs = measure.fresh(fastest_step, "plain", order, sizes)
        for kind, part in PARTIAL.items():
            mine = measure.fresh(fastest_step, kind, order, sizes)
            yield f"{ORDERS[order]}, 1/{part} of the channels", mine, theirs
