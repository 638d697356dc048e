"""Train a network on images or on stored embeddings, and score the images that it has not seen.

    fitted = fit(partial(two_layer_cnn, 64, 1), images, split, TrainSettings(epochs=3), seed=0)
    fitted.scores  # id, split, defect_score of the validation and test images

`two_layer_cnn` and `pretrained` are functions of a seed by `functools.partial`.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import nn

from helpers.core import environment, seeding
from helpers.core.members import Member, sides
from helpers.core.rules import SettingsError
from helpers.datasets.cache import ImageCache
from helpers.models import backbones
from helpers.models.backbones import Network
from helpers.models.weights import Weights
from helpers.training.batches import Batches, EmbeddingBatches, ImageBatches, augmentation
from helpers.training.inference import Features, facts_of, predict
from helpers.training.loop import Training
from helpers.training.settings import TrainSettings

NUM_CLASSES = 2
SEEN = ["id", "label", "split"]  # columns of the split that a training sees
Build = Callable[[int], Network]  # from a seed to a network with its initial weights


@dataclass(frozen=True)
class Fitted:
    """A trained network, its scores, and how it was trained."""

    network: Network  # its `facts` say how images have to be read and scored
    scores: pd.DataFrame  # id, split, defect_score of the rows "val" and "test"
    history: list[dict[str, Any]]  # a record of each epoch
    seconds: float
    parameters: int  # that were trained
    device: str  # where it was trained, and in which precision


def fit(
    network: Build | nn.Module,
    images: ImageCache,
    table: pd.DataFrame,
    settings: TrainSettings,
    seed: int,
    *,
    features: Features | None = None,
) -> Fitted:
    """Train a network on the rows `train` of a table (`id`, `label`, `split`); validate on `val`.

    `network` is a function from a seed to the network with its initial weights; or any module that
    gives two raw class scores (B, 2), of which a copy is trained, see `own_network`. If `features`
    are given, the images' embeddings, only its `head` is trained.
    """
    with environment.threads(settings.threads):
        return _fit(network, images, table, settings, seed, features)


def _fit(
    network: Build | nn.Module,
    images: ImageCache,
    table: pd.DataFrame,
    settings: TrainSettings,
    seed: int,
    features: Features | None,
) -> Fitted:
    if isinstance(network, nn.Module):
        network = backbones.own_network(network, images.size_px, images.channels)
    elif not isinstance(network := network(seed), Network):
        way_out = "pass the module itself, as fit(module, ...)"
        raise SettingsError(f"a function gives a {type(network).__name__}: {way_out}")
    if settings.frozen:
        if not isinstance(network, backbones.PretrainedClassifier):
            raise SettingsError(f"frozen={settings.frozen}: {network.spec.name} is not pretrained")
        network.freeze(settings.frozen)
    trained = network if features is None else network.get_submodule("head")

    def batches(*sides: str, **options: Any) -> Batches:
        rows = table[table.split.isin(sides)]
        if features is not None:
            return EmbeddingBatches(features.of(rows.id), rows, settings.batch_size)
        return ImageBatches(images, rows, network, settings.batch_size, **options)

    augment = augmentation(settings.augment)
    train = batches("train", augment=augment, epoch_images=settings.epoch_images)
    training = Training(trained, train, batches("val"), settings, seed=seed).run()
    device = environment.device_name(environment.default_device())
    # embeddings were made in the device's own precision
    precision = settings.precision if features is None else "auto"
    network.facts = facts_of(images, network, settings.test_views, precision)
    rows = table.loc[table.split.isin(["val", "test"]), ["id", "split"]].reset_index(drop=True)
    scores = predict(trained, batches("val", "test"), settings.precision, settings.test_views)
    return Fitted(
        network=network,
        scores=rows.assign(defect_score=scores),
        history=training.history,
        seconds=training.seconds,
        parameters=sum(p.numel() for p in trained.parameters() if p.requires_grad),
        device=f"{device}, {training.precision.replace('no', 'float32')}",
    )


def trainings(
    members: Iterable[Member],
    network: Build | nn.Module,
    images: ImageCache,
    split: pd.DataFrame,
    settings: TrainSettings,
    **options: Any,
) -> dict[Member, functools.partial[Fitted]]:
    """Return the call of `fit` for each member: nothing is trained yet.

    A training with a fold fits on all other folds, and predicts its fold and test. It keeps its
    last epoch, since the fold that judges it must not choose the epoch.
    """
    last = dataclasses.replace(settings, keep="last")
    calls = {}
    for member in members:
        kept = settings if member.fold is None else last
        rows = sides(split, member.fold)[SEEN]
        calls[member] = functools.partial(fit, network, images, rows, kept, member.seed, **options)
    return calls


def two_layer_cnn(size_px: int, channels: int, seed: int) -> backbones.TwoLayerCNN:
    """Return the report's small network with random weights."""
    spec = backbones.spec_of("cnn", NUM_CLASSES, size_px, channels)
    with seeding.torch_stream(seed, "initial weights cnn"):
        return backbones.TwoLayerCNN(spec)


def pretrained(weights: Weights, size_px: int, seed: int) -> backbones.PretrainedClassifier:
    """Return a pretrained backbone with a new head."""
    with seeding.torch_stream(seed, "initial weights head"):
        return backbones.pretrained(weights, NUM_CLASSES, size_px)
