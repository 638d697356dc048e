"""Time passes with our gradients of depthwise convolutions: `python -m tests.benchmarks.gradients`.

A forward and a backward pass of each network with torch's gradients and with ours, alternating in
one process with one thread: medians of six, in milliseconds.
"""

import statistics
import time

import timm
import torch
from torch import nn

from helpers.darts.fast_supernet import FastSupernet
from helpers.darts.genotypes import random_genotype
from helpers.darts.network import build_network, network_spec
from helpers.darts.supernet import Supernet
from helpers.training import depthwise, inference, loop
from tests.benchmarks import cells

SUPERNET = (16, 5, 2, 1, "quarter")  # channels, layers, classes, channels of images, stem


def networks():
    """Yield the name of each network, the network, and the shape of a batch."""
    for name, size_px in (("lite0", 160), ("lite0", 192), ("lite2", 192)):
        model = timm.create_model(f"efficientnet_{name}", num_classes=2)
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
    ours = [m for m in model.modules() if type(m) is depthwise.DepthwiseConv2d]
    images = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    targets, times = torch.arange(shape[0]) % 2, ([], [])
    for number in range(14):  # the first of each is a warm-up
        for conv in ours:
            conv.__class__ = (nn.Conv2d, depthwise.DepthwiseConv2d)[number % 2]
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
