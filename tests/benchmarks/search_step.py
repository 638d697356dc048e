"""Seconds per search step and peak memory: `python -m tests.benchmarks.search_step`.

Ours against the plain network, which computes each operation of each edge by torch's modules and,
in the second order, rebuilds the model for w'. Batch 32, 32x32 after the stem, C = 16, L = 8, two
classes. Each measurement is a process of its own; memory is counted above the imports.
"""

import argparse
import json
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import torch
import torch.nn.functional as F
from torch import nn

from helpers import seeding
from helpers.darts.architect import Architect
from helpers.darts.supernet import Supernet
from tests import plain_darts

MIB_PER_MAXRSS = 1 / 1024  # Linux counts KiB
KINDS = ("plain", "fast", "partial")


def peak_mib() -> float:
    """The process's largest resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MIB_PER_MAXRSS


def optimizers(weights, alphas):
    """SGD on w and Adam on alpha, as the search has them."""
    sgd = torch.optim.SGD(weights, 0.025, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(alphas, 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    return sgd, adam


def plain_steps(order: int):
    """A function that does one step of the plain search."""
    net = plain_darts.PlainSupernet(16, 8, 2)
    sgd, adam = optimizers(net.weights(), net.alphas())
    return lambda train, val: plain_darts.plain_step(net, train, val, sgd, adam, order == 2)


def fast_steps(order: int, partial: int, device: torch.device):
    """A function that does one step of our search: alpha, then w."""
    net = Supernet(16, 8, 2, partial=partial).to(device)
    weights = net.weight_parameters()
    sgd, _ = optimizers(weights, net.architecture_parameters())
    architect = Architect(net, F.cross_entropy, order)

    def step(train, val):
        architect.step(val, train, sgd)
        sgd.zero_grad()
        F.cross_entropy(net(train[0]), train[1]).backward()
        nn.utils.clip_grad_norm_(weights, 5.0)
        sgd.step()

    return step


def measure(kind: str, order: int, steps: int) -> tuple[float, float]:
    """Seconds of the fastest of some steps after a first one, and MiB above the imports."""
    torch.manual_seed(0)
    device = seeding.default_device() if kind != "plain" else torch.device("cpu")
    before = peak_mib()
    images, targets = torch.randn(2, 32, 3, 32, 32), torch.randint(0, 2, (2, 32))
    batches = [(images[i].to(device), targets[i].to(device)) for i in range(2)]
    if kind == "plain":
        step = plain_steps(order)
    else:
        step = fast_steps(order, 4 if kind == "partial" else 1, device)
    seconds = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        step(*batches)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:]), peak_mib() - before


def main() -> None:
    """Print a line per order and network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--orders", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", help="also write the numbers to this file")
    arguments = parser.parse_args()
    fresh = multiprocessing.get_context("spawn")
    print(seeding.device_name(torch.device("cpu")), "- torch", torch.__version__)
    print(f"{'order':>5}  {'network':8}  {'s/step':>7}  {'ratio':>5}  {'MiB':>6}")
    rows = []
    for order in arguments.orders:
        plain_s = None
        for kind in KINDS:
            with ProcessPoolExecutor(1, mp_context=fresh) as pool:
                seconds, mib = pool.submit(measure, kind, order, arguments.steps).result()
            plain_s = plain_s or seconds
            rows.append({"order": order, "network": kind, "seconds": seconds, "mib": mib})
            ratio = plain_s / seconds
            print(f"{order:5}  {kind:8}  {seconds:7.2f}  {ratio:5.1f}  {mib:6.0f}", flush=True)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)


if __name__ == "__main__":
    main()
