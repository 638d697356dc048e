"""Settings of every stage as frozen dataclasses, and the presets that fill them.

A notebook's parameter `FBP_EPOCHS` is the field `fbp_epochs` here. A parameter left at None takes
the preset's value, and what the preset leaves open takes the field's default.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from helpers.datasets.settings import SplitSettings
from helpers.runs.checks import SettingsError, check_range, checked, unknown_parameter
from helpers.runs.presets import PRESET_VALUES, PRESETS
from helpers.runs.train_settings import TrainSettings

# beside what decides the result: not part of any key
_CONTROL = {"control": True}
ENSEMBLES = ("rank_average", "stacking")  # predictions that 06 makes from all others


@dataclass(frozen=True)
class BaselineSettings:
    """02: pretrained features and the four classical models."""

    seed: int = 0
    backbone: str = "auto"
    weights: str = ""
    image_size_px: int = 192
    batch_size: int = 64
    folds: int = 5
    cv_images: int = 5000  # hyper-parameters are chosen on at most so many; 0: all
    trees: int = 500


@dataclass(frozen=True)
class FinetuneSettings:
    """03: the two-layer CNN, the last layer alone, all layers."""

    seed: int = 0
    seeds: int = 1  # trainings of all layers (FBP), with the seeds SEED, SEED + 1, ...
    backbone: str = "auto"
    weights: str = ""
    image_size_px: int = 192
    batch_size: int = 32
    precision: str = "auto"
    epoch_images: int = 0  # an epoch draws at most so many images, each epoch others; 0: all
    cnn_epochs: int = 10
    cnn_lr: float = 1e-3
    cnn_image_size_px: int = 64
    ll_epochs: int = 40
    ll_lr: float = 3e-3
    fbp_epochs: int = 8
    fbp_lr: float = 1e-3
    flip_test: bool = False  # average the scores of the image and its mirror images
    folds: int = 5
    cv_images: int = 5000  # as in 02
    trees: int = 500
    time_budget_min: float = field(default=0.0, metadata=_CONTROL)  # 0: no limit

    @property
    def cnn(self) -> TrainSettings:
        """The two-layer CNN's training."""
        return TrainSettings(
            epochs=self.cnn_epochs,
            epoch_images=self.epoch_images,
            lr=self.cnn_lr,
            batch_size=self.batch_size,
            precision=self.precision,
        )

    @property
    def ll(self) -> TrainSettings:
        """The last layer's training, on stored features: no image, so no augmentation."""
        return TrainSettings(
            epochs=self.ll_epochs,
            lr=self.ll_lr,
            batch_size=64,
            augment="none",
            label_smoothing=0.0,
            precision="no",
        )

    @property
    def fbp(self) -> TrainSettings:
        """The training of all layers."""
        return TrainSettings(
            epochs=self.fbp_epochs,
            epoch_images=self.epoch_images,
            lr=self.fbp_lr,
            batch_size=self.batch_size,
            precision=self.precision,
        )


@dataclass(frozen=True)
class SearchSettings:
    """04: the DARTS search. What is not said here is the search's published recipe."""

    seed: int = 0
    image_size_px: int = 64
    batch_size: int = 64
    search_images: int = 0  # the search uses at most so many training images; 0: all
    epochs: int = 50
    channels: int = 16  # C of the first cells
    layers: int = 8  # L, the number of cells
    order: int = 1  # 1: alpha's gradient at w; 2: at w after one more step
    partial: int = 1  # K: 1/K of the channels go through the operations (PC-DARTS); 1: all
    alpha_warmup: int = 0  # first epochs in which alpha rests
    lr: float = 0.025
    lr_min: float = 0.001
    weight_decay: float = 3e-4
    alpha_lr: float = 3e-4
    alpha_weight_decay: float = 1e-3
    augment: str = "flips"
    max_skips: int = 2  # skip connections in the derived normal cell; -1: no limit
    stop_when_stable: int = 0  # stop after so many epochs of an unchanged genotype; 0: never
    eigenvalue_every: int = 0  # epochs between measurements of d2L/dalpha2's eigenvalue; 0: never
    rollback_growth: float = 1.3  # roll back when it grew so much in 4 measurements; 0: no
    random_cells: int = 3  # the baseline: cells drawn uniformly from the same space
    time_budget_min: float = field(default=0.0, metadata=_CONTROL)  # 0: no limit

    def __post_init__(self) -> None:
        if self.channels % self.partial:
            raise SettingsError(
                f"PARTIAL={self.partial} does not divide CHANNELS={self.channels}: "
                "choose a divisor, e.g. 1"
            )
        if self.alpha_warmup >= self.epochs:
            raise SettingsError(
                f"ALPHA_WARMUP={self.alpha_warmup} must be below EPOCHS={self.epochs}: "
                "alpha would never move"
            )
        if self.lr_min > self.lr:
            raise SettingsError(f"LR_MIN={self.lr_min:g} must not be above LR={self.lr:g}")

    @property
    def training(self) -> TrainSettings:
        """The training of w."""
        return TrainSettings(
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer="sgd",
            lr=self.lr,
            lr_min=self.lr_min,
            weight_decay=self.weight_decay,
            schedule="cosine",
            label_smoothing=0.0,
            augment=self.augment,
            precision="no",
            keep="last",
        )


