"""Trainings on images: the two-layer CNN, the last layer alone (LL), and all layers (FBP)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from helpers.core import files, seeding
from helpers.core.members import Member, cross_fitted
from helpers.datasets.cache import ImageCache
from helpers.models import backbones, names
from helpers.models.depthwise import use_fast_depthwise
from helpers.runs.stages import Stage
from helpers.training import baselines
from helpers.training.augment import augmentation
from helpers.training.batches import EmbeddingBatches, epoch_order, to_float
from helpers.training.features import embed, image_batches, load_features, save_features
from helpers.training.lr_range import lr_range_test
from helpers.training.settings import FinetuneSettings
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
        views=settings.test_views,
        sizes=("cnn_image_size_px", "batch_size"),
    )
    (trained,) = train_model(stage, recipe, cache, [Member(settings.seed)])
    return trained


def train_all_layers(stage: Stage, weights: backbones.Weights) -> list[Trained]:
    """Fine-tune all layers (FBP) of a pretrained backbone with a new head.

    There is a training for each seed, and for each of the split's folds. The model is called "fbp",
    on further backbones of the stage "fbp_<backbone>".
    """
    settings: FinetuneSettings = stage.settings
    cache = stage.images(settings.image_size_px)
    recipe = Recipe(
        "fbp" + _suffix(stage, weights),
        lambda seed: _all_layers(stage, weights, cache, seed),
        settings.fbp,
        {"architecture": weights.backbone, "weights": weights.digest},
        views=settings.test_views,
        sizes=("image_size_px", "batch_size"),
    )
    seeds = range(settings.seed, settings.seed + settings.seeds)
    return train_models(stage, [recipe], cache, cross_fitted(stage.split, seeds))


def augmented_views(stage: Stage, images: int = 8, views: int = 3) -> np.ndarray:
    """Return the first training images of FBP as they are, and as its training may see them.

    Returns:
        (1 + views, images, H, W, C) in [0, 1].
    """
    settings: FinetuneSettings = stage.settings
    cache, train = stage.images(settings.image_size_px), stage.split[stage.split.split == "train"]
    first = train.id.iloc[epoch_order(len(train), settings.seed, epoch=0)[:images]]
    pixels = torch.from_numpy(cache.take(cache.rows(first)))
    batch = to_float(pixels, torch.device("cpu"))  # (B, C, H, W)
    augment = augmentation(settings.fbp.augment)
    with seeding.torch_stream(settings.seed, "shown views"):
        seen = [batch, *(augment(batch) for _ in range(views))]
    return torch.stack(seen).permute(0, 1, 3, 4, 2).numpy()


def try_learning_rates(stage: Stage, weights: backbones.Weights) -> pd.DataFrame:
    """Run `lr_range_test` for all layers (FBP) once, and return its table.

    It trains a copy of the first seed's network, on the training images.
    """
    settings: FinetuneSettings = stage.settings
    cache, training = stage.images(settings.image_size_px), settings.fbp
    train = stage.split[stage.split.split == "train"]
    inputs = {
        "images": cache.content,
        "train": files.fingerprint(train[["id", "label"]].astype(str).to_numpy()),
        "seed": settings.seed,
        "settings": dataclasses.asdict(training),
        "weights": weights.digest,
    }

    def work(table: Path) -> None:
        model = _all_layers(stage, weights, cache, settings.seed)
        batches = image_batches(cache, train, model, training.batch_size, training.augment)
        files.save_csv(table, lr_range_test(model, batches, training, settings.seed))

    path = stage.paths.table("03_lr_range")
    stage.once("lr range test", inputs, work, sizes=("image_size_px", "batch_size"), table=path)
    return files.load_csv(path, ("lr", "loss", "smoothed"))


def train_last_layer(stage: Stage, weights: backbones.Weights) -> list[Trained]:
    """Train the last layer alone (LL, a linear probe) on the frozen backbone's embeddings.

    There is a training for each of the split's folds. The model is called "ll", on further
    backbones of the stage "ll_<backbone>".
    """
    settings: FinetuneSettings = stage.settings
    cache = stage.images(settings.image_size_px)
    features = load_features(stage.paths.features(weights.backbone))

    def batches(rows: pd.DataFrame) -> EmbeddingBatches:
        labels, ids = rows.label.fillna(-1).to_numpy(dtype=np.int64), rows.id.to_numpy(dtype=str)
        return EmbeddingBatches(features.of(rows.id), labels, ids, settings.ll.batch_size)

    recipe = Recipe(
        "ll" + _suffix(stage, weights),
        lambda seed: _pretrained(seed, weights, cache),
        settings.ll,
        {"architecture": weights.backbone, "weights": weights.digest},
        sizes=(),
        part=lambda model: model.head,
        batches=batches,
    )
    return train_model(stage, recipe, cache, cross_fitted(stage.split, [settings.seed]))


def fit_on_finetuned(stage: Stage, weights: backbones.Weights) -> list[dict[str, Any]]:
    """Fit the classical models on FBP's features (of its first seed); see `baselines.fit_all`.

    The model of a fold is fitted on the features of the network that has not seen this fold.
    """
    suffix = _suffix(stage, weights)
    members = cross_fitted(stage.split, [stage.settings.seed])
    found = {member.fold: finetuned_features(stage, member, "fbp" + suffix) for member in members}
    return baselines.fit_all(
        stage,
        lambda fold: load_features(found[fold]),
        "fbp" + suffix,
        suffix=suffix + names.FINETUNED,
    )


def finetuned_features(stage: Stage, member: Member, model: str = "fbp") -> Path:
    """Compute the embeddings of all images by one training of FBP once, and return their file.

    The file of the first training is `features/fbp.npz`. `model` is FBP's name, see
    `train_all_layers`.
    """
    settings: FinetuneSettings = stage.settings
    cache = stage.images(settings.image_size_px)
    checkpoint = stage.paths.checkpoint(model, *member)
    name = f"{model}_fold{member.fold}" if member.fold else model
    path = stage.paths.features(name)

    def compute(features: Path) -> None:
        network = backbones.load_model(checkpoint)
        found = embed(network, cache, stage.split, precision=settings.precision)
        save_features(features, found)

    inputs = {"weights": files.file_digest(checkpoint), "images": cache.content}
    stage.once(f"features {name}", inputs, compute, sizes=["image_size_px"], features=path)
    return path


def _all_layers(
    stage: Stage, weights: backbones.Weights, cache: ImageCache, seed: int
) -> backbones.PretrainedClassifier:
    return use_fast_depthwise(_pretrained(seed, weights, cache))


def _suffix(stage: Stage, weights: backbones.Weights) -> str:
    return names.backbone_suffix(weights.backbone, stage.settings.backbone)


def _pretrained(
    seed: int, weights: backbones.Weights, cache: ImageCache
) -> backbones.PretrainedClassifier:
    with seeding.torch_stream(seed, "initial weights head"):
        return backbones.pretrained(weights, NUM_CLASSES, cache.size_px)
