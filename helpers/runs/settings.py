"""Settings of every stage as frozen dataclasses, and the training settings made from them.

A notebook's parameter `FBP_EPOCHS` is the field `fbp_epochs` here, with its default and its rule. A
parameter that is left at None takes the preset's value, or else the field's default:

    settings = resolve("03_finetuning", "quick", {"fbp_epochs": 3})
    settings.fbp.epochs  # 3
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib.util
import json
import textwrap
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from helpers.core.rules import STRICT, Names, Seed, SettingsError, Text, checked
from helpers.datasets.settings import SplitSettings
from helpers.models import AUTO, RANDOM
from helpers.runs.presets import PRESET_VALUES, PRESETS

ENSEMBLES = ("rank_average", "stacking")  # predictions that 06 makes from all others
REVIEW_SHARE = 0.1  # of all parts, if nothing is said
ROLLBACK_MEASUREMENTS = 4  # the search's eigenvalue is compared with the one so many before
# no result depends on these settings, so they are in no key
STEERING = ("time_budget_min", "tensorboard")


def _all_or_two(value: int) -> int:
    if value < 0 or value == 1:  # a batch of one image is dropped: there would be no training
        raise ValueError("must be 2 or more, or 0 for all")
    return value


def _off_or_above_one(value: float) -> float:
    if value < 0 or 0 < value <= 1:
        raise ValueError("must be above 1, or 0 for no rolling back")
    return value


def _number_of_symmetries(value: int) -> int:
    if value not in (1, 4, 8):
        raise ValueError("is not one of 1, 4, 8")
    return value


def _installed(wanted: bool) -> bool:
    if wanted and importlib.util.find_spec("tensorboard") is None:
        raise ValueError("needs the package tensorboard: pip install tensorboard")
    return wanted


def _known_backbones(given: tuple[str, ...]) -> tuple[str, ...]:
    if not given:
        raise ValueError("names no backbone")
    if given == (AUTO,):
        return given
    if AUTO in given:
        raise ValueError(f"cannot have {AUTO} beside others: name all backbones, or {AUTO} alone")
    from helpers.models import libraries  # slow to import: timm comes along

    found = {}
    for name in given:
        try:
            found[libraries.canonical(name)] = name
        except libraries.BackboneError as error:
            raise ValueError(f"cannot be used: {error}") from None
    return tuple(found)


def _one_file_for_one_backbone(settings: Any) -> None:
    if len(settings.backbone) > 1 and settings.weights not in ("", RANDOM):
        raise SettingsError(
            f"WEIGHTS={settings.weights!r} is a file for one backbone, but BACKBONE names "
            f"{len(settings.backbone)}: leave WEIGHTS out, and put the files where they are looked "
            "for (see README)"
        )


Augment = Literal["none", "flips", "symmetries", "full", "photometric"]
Backbones = Annotated[Names, AfterValidator(_known_backbones)]
EpochImages = Annotated[int, AfterValidator(_all_or_two)]
Precision = Literal["auto", "bf16", "fp16", "no"]  # "no": float32
# the image; its mirror images too; all symmetries of the square
TestViews = Annotated[int, AfterValidator(_number_of_symmetries)]
Tensorboard = Annotated[bool, AfterValidator(_installed)]  # write event files of the trainings


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """One run of the training loop, for any model."""

    epochs: int = 10
    epoch_images: int = 0  # an epoch draws at most so many images, each epoch others; 0: all
    batch_size: int = 32
    optimizer: str = "adamw"  # or "sgd"
    lr: float = 6e-4
    momentum: float = 0.9  # SGD only
    weight_decay: float = 0.01
    schedule: str = "one_cycle"  # "one_cycle", "cosine", "exponential" or "constant"
    lr_min: float = 0.0  # cosine: the rate at the end
    gamma: float = 0.97  # exponential: the factor per epoch
    label_smoothing: float = 0.1
    grad_clip: float = 5.0
    augment: str = "full"  # see `training.augment`
    class_weights: bool = False  # in the loss, so that each class counts the same in all
    head_lr_factor: float = 1.0  # of the learning rate, for the model's `head`
    ema_decay: float = 0.0  # 0 keeps no average of the weights
    precision: str = "auto"  # "auto", "bf16", "fp16" or "no" (float32)
    keep: str = "best"  # the weights of the "best" epoch on validation, or of the "last"


def _training(stage: Any, prefix: str = "", **fixed: Any) -> TrainSettings:
    """Return the training whose `lr` is the stage's field `<prefix>lr`, or else `lr`, and so on.

    A field that the stage does not have takes its default; `fixed` values win over all.
    """
    defaults: dict[str, Any] = dataclasses.asdict(TrainSettings())
    shared = {name: getattr(stage, name, value) for name, value in defaults.items()}
    own = {name: getattr(stage, prefix + name, value) for name, value in shared.items()}
    return TrainSettings(**own | fixed)


@dataclass(frozen=True, config=STRICT)
class BaselineSettings:
    """02: pretrained features, the four classical models, and PatchCore."""

    seed: Seed = 0
    backbone: Backbones = (AUTO,)
    weights: Text = ""
    image_size_px: int = Field(default=192, ge=16)
    batch_size: int = Field(default=64, ge=2)
    folds: int = Field(default=5, ge=2)
    cv_images: int = Field(default=5000, ge=0)  # images that choose hyper-parameters; 0: all
    trees: int = Field(default=500, ge=1)
    patchcore_share: float = Field(default=0.01, gt=0, le=1)  # of the good patches in its memory
    repeats: int = Field(default=0, ge=0)  # splits of each kind on which LDA and LR are repeated

    def __post_init__(self) -> None:
        _one_file_for_one_backbone(self)


@dataclass(frozen=True, config=STRICT)
class FinetuneSettings:
    """03: the two-layer CNN, the linear probe (LL), and fine-tuning of all layers (FBP)."""

    seed: Seed = 0
    seeds: int = Field(default=1, ge=1)  # trainings of all layers, with seeds SEED, SEED + 1, ...
    backbone: Backbones = (AUTO,)
    weights: Text = ""
    image_size_px: int = Field(default=192, ge=16)
    batch_size: int = Field(default=32, ge=2)
    precision: Precision = "auto"
    epoch_images: EpochImages = 0  # an epoch draws at most so many, each epoch others; 0: all
    cnn_epochs: int = Field(default=10, ge=1)
    cnn_lr: float = Field(default=1e-3, gt=0)
    cnn_image_size_px: int = Field(default=64, ge=16)
    ll_epochs: int = Field(default=40, ge=1)
    ll_lr: float = Field(default=3e-3, gt=0)
    fbp_epochs: int = Field(default=8, ge=1)
    fbp_lr: float = Field(default=1e-3, gt=0)
    fbp_augment: Augment = "full"
    fbp_ema_decay: float = Field(default=0.0, ge=0, lt=1)  # 0 keeps no average of the weights
    fbp_class_weights: bool = False  # in the loss, so that each class counts the same in all
    fbp_head_lr_factor: float = Field(default=1.0, gt=0)  # of FBP_LR, for the new last layer
    fbp_standardise: bool = False  # bring each image to mean 0 and deviation 1
    lr_range_test: bool = False  # draw the loss over the learning rate before FBP is trained
    test_views: TestViews = 1  # symmetries of each image over which its scores are averaged
    folds: int = Field(default=5, ge=2)
    cv_images: int = Field(default=5000, ge=0)  # as in 02
    trees: int = Field(default=500, ge=1)
    tensorboard: Tensorboard = False
    time_budget_min: float = Field(default=0.0, ge=0)  # 0: no limit

    def __post_init__(self) -> None:
        _one_file_for_one_backbone(self)

    @property
    def cnn(self) -> TrainSettings:
        """The training of the two-layer CNN."""
        return _training(self, "cnn_")

    @property
    def ll(self) -> TrainSettings:
        """The training of the last layer, on stored features: no images, so no augmentation."""
        fixed: dict[str, Any] = {"batch_size": 64, "epoch_images": 0, "label_smoothing": 0.0}
        return _training(self, "ll_", augment="none", precision="no", **fixed)

    @property
    def fbp(self) -> TrainSettings:
        """The training of all layers."""
        return _training(self, "fbp_")


@dataclass(frozen=True, config=STRICT)
class SearchSettings:
    """04: the DARTS search. Everything else follows the published recipe."""

    seed: Seed = 0
    image_size_px: int = Field(default=64, ge=16)
    batch_size: int = Field(default=64, ge=2)
    search_images: int = Field(default=0, ge=0)  # use at most so many training images; 0: all
    epochs: int = Field(default=50, ge=1)
    channels: int = Field(default=16, ge=2)  # C of the first cells
    layers: int = Field(default=8, ge=3)  # L, the number of cells; two are reductions
    order: int = Field(default=1, ge=1, le=2)  # of alpha's gradient: at w, or one step ahead
    partial: int = Field(default=1, ge=1)  # K of PC-DARTS: 1/K of the channels are mixed
    alpha_warmup: int = Field(default=0, ge=0)  # alpha rests in the first epochs
    lr: float = Field(default=0.025, gt=0)
    lr_min: float = Field(default=0.001, ge=0)
    weight_decay: float = Field(default=3e-4, ge=0)
    alpha_lr: float = Field(default=3e-4, gt=0)
    alpha_weight_decay: float = Field(default=1e-3, ge=0)
    beta_decay: float = Field(default=0.0, ge=0)  # of beta-DARTS, grows from 0 to this
    augment: Augment = "flips"
    max_skips: int = Field(default=2, ge=-1)  # skips in the derived normal cell; -1: no limit
    stop_when_stable: int = Field(default=0, ge=0)  # stop after so many equal epochs; 0: never
    eigenvalue_every: int = Field(default=0, ge=0)  # of d2L/dalpha2, in epochs; 0: never
    # roll back if the eigenvalue grew by this factor in ROLLBACK_MEASUREMENTS; 0: never
    rollback_growth: Annotated[float, AfterValidator(_off_or_above_one)] = 1.3
    perturbation_images: int = Field(default=256, ge=2)  # of alpha's part, for the second selection
    random_cells: int = Field(default=3, ge=0)  # the baseline: cells drawn uniformly
    tensorboard: Tensorboard = False
    time_budget_min: float = Field(default=0.0, ge=0)  # 0: no limit

    def __post_init__(self) -> None:
        if self.channels % self.partial:
            wrong = f"PARTIAL={self.partial} does not divide CHANNELS={self.channels}"
            raise SettingsError(f"{wrong}: choose a divisor, e.g. 1")
        if self.alpha_warmup >= self.epochs:
            warmup = f"ALPHA_WARMUP={self.alpha_warmup} must be below EPOCHS={self.epochs}"
            raise SettingsError(f"{warmup}: alpha would never move")
        every, enough = self.eigenvalue_every, ROLLBACK_MEASUREMENTS + 1
        measured = self.epochs // every - self.alpha_warmup // every if every else enough
        if self.rollback_growth and measured < enough:
            raise SettingsError(
                f"EIGENVALUE_EVERY={every} measures {measured} times in EPOCHS={self.epochs}, and "
                f"a roll-back needs {enough}: measure more often, or give ROLLBACK_GROWTH=0"
            )
        if self.lr_min > self.lr:
            raise SettingsError(f"LR_MIN={self.lr_min:g} must not be above LR={self.lr:g}")

    @property
    def training(self) -> TrainSettings:
        """The training of w."""
        fixed: dict[str, Any] = {"optimizer": "sgd", "schedule": "cosine", "label_smoothing": 0.0}
        return _training(self, precision="no", keep="last", **fixed)


@dataclass(frozen=True, config=STRICT)
class RetrainSettings:
    """05: networks of genotypes from random weights. The defaults are the report's Table 1.

    What Table 1 leaves open comes from DARTS's ImageNet recipe (arXiv 1806.09055, appendix A.4).
    """

    seed: Seed = 0
    seeds: int = Field(default=1, ge=1)  # trainings of each cell, with seeds SEED, SEED + 1, ...
    genotypes: Names = ("DARTS_V2", "searched", "random")
    random_cells: int = Field(default=1, ge=0)
    halving_epochs: int = Field(default=0, ge=0)  # of successive halving's first rung; 0: off
    halving_cells: int = Field(default=8, ge=2)  # its random cells, beside searched and published
    retrain_image_size_px: int = Field(default=224, ge=16)
    retrain_batch_size: int = Field(default=32, ge=2)
    retrain_channels: int = Field(default=48, ge=2)  # "init channels"
    retrain_layers: int = Field(default=14, ge=3)
    retrain_epochs: int = Field(default=250, ge=1)
    epoch_images: EpochImages = 0  # an epoch draws at most so many, each epoch others; 0: all
    optimizer: Literal["sgd", "adamw"] = "sgd"
    retrain_lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)  # from 1 on the steps add up without end
    retrain_weight_decay: float = Field(default=3e-5, ge=0)
    schedule: Literal["one_cycle", "cosine", "exponential", "constant"] = "exponential"
    gamma: float = Field(default=0.97, gt=0, le=1)
    grad_clip: float = Field(default=5.0, ge=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    auxiliary: bool = True  # a second classifier in training, its loss weighted 0.4
    drop_path: float = Field(default=0.0, ge=0, lt=1)  # at the end; it starts from 0
    ema_decay: float = Field(default=0.0, ge=0, lt=1)  # 0 keeps no average of the weights
    retrain_augment: Augment = "flips"
    keep: Literal["best", "last"] = "best"  # the weights of the best epoch on validation, or last
    distill: bool = False  # train each cell a second time, with cross-fitted FBP as the teacher
    distill_weight: float = Field(default=0.7, ge=0, le=1)  # of the teacher in the loss
    distill_temperature: float = Field(default=2.0, gt=0)
    test_views: TestViews = 1  # symmetries of each image over which its scores are averaged
    precision: Precision = "auto"
    tensorboard: Tensorboard = False
    time_budget_min: float = Field(default=0.0, ge=0)  # 0: no limit

    @property
    def training(self) -> TrainSettings:
        """The training of each network."""
        return _training(self, "retrain_")


@dataclass(frozen=True, config=STRICT)
class AnalysisSettings:
    """06: the results table, ensembles, the operating point, and what the models look at."""

    seed: Seed = 0
    model: Text = ""  # the model to look at closely; "": the best by validation AUC
    max_escape_rate: float = Field(default=0.01, ge=0, le=1)  # fraction of bad parts
    escape_cost: float = Field(default=0.0, ge=0)  # any unit; 0: not known
    false_alarm_cost: float = Field(default=0.0, ge=0)
    # share of all parts that a person can look at again; None: 0.1, or what REVIEW_COST gives
    review_share: float | None = Field(default=None, ge=0, le=1)
    review_cost: float = Field(default=0.0, ge=0)  # of one look; 0: review_share decides
    map_images: int = Field(default=48, ge=4)  # for the insertion and deletion curves of Grad-CAM
    compare_run: Text = ""  # another run, split in another way: its rows beside these
    widgets: bool | None = None  # browse the images with widgets; None: if somebody can click

    def __post_init__(self) -> None:
        if (self.escape_cost > 0) != (self.false_alarm_cost > 0):
            raise SettingsError(
                "one cost alone says nothing: give both ESCAPE_COST and FALSE_ALARM_COST, or none"
            )
        if self.review_cost and not self.escape_cost:
            raise SettingsError(
                "REVIEW_COST says nothing alone: give ESCAPE_COST and FALSE_ALARM_COST too, or "
                "REVIEW_SHARE instead"
            )
        if self.review_cost and self.review_share is not None:
            raise SettingsError(
                "REVIEW_SHARE and REVIEW_COST both say which parts are looked at again: give one"
            )

    @property
    def share_looked_at_again(self) -> float:
        """The largest share of all parts that is looked at again, if no cost decides."""
        return REVIEW_SHARE if self.review_share is None else self.review_share


STAGES: dict[str, type] = {
    "01_data_split": SplitSettings,
    "02_features_baselines": BaselineSettings,
    "03_finetuning": FinetuneSettings,
    "04_darts_search": SearchSettings,
    "05_genotype_retraining": RetrainSettings,
    "06_analysis": AnalysisSettings,
}


def resolve(stage: str, preset: str, given: Mapping[str, Any]) -> Any:
    """Return the settings of a stage: given values over the preset's over the defaults.

    `given` maps field names to values; None means the preset's value.

    Raises:
        SettingsError: the preset or a name is unknown, or a value breaks its field's rule.
    """
    if preset not in PRESETS:
        raise SettingsError(f"PRESET={preset!r} is not one of {', '.join(PRESETS)}")
    known = sorted(field.name.upper() for field in dataclasses.fields(STAGES[stage]))
    for name in given:
        if name.upper() not in known:
            raise unknown_parameter(name.upper(), known, f"no cell of {stage}")
    values = PRESET_VALUES[preset].get(stage, {})
    values = values | {name: value for name, value in given.items() if value is not None}
    return checked(STAGES[stage], values)


def decisive(settings: Any) -> dict[str, Any]:
    """Return the settings that a result depends on."""
    return {k: v for k, v in dataclasses.asdict(settings).items() if k not in STEERING}


def stage_name(number: str) -> str:
    """Return the whole name of a stage from its number: "03" or "3" -> "03_finetuning"."""
    for name in STAGES:
        if name == number or name[:2] == number.zfill(2):
            return name
    raise SettingsError(f"no stage {number!r}; there are {', '.join(STAGES)}")


def parse_parameter(text: str) -> tuple[str, Any]:
    """Return name and value of a command line's NAME=VALUE; the value as JSON, Python or text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(f"-p {text}: write -p NAME=VALUE")
    for read in (json.loads, ast.literal_eval):
        try:
            return name, read(value)
        except (ValueError, SyntaxError):
            continue
    return name, value


def in_words(settings: Any, width: int = 110) -> str:
    """Return all settings of a stage as its notebook's parameters, in lines of at most `width`."""
    words = ", ".join(f"{n.upper()}={v!r}" for n, v in dataclasses.asdict(settings).items())
    return textwrap.fill(words, width, break_long_words=False, break_on_hyphens=False)


def unknown_parameter(name: str, known: list[str], where: str) -> SettingsError:
    """Return the error for a parameter that does not exist, with the nearest known name."""
    close = difflib.get_close_matches(name.upper(), known, n=1)
    hint = f"; did you mean {close[0]}?" if close else f" (known: {', '.join(known)})"
    return SettingsError(f"{where} has the parameter {name}{hint}")
