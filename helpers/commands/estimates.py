"""What a run will need of the disk and of the memory, before it starts: estimates, no promises.

The factors were measured on this project's networks; a batch's activations grow with its pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FLOAT_BYTES = 4
EMBEDDING_SIZES = {"resnet18": 512, "efficientnet_lite0": 1280}
PARAMETERS = {"resnet18": 11_200_000, "efficientnet_lite0": 3_400_000}
# bytes kept for the backward pass, per image and pixel, in float32
ACTIVATION_BYTES = {"resnet18": 452, "efficientnet_lite0": 1661, "cnn": 190}
CELL_BYTES = 1.65  # the same of a network of cells, times C and L; its stem reduces by 8
# of the supernet, per image, pixel after the stem, C and L, by the order of the search
SUPERNET_BYTES = {1: 405, 2: 480}
STEM_FROM_PX = 64  # from here on the supernet works at an eighth of the size
BF16_SHARE = 0.75  # of float32's memory: weights, norms and the loss stay float32
PROCESS_BYTES = 700_000_000  # a kernel with the libraries loaded
KERNEL_CACHE_BYTES = 1_000_000_000  # of the SVM, at most
SMALL_FILES_BYTES = 40_000_000  # figures, tables, executed notebooks, the report


@dataclass(frozen=True)
class Images:
    """What the sizes depend on beside the settings."""

    count: int
    channels: int  # 1 gray, 3 colour
    cached_px: frozenset[int] = frozenset()  # sizes at which these images are decoded already


def disk_bytes(settings: Mapping[str, Any], images: Images, backbone: str) -> dict[str, int]:
    """Bytes that a run will write, by what they are for.

    Args:
        settings: of each stage, by its name.
        images: how many, gray or colour.
        backbone: "resnet18" or "efficientnet_lite0".
    """
    count = _count(settings, images)
    sizes = _sizes_px(settings) - images.cached_px
    weights = _parameters(settings, images, backbone)
    # while a network is trained: weights, two moments and the best weights, beside the checkpoint
    training = 4 * max(weights.values()) + sum(weights.values())
    return {
        "images": sum(count * size * size * images.channels for size in sizes),
        "features": 2 * count * EMBEDDING_SIZES[backbone] * FLOAT_BYTES,  # before and after FBP
        "checkpoints": training * FLOAT_BYTES,
        "rest": SMALL_FILES_BYTES,
    }


def memory_bytes(
    settings: Mapping[str, Any], images: Images, backbone: str, precision: str
) -> dict[str, int]:
    """Bytes above the process itself that each stage will need at its worst, by the stage's name.

    Cached images are mapped from the disk and take none. `precision` is "bf16", "fp16" or "no".
    """
    share = 1.0 if precision == "no" else BF16_SHARE
    count = _count(settings, images)
    embeddings = count * EMBEDDING_SIZES[backbone] * FLOAT_BYTES
    kernel = min(KERNEL_CACHE_BYTES, count * count * FLOAT_BYTES)
    weights = {k: 4 * FLOAT_BYTES * n for k, n in _parameters(settings, images, backbone).items()}
    tuned, search, cells = (
        settings[name] for name in ("03_finetuning", "04_darts_search", "05_genotype_retraining")
    )
    cnn = tuned.batch_size * tuned.cnn_image_size_px**2 * ACTIVATION_BYTES["cnn"]
    fbp = tuned.batch_size * tuned.image_size_px**2 * ACTIVATION_BYTES[backbone]
    classical = 4 * embeddings + kernel  # standardised copies, parts of the folds
    retrained = cells.retrain_batch_size * cells.retrain_image_size_px**2 * CELL_BYTES
    retrained *= cells.retrain_channels * cells.retrain_layers
    needed = {
        "02_features_baselines": classical,
        "03_finetuning": max(
            weights["cnn"] + share * cnn, weights["backbone"] + share * fbp, classical
        ),
        "04_darts_search": weights["supernet"] + _supernet_bytes(search),
        "05_genotype_retraining": weights["cells"] + share * retrained,
    }
    return {stage: round(value) for stage, value in needed.items()}


def _supernet_bytes(search: Any) -> float:
    """Activations of a step of the search, which is done in float32."""
    side = search.image_size_px // (8 if search.image_size_px >= STEM_FROM_PX else 1)
    mixed = 0.2 + 0.8 / search.partial  # PC-DARTS: 1/K of the channels go through the operations
    factor = SUPERNET_BYTES[search.order] * search.channels * search.layers
    return search.batch_size * side * side * factor * mixed


def _count(settings: Mapping[str, Any], images: Images) -> int:
    return min(images.count, settings["01_data_split"].max_images or images.count)


def _sizes_px(settings: Mapping[str, Any]) -> set[int]:
    """Every size at which some stage wants the images."""
    found = set()
    for stage in settings.values():
        for name in ("image_size_px", "cnn_image_size_px", "retrain_image_size_px"):
            found |= {getattr(stage, name)} if hasattr(stage, name) else set()
    return found


def _parameters(settings: Mapping[str, Any], images: Images, backbone: str) -> dict[str, int]:
    """Weights of the networks that a run trains; of cells and supernet roughly."""
    tuned, search, cells = (
        settings[name] for name in ("03_finetuning", "04_darts_search", "05_genotype_retraining")
    )
    flat = 32 * (tuned.cnn_image_size_px // 4) ** 2  # what the CNN's poolings leave
    return {
        "backbone": PARAMETERS[backbone],
        "cnn": 1000 * flat + 1_017_000 + 400 * images.channels,
        "supernet": 950 * search.channels**2 * search.layers,
        "cells": 125 * cells.retrain_channels**2 * cells.retrain_layers,
    }
