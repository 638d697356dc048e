"""Training on images: the two-layer CNN, the last layer alone (LL), and all layers (FBP)."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from helpers.core import devices, files, processes, seeding
from helpers.datasets.cache import ImageCache
from helpers.models import backbones
from helpers.models.complexity import count_parameters
from helpers.models.depthwise import use_fast_depthwise
from helpers.runs.predictions import save_predictions
from helpers.runs.settings import FinetuneSettings
from helpers.runs.stages import Stage
from helpers.training import fit as training
from helpers.training import trained
from helpers.training.batches import EmbeddingBatches
from helpers.training.features import Features, embed, load_features, save_features
from helpers.training.inference import predict
from helpers.training.trained import Trained


def train_cnn(stage: Stage, split: pd.DataFrame, cache: ImageCache) -> Trained:
    """The report's two-layer network from random initialisation, at the cache's size."""
    settings: FinetuneSettings = stage.settings
    spec = backbones.spec_of("cnn", trained.NUM_CLASSES, cache.size_px, cache.channels)
    with seeding.torch_stream(settings.seed, "initial weights cnn"):
        model = backbones.build(spec)
    seed, flips, sizes = settings.seed, settings.flip_test, ("cnn_image_size_px", "batch_size")
    return trained.train_once(
        stage, "cnn", model, split, cache, settings.cnn, seed, flips, sizes=sizes
    )


def train_all_layers(
    stage: Stage, split: pd.DataFrame, cache: ImageCache, weights: backbones.Weights
) -> list[Trained]:
    """FBP: the pretrained backbone with a new last layer, all layers trained; once for each seed.

    The files of the first are called `fbp`, of the others `fbp_seed1`, ..., and of the mean of
    their scores `fbp_averaged`.
    """
    settings: FinetuneSettings = stage.settings
    flips, digest, found = settings.flip_test, weights.digest, []
    names = trained.names_of_seeds(stage.paths, "fbp", settings.seeds)
    for number, name in enumerate(names):
        seed = settings.seed + number
        model = use_fast_depthwise(_pretrained(seed, weights, cache))
        found.append(
            trained.train_once(
                stage,
                name,
                model,
                split,
                cache,
                settings.fbp,
                seed,
                flips,
                weights=digest,
                sizes=("image_size_px", "batch_size"),
            )
        )
    trained.average_seeds(stage, names, split)
    return found


def train_last_layer(
    stage: Stage, split: pd.DataFrame, cache: ImageCache, weights: backbones.Weights
) -> Trained:
    """LL: the last layer alone, trained on the frozen backbone's stored embeddings."""
    settings: FinetuneSettings = stage.settings
    model = _pretrained(settings.seed, weights, cache)
    features = load_features(stage.paths.features(weights.backbone))

    def batches(side: str) -> EmbeddingBatches:
        """The stored embeddings of one side of the split."""
        rows = split[split.split == side]
        labels = rows.label.fillna(-1).to_numpy(dtype=np.int64)
        ids = rows.id.to_numpy(dtype=str)
        return EmbeddingBatches(features.of(rows.id), labels, ids, settings.ll.batch_size)

    inputs = trained.inputs_of(split, cache, settings.seed, settings.ll, weights.backbone)
    inputs["weights"] = weights.digest
    path, record = stage.paths.checkpoint("ll"), stage.paths.metrics("ll_history")
    outputs = [path, record, stage.paths.predictions("ll")]
    with stage.step("ll", inputs, outputs, sizes=()) as needed:
        if needed:
            fit = training.fit(
                model.head,
                batches("train"),
                batches("val"),
                settings.ll,
                seed=settings.seed,
                name="LL",
            )
            scores = np.concatenate(
                [predict(model.head, batches(s), "no") for s in ("val", "test")]
            )
            order = pd.concat([split[split.split == side] for side in ("val", "test")])
            if processes.is_main():
                backbones.save_model(path, model, full_scale_bits=cache.bits)
                save_predictions(outputs[-1], order, scores)
                parameters, precision = count_parameters(model.head), settings.ll.precision
                trained.save_history(record, fit, parameters, precision)
    found = processes.from_main(trained.load_history, "ll", record)
    stage.rate("ll", found.images_per_s)
    return found


def finetuned_features(stage: Stage, split: pd.DataFrame, cache: ImageCache) -> Features:
    """Embeddings of all images by the fine-tuned backbone."""
    checkpoint = stage.paths.checkpoint("fbp")
    path = stage.paths.features("fbp")
    inputs = {"weights": files.file_digest(checkpoint), "images": cache.content}
    with stage.step("features fbp", inputs, [path], ["image_size_px"]) as needed:
        if needed and processes.is_main():
            model = backbones.load_model(checkpoint)
            device = devices.default_device()
            started = time.monotonic()
            features = embed(model, cache, split, device, precision=stage.settings.precision)
            stage.rate("embed fbp", len(split) / (time.monotonic() - started))
            save_features(path, features)
    return load_features(path)


def _pretrained(
    seed: int, weights: backbones.Weights, cache: ImageCache
) -> backbones.PretrainedClassifier:
    with seeding.torch_stream(seed, "initial weights head"):
        return backbones.pretrained(weights, trained.NUM_CLASSES, cache.size_px)
