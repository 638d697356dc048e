"""Time passes with our gradients of depthwise convolutions: `python -m tests.benchmarks.gradients`.

A forward and a backward pass of each network with torch's gradients and with ours, alternating in
one process with one thread: medians of six, in milliseconds.
"""

import statistics
import time

import torch

from helpers.darts.fast_supernet import FastSupernet
from helpers.darts.genotypes import random_genotype
from helpers.darts.network import build_network, network_spec
from helpers.darts.supernet import Supernet
from helpers.models.weights import find_weights
from helpers.training import depthwise, fit, inference, loop
from tests.benchmarks import cells, out_of_fold

SUPERNET = (16, 5, 2, 1, "quarter")  # channels, layers, classes, channels of images, stem


def networks():
    """Yield the name of each network, the network, and the shape of a batch."""
    for name, size_px in ((out_of_fold.LITE0, 160), (out_of_fold.LITE0, 192)):
        model = fit.pretrained(find_weights(name, "", size_px), size_px, 0)
        yield f"{name}, {size_px} px", model, (32, 3, size_px, size_px)
    size = cells.settings_of("chips", 1).network
    cell = build_network(network_spec(random_genotype(0), size, cells.SIZE_PX, 1), 0)
    yield "random cell", cell, (64, 1, cells.SIZE_PX, cells.SIZE_PX)
    for kind in (Supernet, FastSupernet):
        for k in (1, 4):
            yield f"{kind.__name__}, K = {k}", kind(*SUPERNET, partial=k), (32, 1, 128, 128)


def milliseconds(model, shape, dtype):
    """Return the medians with torch's gradients and with ours."""
    inference.placed(model.train(), torch.device("cpu"))
    fast = {m: type(m) for m in model.modules() if type(m) in depthwise.FAST.values()}
    images = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    targets, times = torch.arange(shape[0]) % 2, ([], [])
    for number in range(14):  # the first of each is a warm-up
        for conv, kind in fast.items():
            conv.__class__ = kind if number % 2 else kind.__base__
        started = time.perf_counter()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = loop.loss_of(model(images), targets)
        loss.backward()
        times[number % 2].append(1000 * (time.perf_counter() - started))
    return [statistics.median(one[1:]) for one in times]


def main():
    """Print a line for each network and precision."""
    torch.set_num_threads(1)
    loop.keep_freed_memory()
    for name, model, shape in networks():
        for dtype in (torch.bfloat16, torch.float32):
            theirs, ours = milliseconds(model, shape, dtype)
            print(f"{name}, {dtype}: {theirs:.0f} and {ours:.0f} ms, {theirs / ours:.2f}x")


if __name__ == "__main__":
    main()
