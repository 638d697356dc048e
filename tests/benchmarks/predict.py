"""The first score of one image file: load a model of three EfficientNet-Lite0, and score it.

Imports are not timed. There is no plain side; the networks have random weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import helpers
from helpers.models import backbones
from tests.benchmarks import measure
from tests.benchmarks.measure import Timed


def first_answer(folder: Path) -> Timed:
    """Load the folder's model and score one image."""

    def score() -> None:
        helpers.load_model(folder / "model").predict(folder / "part.png")

    return Timed(measure.seconds_of(score))


def cases(folder: Path, small: bool) -> Iterator[tuple[str, Timed, None]]:
    """Yield the one case."""
    networks, size_px, views = (1, 32, 1) if small else (3, 192, 8)
    torch.manual_seed(0)
    for seed in range(networks):
        model = backbones.build(backbones.spec_of("efficientnet_lite0", 2, size_px))
        path = folder / "model" / f"seed{seed}.safetensors"
        backbones.save_model(path, model, views=views, precision="no")
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "part.png")
    about = f"{networks} network(s), {views} view(s), {size_px} px"
    yield about, measure.fresh(first_answer, folder), None
