"""The first score of one image file: load a model of three EfficientNet-Lite0, and score it.

Imports are not timed. There is no plain side; the networks have random weights.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import helpers
from helpers.models import backbones
from tests.benchmarks.measure import Timed
from tests.benchmarks.report import Case, Options

SIZES = {"networks": 3, "size_px": 192, "views": 8}
SMALL = {"networks": 1, "size_px": 32, "views": 1}
BACKBONE = "efficientnet_lite0"


def first_answer(folder: Path) -> Timed:
    """Load the folder's model and score one image."""
    started = time.perf_counter()
    helpers.load_model(folder / "model").predict(folder / "part.png")
    return Timed(time.perf_counter() - started)


def cases(sizes: dict[str, Any], options: Options) -> Iterator[Case]:
    """Yield the one case."""
    torch.manual_seed(0)
    for seed in range(sizes["networks"]):
        model = backbones.build(backbones.spec_of(BACKBONE, 2, sizes["size_px"]))
        path = options.folder / "model" / f"seed{seed}.safetensors"
        backbones.save_model(path, model, views=sizes["views"], precision="no")
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
    Image.fromarray(pixels).save(options.folder / "part.png")
    about = f"{sizes['networks']} network(s), {sizes['views']} view(s), {sizes['size_px']} px"
    yield Case(f"first score, {about}", options.measure(first_answer, options.folder), None, "s")
