"""Grad-CAM on ResNet-18, maps/s: ours on a batch, pytorch-grad-cam on one image at a time.

Both run in float32 with random weights, on images that are in memory already.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from helpers.core import devices
from helpers.explain import gradcam
from tests.benchmarks import measure, networks
from tests.benchmarks.measure import Timed
from tests.benchmarks.report import Case, Options

SIZES = {"images": 64, "size_px": 224}
SMALL = {"images": 3, "size_px": 32}
BAD = 1  # the class whose maps are made


def made_up_images(count: int, size_px: int) -> torch.Tensor:
    """Return the same normalised images (B, 3, H, W) for both."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, size_px, size_px, generator=generator)


def ours(count: int, size_px: int) -> Timed:
    """Time all maps in one call, as notebook 06 does, after a first call that is not timed."""
    device = devices.default_device()
    model = networks.ours("resnet18", size_px).to(device).eval()
    images, layer = made_up_images(count, size_px).to(device), model.spec.feature_layer
    images = images.contiguous(memory_format=torch.channels_last)
    gradcam.grad_cam(model, images[:2], BAD, layer)
    return Timed(
        measure.seconds_of(lambda: gradcam.grad_cam(model, images, BAD, layer).cpu()), count
    )


def plainly(count: int, size_px: int) -> Timed:
    """Time one call per image, after a first call that is not timed."""
    device = devices.default_device()
    model = networks.plain_classifier("resnet18").to(device).eval()
    images, targets = made_up_images(count, size_px).to(device), [ClassifierOutputTarget(BAD)]
    with GradCAM(model=model, target_layers=[model[0].layer4[-1]]) as cam:
        cam(input_tensor=images[:1], targets=targets)
        seconds = measure.seconds_of(
            lambda: [cam(input_tensor=image[None], targets=targets)[0] for image in images]
        )
    return Timed(seconds, count)


def cases(sizes: dict[str, Any], options: Options) -> Iterator[Case]:
    """Yield the one case."""
    arguments = (sizes["images"], sizes["size_px"])
    mine = options.measure(ours, *arguments)
    theirs = options.measure(plainly, *arguments)
    yield Case("resnet18, {} images at {} px".format(*arguments), mine, theirs, "maps/s")
