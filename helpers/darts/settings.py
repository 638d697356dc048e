"""Settings of the search (notebook 04) and of the networks of its cells (notebook 05)."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from helpers.core.rules import STRICT, Names, NoneOrSeveral, Seed, SettingsError, setting
from helpers.models import Precision, Views
from helpers.training import settings as shared


@dataclass(frozen=True, config=STRICT)
class SearchSettings:
    """Settings of notebook 04, the DARTS search; stem and rate of beta differ from the paper."""

    seed: Seed = setting(0, shared.SEED)
    image_size_px: int = setting(64, "side of the images that the supernet sees", ge=16)
    batch_size: int = setting(64, "images of a step; the paper has 64", ge=2)
    search_images: int = setting(0, "use at most so many training images; 0: all", ge=0)
    epochs: int = setting(50, "of the search; the paper has 50", ge=1)
    channels: int = setting(16, "C of the first cells; the paper has 16", ge=2)
    layers: int = setting(8, "L, the cells, two of them reductions; the paper has 8", ge=3)
    order: int = setting(1, "of alpha's gradient: at w (1), or one step ahead (2)", ge=1, le=2)
    partial: int = setting(1, "K of PC-DARTS: 1/K of the channels are mixed", ge=1)
    alpha_warmup: int = setting(0, "first epochs without steps of alpha", ge=0)
    lr: float = setting(0.025, "learning rate of w at the start; the paper has 0.025", gt=0)
    lr_min: float = setting(0.001, "learning rate of w at the end", ge=0)
    weight_decay: float = setting(3e-4, "weight decay of w; the paper has 3e-4", ge=0)
    alpha_lr: float = setting(3e-4, "learning rate of alpha; the paper has 3e-4", gt=0)
    alpha_weight_decay: float = setting(1e-3, "weight decay of alpha; the paper has 1e-3", ge=0)
    augment: shared.Augment = setting("flips", shared.AUGMENT)
    max_skips: int = setting(2, "skips in the normal cell (P-DARTS); -1: no limit", ge=-1)
    time_budget_min: float = setting(0.0, shared.TIME_BUDGET, ge=0)

    def __post_init__(self) -> None:
        if self.channels % self.partial:
            wrong = f"PARTIAL={self.partial} does not divide CHANNELS={self.channels}"
            raise SettingsError(f"{wrong}: choose a divisor, e.g. 1")
        if self.alpha_warmup >= self.epochs:
            warmup = f"ALPHA_WARMUP={self.alpha_warmup} must be below EPOCHS={self.epochs}"
            raise SettingsError(f"{warmup}: alpha would never move")
        if self.lr_min > self.lr:
            raise SettingsError(f"LR_MIN={self.lr_min:g} must not be above LR={self.lr:g}")

    @property
    def training(self) -> shared.TrainSettings:
        """Return the settings of the training of w."""
        fixed: dict[str, Any] = {"optimizer": "sgd", "schedule": "cosine", "label_smoothing": 0.0}
        return shared.training_of(self, precision="no", keep="last", **fixed)


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
    """The size of a genotype's network, and the parts that only its training uses."""

    channels: int  # C of the first cells
    layers: int  # L, the number of cells
    stem: str = "imagenet"  # divides height and width by 8; "cifar" keeps them
    auxiliary: bool = False  # a second classifier


@dataclass(frozen=True, config=STRICT)
class RetrainSettings:
    """Settings of notebook 05: train genotypes from scratch. The defaults are the report's Table 1.

    Values that Table 1 lacks come from DARTS's ImageNet recipe (arXiv 1806.09055, appendix A.4).
    """

    seed: Seed = setting(0, shared.SEED)
    seeds: int = setting(1, "trainings of each cell, with seeds SEED, SEED + 1, ...", ge=1)
    genotypes: Names = setting(("DARTS_V2", "searched", "random"), "the cells to train")
    random_cells: int = setting(1, "`random` is the best of so many on validation images", ge=1)
    retrain_image_size_px: int = setting(224, "side of the images; DARTS has 224", ge=16)
    retrain_batch_size: int = setting(32, "images of a step", ge=2)
    retrain_channels: int = setting(48, "C of the first cells; the report has 48", ge=2)
    retrain_layers: int = setting(14, "L, the cells; the report has 14", ge=3)
    retrain_epochs: int = setting(250, "passes over the training images; DARTS has 250", ge=1)
    epoch_images: NoneOrSeveral = setting(0, shared.EPOCH_IMAGES)
    optimizer: Literal["sgd", "adamw"] = setting("sgd", "of the weights; DARTS has SGD")
    retrain_lr: float = setting(0.1, "learning rate at its peak or start; the report has 0.1", gt=0)
    # with 1 or more the steps would grow without limit
    momentum: float = setting(0.9, "of SGD", ge=0, lt=1)
    retrain_weight_decay: float = setting(3e-5, "pulls the weights to 0; the report has 3e-5", ge=0)
    schedule: Literal["one_cycle", "cosine", "exponential", "constant"] = setting(
        "exponential", "of the learning rate"
    )
    gamma: float = setting(0.97, "exponential schedule: the factor per epoch", gt=0, le=1)
    grad_clip: float = setting(5.0, "largest norm of the gradient", ge=0)
    label_smoothing: float = setting(0.1, "of the labels, against overconfidence", ge=0, lt=1)
    auxiliary: bool = setting(True, "a second classifier in training, its loss weighted 0.4")
    retrain_augment: shared.Augment = setting("flips", shared.AUGMENT)
    keep: Literal["best", "last"] = setting("best", "epoch whose weights are kept")
    test_views: Views = setting(1, shared.TEST_VIEWS)
    precision: Precision = setting("auto", shared.PRECISION)
    time_budget_min: float = setting(0.0, shared.TIME_BUDGET, ge=0)

    @property
    def network(self) -> NetworkSettings:
        """Return the size of each network."""
        return NetworkSettings(self.retrain_channels, self.retrain_layers, auxiliary=self.auxiliary)

    @property
    def training(self) -> shared.TrainSettings:
        """Return the settings of the training of each network."""
        return shared.training_of(self, "retrain_")