@dataclass(frozen=True)
class RetrainSettings:
    """05: networks of genotypes from random weights. The defaults are the report's Table 1.

    What Table 1 leaves open comes from DARTS's ImageNet recipe (arXiv 1806.09055, appendix A.4).
    """

    seed: int = 0
    seeds: int = 1  # trainings of each cell, with the seeds SEED, SEED + 1, ...
    genotypes: tuple[str, ...] = ("DARTS_V2", "searched", "random")
    random_cells: int = 1
    retrain_image_size_px: int = 224
    retrain_batch_size: int = 32
    retrain_channels: int = 48  # "init channels"
    retrain_layers: int = 14
    retrain_epochs: int = 250
    epoch_images: int = 0  # an epoch draws at most so many images, each epoch others; 0: all
    optimizer: str = "sgd"
    retrain_lr: float = 0.1
    momentum: float = 0.9
    retrain_weight_decay: float = 3e-5
    schedule: str = "exponential"
    gamma: float = 0.97
    grad_clip: float = 5.0
    label_smoothing: float = 0.1
    auxiliary: bool = True  # a second classifier in training, its loss weighted 0.4
    drop_path: float = 0.0  # reached at the end, from 0 at the start
    ema_decay: float = 0.0  # 0 keeps no average of the weights
    retrain_augment: str = "flips"
    flip_test: bool = False  # average the scores of the image and its mirror images
    precision: str = "auto"
    time_budget_min: float = field(default=0.0, metadata=_CONTROL)  # 0: no limit

    @property
    def training(self) -> TrainSettings:
        """The training of each network."""
        return TrainSettings(
            epochs=self.retrain_epochs,
            epoch_images=self.epoch_images,
            batch_size=self.retrain_batch_size,
            optimizer=self.optimizer,
            lr=self.retrain_lr,
            momentum=self.momentum,
            weight_decay=self.retrain_weight_decay,
            schedule=self.schedule,
            gamma=self.gamma,
            label_smoothing=self.label_smoothing,
            grad_clip=self.grad_clip,
            augment=self.retrain_augment,
            ema_decay=self.ema_decay,
            precision=self.precision,
        )


@dataclass(frozen=True)
class AnalysisSettings:
    """06: the whole table, ensembles, the operating point, and what the models look at."""

    seed: int = 0
    model: str = ""  # the model that is looked at closely; "" is the best by validation AUC
    max_escape_rate: float = 0.01  # of the bad parts, the fraction that may be let through
    escape_cost: float = 0.0  # in any unit; with both costs the cheapest threshold is shown too
    false_alarm_cost: float = 0.0
    map_images: int = 48  # behind the insertion and deletion curves of Grad-CAM
    widgets: bool | None = None  # browse the images by widgets; None: where somebody can click

    def __post_init__(self) -> None:
        if (self.escape_cost > 0) != (self.false_alarm_cost > 0):
            raise SettingsError(
                "one cost alone says nothing: give both ESCAPE_COST and FALSE_ALARM_COST, or none"
            )


STAGES: dict[str, type] = {
    "01_data_split": SplitSettings,
    "02_features_baselines": BaselineSettings,
    "03_finetuning": FinetuneSettings,
    "04_darts_search": SearchSettings,
    "05_genotype_retraining": RetrainSettings,
    "06_analysis": AnalysisSettings,
}


def decisive(settings: Any) -> dict[str, Any]:
    """The settings that a result depends on: all but those that only steer the work."""
    steering = {f.name for f in dataclasses.fields(settings) if f.metadata.get("control")}
    return {k: v for k, v in dataclasses.asdict(settings).items() if k not in steering}


def stage_name(number: str) -> str:
    """The whole name of a stage from its number: "03" or "3" -> "03_finetuning"."""
    for name in STAGES:
        if name == number or name[:2] == number.zfill(2):
            return name
    raise SettingsError(f"no stage {number!r}; there are {', '.join(STAGES)}")


def resolve(stage: str, preset: str, given: Mapping[str, Any]) -> Any:
    """The settings of a stage: given values over the preset's over the defaults.

    `given` maps field names to values; None means "what the preset says".

    Raises:
        SettingsError: unknown preset, field, or a value of the wrong type.
    """
    if preset not in PRESETS:
        raise SettingsError(f"PRESET={preset!r} is not one of {', '.join(PRESETS)}")
    settings_class = STAGES[stage]
    fields = {field.name for field in dataclasses.fields(settings_class)}
    for name in given:
        if name not in fields:
            raise unknown_parameter(
                name.upper(), sorted(field.upper() for field in fields), f"no cell of {stage}"
            )
    values = dict(PRESET_VALUES[preset].get(stage, {}))
    values |= {name: value for name, value in given.items() if value is not None}
    hints = typing.get_type_hints(settings_class)
    values_of = {n: checked(n, v, hints[n]) for n, v in values.items()}
    for name, value in values_of.items():
        check_range(name, value)
    return settings_class(**values_of)
