"""Trainings on images: the two-layer CNN, the last layer alone (LL), and all layers (FBP)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.core import devices, files, seeding
from helpers.datasets.cache import ImageCache
from helpers.models import backbones
from helpers.models.depthwise import use_fast_depthwise
from helpers.runs import names
from helpers.runs.members import Member, cross_fitted
from helpers.runs.settings import FinetuneSettings
from helpers.runs.stages import Stage
from helpers.training import baselines
from helpers.training.batches import EmbeddingBatches
from helpers.training.features import embed, load_features, save_features
from helpers.training.trained import NUM_CLASSES, Recipe, Trained, train_model, train_models


def train_cnn(stage: Stage) -> Trained:
    """Train the report's two-layer network from random weights, at its own image size."""
    settings: FinetuneSettings = stage.settings
    cache = stage.images(settings.cnn_image_size_px)

    def build(seed: int) -> backbones.TwoLayerCNN:
        spec = backbones.spec_of("cnn", NUM_CLASSES, cache.size_px, cache.channels)
        with seeding.torch_stream(seed, "initial weights cnn"):
            return backbones.TwoLayerCNN(spec)

    recipe = Recipe(
        "cnn",
        build,
        settings.cnn,
        {"architecture": "cnn"},
        flips=settings.flip_test,
        sizes=("cnn_image_size_px", "batch_size"),
    )
    (trained,) = train_model(stage, recipe, cache, [Member(settings.seed)])
    return trained


def train_all_layers(stage: Stage, weights: backbones.Weights) -> list[Trained]:
    """Fine-tune all layers (FBP) of a pretrained backbone with a new head.

    There is a training for each seed, and for each of the split's folds.
    """
    settings: FinetuneSettings = stage.settings
    cache = stage.images(settings.image_size_px)
    recipe = Recipe(
        "fbp",
        lambda seed: use_fast_depthwise(_pretrained(seed, weights, cache)),
        settings.fbp,
        {"architecture": weights.backbone, "weights": weights.digest},
        flips=settings.flip_test,
        sizes=("image_size_px", "batch_size"),
    )
    seeds = range(settings.seed, settings.seed + settings.seeds)
    return train_models(stage, [recipe], cache, cross_fitted(stage.split, seeds))


def train_last_layer(stage: Stage, weights: backbones.Weights) -> list[Trained]:
    """Train the last layer alone (LL, a linear probe) on the frozen backbone's embeddings.

    There is a training for each of the split's folds.
    """
    settings: FinetuneSettings = stage.settings
    cache = stage.images(settings.image_size_px)
    features = load_features(stage.paths.features(weights.backbone))

    def batches(rows: pd.DataFrame) -> EmbeddingBatches:
        labels, ids = rows.label.fillna(-1).to_numpy(dtype=np.int64), rows.id.to_numpy(dtype=str)
        return EmbeddingBatches(features.of(rows.id), labels, ids, settings.ll.batch_size)

    recipe = Recipe(
        "ll",
        lambda seed: _pretrained(seed, weights, cache),
        settings.ll,
        {"architecture": weights.backbone, "weights": weights.digest},
        sizes=(),
        part=lambda model: model.head,
        batches=batches,
    )
    return train_model(stage, recipe, cache, cross_fitted(stage.split, [settings.seed]))


def fit_on_finetuned(stage: Stage) -> list[dict[str, Any]]:
    """Fit the classical models on FBP's features (of its first seed); see `baselines.fit_all`.

    The model of a fold is fitted on the features of the network that has not seen this fold.
    """
    members = cross_fitted(stage.split, [stage.settings.seed])
    found = {member.fold: finetuned_features(stage, member) for member in members}
    return baselines.fit_all(
        stage, lambda fold: load_features(found[fold]), "fbp", suffix=names.FINETUNED
    )


def finetuned_features(stage: Stage, member: Member) -> Path:
    """Compute the embeddings of all images by one training of FBP once, and return their file.

    Those of the first training are `features/fbp.npz`.
    """
    settings: FinetuneSettings = stage.settings
    cache = stage.images(settings.image_size_px)
    checkpoint = stage.paths.checkpoint("fbp", *member)
    name = f"fbp_fold{member.fold}" if member.fold else "fbp"
    path = stage.paths.features(name)

    def compute(features: Path) -> None:
        model = backbones.load_model(checkpoint)
        started, device = time.monotonic(), devices.default_device()
        found = embed(model, cache, stage.split, device, precision=settings.precision)
        stage.rate(f"embed {name}", len(stage.split) / (time.monotonic() - started))
        save_features(features, found)

    inputs = {"weights": files.file_digest(checkpoint), "images": cache.content}
    stage.once(f"features {name}", inputs, compute, sizes=["image_size_px"], features=path)
    return path


def _pretrained(
    seed: int, weights: backbones.Weights, cache: ImageCache
) -> backbones.PretrainedClassifier:
    with seeding.torch_stream(seed, "initial weights head"):
        return backbones.pretrained(weights, NUM_CLASSES, cache.size_px)
