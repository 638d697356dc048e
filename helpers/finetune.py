"""Training on images: the two-layer CNN, the last layer alone (LL), and all layers (FBP)."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from helpers import artifacts, backbones, seeding, training
from helpers.batches import EmbeddingBatches
from helpers.config import FinetuneSettings, TrainSettings
from helpers.darts.depthwise import use_fast_depthwise
from helpers.features import Features, embed, image_batches, load_features, save_features
from helpers.images import ImageCache
from helpers.inference import predict
from helpers.results import save_predictions
from helpers.stages import Stage

NUM_CLASSES = 2


@dataclass(frozen=True)
class Trained:
    """A model of the run, its learning curve, and how long it took."""

    name: str
    history: list[dict[str, Any]]
    best_epoch: int  # counted from 0
    seconds: float
    parameters: int

    @property
    def curve(self) -> pd.DataFrame:
        """One row per epoch."""
        return pd.DataFrame(self.history).assign(model=self.name)


def train_cnn(stage: Stage, split: pd.DataFrame, cache: ImageCache) -> Trained:
    """The report's two-layer network from random initialisation, at the cache's size."""
    settings: FinetuneSettings = stage.settings
    spec = backbones.spec_of("cnn", NUM_CLASSES, cache.size_px, cache.channels)
    with seeding.torch_stream(settings.seed, "initial weights cnn"):
        model = backbones.build(spec)
    return _train(stage, "cnn", model, split, cache, settings.cnn, flips=settings.flip_test)


def train_all_layers(
    stage: Stage, split: pd.DataFrame, cache: ImageCache, weights: backbones.Weights
) -> Trained:
    """FBP: the pretrained backbone with a new last layer, all layers trained."""
    settings: FinetuneSettings = stage.settings
    model = _pretrained(settings.seed, weights, cache)
    model, flips = use_fast_depthwise(model), settings.flip_test
    return _train(stage, "fbp", model, split, cache, settings.fbp, flips, weights)


def train_last_layer(
    stage: Stage, split: pd.DataFrame, cache: ImageCache, weights: backbones.Weights
) -> Trained:
    """LL: the last layer alone, trained on the frozen backbone's stored embeddings."""
    settings: FinetuneSettings = stage.settings
    model = _pretrained(settings.seed, weights, cache)
    features = load_features(stage.paths.features(weights.backbone))

    def batches(side: str) -> EmbeddingBatches:
        rows = split[split.split == side]
        labels = rows.label.fillna(-1).to_numpy(dtype=np.int64)
        ids = rows.id.to_numpy(dtype=str)
        return EmbeddingBatches(features.of(rows.id), labels, ids, settings.ll.batch_size)

    inputs = _inputs(split, cache, settings.seed, settings.ll, weights.backbone, weights)
    path, record = stage.paths.checkpoint("ll"), stage.paths.metrics("ll_history")
    outputs = [path, record, stage.paths.predictions("ll")]
    with stage.step("ll", inputs, outputs) as needed:
        if needed:
            fit = training.fit(
                model.head,
                batches("train"),
                batches("val"),
                settings.ll,
                seed=settings.seed,
                name="LL",
            )
            backbones.save_model(path, model)
            scored = split[split.split.isin(["val", "test"])]
            scores = np.concatenate(
                [predict(model.head, batches(s), "no") for s in ("val", "test")]
            )
            order = pd.concat([scored[scored.split == side] for side in ("val", "test")])
            save_predictions(outputs[-1], order, scores)
            _save_history(record, fit, sum(p.numel() for p in model.head.parameters()))
    return _load_history("ll", record)


def finetuned_features(stage: Stage, split: pd.DataFrame, cache: ImageCache) -> Features:
    """Embeddings of all images by the fine-tuned backbone."""
    checkpoint = stage.paths.checkpoint("fbp")
    path = stage.paths.features("fbp")
    inputs = {"weights": artifacts.file_digest(checkpoint), "images": cache.content}
    with stage.step("features fbp", inputs, [path]) as needed:
        if needed:
            model = backbones.load_model(checkpoint)
            device = seeding.default_device()
            features = embed(model, cache, split, device, precision=stage.settings.precision)
            save_features(path, features)
    return load_features(path)


def _pretrained(seed: int, weights: backbones.Weights, cache: ImageCache) -> nn.Module:
    with seeding.torch_stream(seed, "initial weights head"):
        return backbones.pretrained(weights, NUM_CLASSES, cache.size_px)


def _train(
    stage: Stage,
    name: str,
    model: nn.Module,
    split: pd.DataFrame,
    cache: ImageCache,
    settings: TrainSettings,
    flips: bool,
    weights: backbones.Weights | None = None,
) -> Trained:
    """Train on train, keep the best epoch on val, predict val and test; once."""
    paths, seed = stage.paths, stage.settings.seed
    inputs = _inputs(split, cache, seed, settings, model.spec.kind, weights) | {"flips": flips}
    record = paths.metrics(f"{name}_history")
    outputs = [paths.checkpoint(name), record, paths.predictions(name)]
    with stage.step(name, inputs, outputs) as needed:
        if needed:
            sides = {side: split[split.split == side] for side in ("train", "val")}
            batch, kind = settings.batch_size, settings.augment
            train = image_batches(cache, sides["train"], model, batch, kind)
            val = image_batches(cache, sides["val"], model, batch)
            fit = training.fit(
                model,
                train,
                val,
                settings,
                seed=seed,
                name=name.upper(),
                resume=paths.resume(name),
                inputs=inputs,
            )
            backbones.save_model(outputs[0], model)
            scored = split[split.split.isin(["val", "test"])]
            batches = image_batches(cache, scored, model, batch)
            save_predictions(
                outputs[-1], scored, predict(model, batches, settings.precision, flips)
            )
            _save_history(record, fit, sum(p.numel() for p in model.parameters()))
            paths.resume(name).unlink(missing_ok=True)
    return _load_history(name, record)


def _inputs(
    split: pd.DataFrame,
    cache: ImageCache,
    seed: int,
    settings: TrainSettings,
    kind: str,
    weights: backbones.Weights | None = None,
) -> dict[str, Any]:
    """All that decides a training's result."""
    sides = split[["id", "label", "split"]].astype(str).to_numpy().ravel()
    return {
        "images": cache.content,
        "split": artifacts.fingerprint(list(itertools.chain(sides))),
        "seed": seed,
        "settings": dataclasses.asdict(settings),
        "architecture": kind,
        "weights": weights.digest if weights else None,
    }


def _save_history(path, fit: training.Fit, parameters: int) -> None:
    record = {
        "history": fit.history,
        "best_epoch": fit.best_epoch,
        "seconds": fit.seconds,
        "parameters": parameters,
    }
    artifacts.save_json(path, record)


def _load_history(name: str, path) -> Trained:
    return Trained(name=name, **artifacts.load_json(path))
