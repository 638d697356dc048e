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
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_type_hints

import pandas as pd
from pydantic import AfterValidator, ValidationError
from pydantic.dataclasses import dataclass

from helpers.core.rules import STRICT, Names, Seed, SettingsError, Text, problem, setting
from helpers.datasets.settings import SplitSettings
from helpers.models import AUTO, RANDOM
from helpers.runs.presets import PRESET_VALUES, PRESETS

ENSEMBLES = ("rank_average", "stacking")  # predictions that 06 makes from all others
REVIEW_SHARE = 0.1  # of all parts, if nothing is said
MOST_OWN_IMAGES = 200  # of a folder that 07 asks about; `helpers.score` takes any number
# The search's eigenvalue, as a mean of 5 measurements in a row, is compared with the mean that is
# 4 measurements older; before it, alpha has learned for 10 epochs (Zela et al.'s code).
EIGENVALUE_MEAN, ROLLBACK_MEASUREMENTS, ROLLBACK_FROM = 5, 4, 10
# no result depends on these settings, so they are in no key
STEERING = ("time_budget_min", "tensorboard")


def _all_or_two(value: int) -> int:
    if value < 0 or value == 1:  # a batch of one image is dropped: there would be no training
        raise ValueError("must be 2 or more, or 0 for all")
    return value


def _off_or_several(value: int) -> int:
    if value < 0 or value == 1:
        raise ValueError("must be 2 or more, or 0 for none: one split has no spread")
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
            "for (see notebooks/README.md)"
        )


def _both_costs(settings: Any) -> None:
    if (settings.escape_cost > 0) != (settings.false_alarm_cost > 0):
        raise SettingsError(
            "one cost alone says nothing: give both ESCAPE_COST and FALSE_ALARM_COST, or none"
        )
    if settings.review_cost and not settings.escape_cost:
        raise SettingsError(
            "REVIEW_COST says nothing alone: give ESCAPE_COST and FALSE_ALARM_COST too, or leave "
            "it out (notebook 06 has REVIEW_SHARE instead)"
        )


# of settings that several stages have
ESCAPE_COST = "of a bad part that passes, in any unit; 0: unknown"
FALSE_ALARM_COST = "of a good part that is rejected"
SEED = "start of all random draws; another seed gives another result"
BACKBONE = "pretrained network by name; auto: ResNet-18 (the report's), else a packaged one"
WEIGHTS = "file with its pretrained weights; random: none"
FOLDS = "of the cross-validation that chooses hyper-parameters"
CV_IMAGES = "training images that choose hyper-parameters at most; 0: all"
EPOCH_IMAGES = "an epoch draws at most so many images, each epoch others; 0: all"
PRECISION = "of the arithmetic; auto: bf16 where it is fast; no: float32"
AUGMENT = "random changes of training images that do not change the label"
EMA_DECAY = "of the running average of the weights; 0: no average"
TEST_VIEWS = "symmetries of each image over which its scores are averaged"
TENSORBOARD = "write event files of the trainings that run"
TIME_BUDGET = "stop between two epochs after so many minutes; 0: no limit"

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

    seed: Seed = setting(0, SEED)
    backbone: Backbones = setting((AUTO,), BACKBONE)
    weights: Text = setting("", WEIGHTS)
    image_size_px: int = setting(
        192, "width and height of the images that the backbone sees, in pixels", ge=16
    )
    batch_size: int = setting(64, "images at once; memory and speed only", ge=2)
    folds: int = setting(5, FOLDS, ge=2)
    cv_images: int = setting(5000, CV_IMAGES, ge=0)
    trees: int = setting(500, "of the random forest; more are steadier and slower", ge=1)
    patchcore_share: float = setting(
        0.01, "kept share of at most 100,000 patches of good parts", gt=0, le=1
    )
    repeats: Annotated[int, AfterValidator(_off_or_several)] = setting(
        0, "splits of each kind on which LDA and LR are fitted again: one split is one draw"
    )

    def __post_init__(self) -> None:
        _one_file_for_one_backbone(self)


@dataclass(frozen=True, config=STRICT)
class FinetuneSettings:
    """03: the two-layer CNN, the linear probe (LL), and fine-tuning of all layers (FBP)."""

    seed: Seed = setting(0, SEED)
    seeds: int = setting(1, "trainings of all layers, with seeds SEED, SEED + 1, ...", ge=1)
    backbone: Backbones = setting((AUTO,), BACKBONE)
    weights: Text = setting("", WEIGHTS)
    image_size_px: int = setting(
        192, "width and height of the images that the backbone sees, in pixels", ge=16
    )
    batch_size: int = setting(32, "images of a step", ge=2)
    precision: Precision = setting("auto", PRECISION)
    epoch_images: EpochImages = setting(0, EPOCH_IMAGES)
    cnn_epochs: int = setting(10, "of the two-layer CNN", ge=1)
    cnn_lr: float = setting(1e-3, "peak learning rate of the two-layer CNN", gt=0)
    cnn_image_size_px: int = setting(
        64, "width and height of its images; the first linear layer grows with the area", ge=16
    )
    ll_epochs: int = setting(40, "of the last layer; its features are stored, so it is fast", ge=1)
    ll_lr: float = setting(3e-3, "peak learning rate of the last layer", gt=0)
    fbp_epochs: int = setting(8, "of fine-tuning all layers", ge=1)
    fbp_lr: float = setting(1e-3, "peak learning rate of all layers", gt=0)
    fbp_augment: Augment = setting("full", AUGMENT)
    fbp_ema_decay: float = setting(0.0, EMA_DECAY, ge=0, lt=1)
    fbp_class_weights: bool = setting(False, "weight the loss so that each class counts the same")
    fbp_head_lr_factor: float = setting(1.0, "the new last layer has FBP_LR times this", gt=0)
    fbp_standardise: bool = setting(False, "bring each image to mean 0 and deviation 1")
    lr_range_test: bool = setting(False, "draw the loss over the learning rate before FBP")
    test_views: TestViews = setting(1, TEST_VIEWS)
    folds: int = setting(5, FOLDS, ge=2)
    cv_images: int = setting(5000, CV_IMAGES, ge=0)
    trees: int = setting(500, "of the random forest", ge=1)
    tensorboard: Tensorboard = setting(False, TENSORBOARD)
    time_budget_min: float = setting(0.0, TIME_BUDGET, ge=0)

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

    seed: Seed = setting(0, SEED)
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
    beta_decay: float = setting(0.0, "of beta-DARTS; grows from 0 towards this", ge=0)
    augment: Augment = setting("flips", AUGMENT)
    max_skips: int = setting(2, "skips in the normal cell (P-DARTS); -1: no limit", ge=-1)
    eigenvalue_every: int = setting(0, "epochs between measures of collapse; 0: never", ge=0)
    rollback_growth: Annotated[float, AfterValidator(_off_or_above_one)] = setting(
        1.3, f"growth in {ROLLBACK_MEASUREMENTS} measures that ends the search; 0: never"
    )
    perturbation_images: int = setting(
        256, "images of alpha's part that the second selection uses", ge=2
    )
    tensorboard: Tensorboard = setting(False, TENSORBOARD)
    time_budget_min: float = setting(0.0, TIME_BUDGET, ge=0)

    def __post_init__(self) -> None:
        if self.channels % self.partial:
            wrong = f"PARTIAL={self.partial} does not divide CHANNELS={self.channels}"
            raise SettingsError(f"{wrong}: choose a divisor, e.g. 1")
        if self.alpha_warmup >= self.epochs:
            warmup = f"ALPHA_WARMUP={self.alpha_warmup} must be below EPOCHS={self.epochs}"
            raise SettingsError(f"{warmup}: alpha would never move")
        every = self.eigenvalue_every
        if self.rollback_growth and every and self.epochs < (first := self.first_rollback):
            raise SettingsError(
                f"EIGENVALUE_EVERY={every} lets a search roll back from epoch {first} on, but "
                f"EPOCHS={self.epochs}: measure more often, or give ROLLBACK_GROWTH=0"
            )
        if self.lr_min > self.lr:
            raise SettingsError(f"LR_MIN={self.lr_min:g} must not be above LR={self.lr:g}")

    @property
    def first_rollback(self) -> int:
        """The first epoch in which the search may roll back, if EIGENVALUE_EVERY is not 0."""
        every, half = self.eigenvalue_every, EIGENVALUE_MEAN // 2
        learned = math.ceil((self.alpha_warmup + ROLLBACK_FROM) / every)
        whole = self.alpha_warmup // every + 1 + half  # the middle of the first five measurements
        return (max(learned, whole) + ROLLBACK_MEASUREMENTS + half) * every

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

    seed: Seed = setting(0, SEED)
    seeds: int = setting(1, "trainings of each cell, with seeds SEED, SEED + 1, ...", ge=1)
    genotypes: Names = setting(("DARTS_V2", "searched", "random"), "the cells to train")
    random_cells: int = setting(1, "how many random cells `random` adds", ge=0)
    halving_epochs: int = setting(
        0, "epochs of the first round of successive halving; 0: off", ge=0
    )
    halving_cells: int = setting(8, "random cells of like size, beside the others", ge=2)
    retrain_image_size_px: int = setting(224, "side of the images; DARTS has 224", ge=16)
    retrain_batch_size: int = setting(32, "images of a step", ge=2)
    retrain_channels: int = setting(48, "C of the first cells; the report has 48", ge=2)
    retrain_layers: int = setting(14, "L, the cells; the report has 14", ge=3)
    retrain_epochs: int = setting(250, "passes over the training images; DARTS has 250", ge=1)
    epoch_images: EpochImages = setting(0, EPOCH_IMAGES)
    optimizer: Literal["sgd", "adamw"] = setting("sgd", "of the weights; DARTS has SGD")
    retrain_lr: float = setting(0.1, "learning rate at its peak or start; the report has 0.1", gt=0)
    # from 1 on the steps add up without end
    momentum: float = setting(0.9, "of SGD", ge=0, lt=1)
    retrain_weight_decay: float = setting(3e-5, "pulls the weights to 0; the report has 3e-5", ge=0)
    schedule: Literal["one_cycle", "cosine", "exponential", "constant"] = setting(
        "exponential", "of the learning rate"
    )
    gamma: float = setting(0.97, "exponential schedule: the factor per epoch", gt=0, le=1)
    grad_clip: float = setting(5.0, "largest norm of the gradient", ge=0)
    label_smoothing: float = setting(0.1, "of the labels, against overconfidence", ge=0, lt=1)
    auxiliary: bool = setting(True, "a second classifier in training, its loss weighted 0.4")
    drop_path: float = setting(0.0, "share of dropped paths at the end; starts from 0", ge=0, lt=1)
    ema_decay: float = setting(0.0, EMA_DECAY, ge=0, lt=1)
    retrain_augment: Augment = setting("flips", AUGMENT)
    keep: Literal["best", "last"] = setting("best", "epoch whose weights are kept")
    distill: bool = setting(False, "train each cell a second time, taught by cross-fitted FBP")
    distill_weight: float = setting(0.7, "of the teacher in the loss", ge=0, le=1)
    distill_temperature: float = setting(2.0, "softens the scores of teacher and student", gt=0)
    test_views: TestViews = setting(1, TEST_VIEWS)
    precision: Precision = setting("auto", PRECISION)
    tensorboard: Tensorboard = setting(False, TENSORBOARD)
    time_budget_min: float = setting(0.0, TIME_BUDGET, ge=0)

    @property
    def training(self) -> TrainSettings:
        """The training of each network."""
        return _training(self, "retrain_")


@dataclass(frozen=True, config=STRICT)
class AnalysisSettings:
    """06: the results table, ensembles, the operating point, and what the models look at."""

    seed: Seed = setting(0, SEED)
    model: Text = setting("", "model to analyse; empty: the best on validation")
    max_escape_rate: float = setting(0.01, "share of the bad parts that may pass", ge=0, le=1)
    escape_cost: float = setting(0.0, ESCAPE_COST, ge=0)
    false_alarm_cost: float = setting(0.0, FALSE_ALARM_COST, ge=0)
    review_share: float | None = setting(
        None,
        "of all parts, that a person can look at again; None: 0.1, or by REVIEW_COST",
        ge=0,
        le=1,
    )
    review_cost: float = setting(0.0, "of one look; 0: REVIEW_SHARE decides", ge=0)
    map_images: int = setting(32, "for the insertion and deletion curves of Grad-CAM", ge=4)
    compare_run: Text = setting("", "another run, split in the other way, to show beside this")

    def __post_init__(self) -> None:
        _both_costs(self)
        if self.review_cost and self.review_share is not None:
            raise SettingsError(
                "REVIEW_SHARE and REVIEW_COST both say which parts are looked at again: give one"
            )

    @property
    def share_looked_at_again(self) -> float:
        """The largest share of all parts that is looked at again, if no cost decides."""
        return REVIEW_SHARE if self.review_share is None else self.review_share


@dataclass(frozen=True, config=STRICT)
class YourPartSettings:
    """07: one part from its file to a verdict, and a folder of the user's own."""

    model: Text = setting("", "network that answers; empty: the best on validation")
    folder: Text = setting(
        "", "of your images, subfolders are groups; empty: test images of the run"
    )
    escape_cost: float = setting(0.0, ESCAPE_COST, ge=0)
    false_alarm_cost: float = setting(0.0, FALSE_ALARM_COST, ge=0)
    review_cost: float = setting(0.0, "of one look", ge=0)
    export: Literal["", "openvino", "onnx", "torch"] = setting(
        "torch", "format of the exported model; empty: none"
    )

    def __post_init__(self) -> None:
        _both_costs(self)


STAGES: dict[str, type] = {
    "01_data_split": SplitSettings,
    "02_features_baselines": BaselineSettings,
    "03_finetuning": FinetuneSettings,
    "04_darts_search": SearchSettings,
    "05_genotype_retraining": RetrainSettings,
    "06_analysis": AnalysisSettings,
    "07_your_part": YourPartSettings,
}


# parameters that take text or a list of texts
_TEXTS = {
    field.upper()
    for stage in STAGES.values()
    for field, kind in get_type_hints(stage).items()
    if kind in (str, tuple[str, ...])
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
    try:
        return STAGES[stage](**values)
    except ValidationError as error:
        raise SettingsError(problem(error)) from None


def decisive(settings: Any) -> dict[str, Any]:
    """Return the settings that a result depends on."""
    return {k: v for k, v in dataclasses.asdict(settings).items() if k not in STEERING}


def stage_name(number: str) -> str:
    """Return the whole name of a stage from its number: "03" or "3" -> "03_finetuning"."""
    for name in STAGES:
        if name == number or name[:2] == number.zfill(2):
            return name
    raise SettingsError(f"no stage {number!r}; there are {', '.join(STAGES)}")


def parse_parameters(texts: Sequence[str]) -> dict[str, Any]:
    """Return the values of a command line's NAME=VALUE by name; see `parse_parameter`.

    Raises:
        SettingsError: a text has no equals sign, or a name is given twice.
    """
    given: dict[str, Any] = {}
    for name, value in map(parse_parameter, texts):
        if name in given:
            raise SettingsError(
                f'-p {name} is given twice: give it once, a list as -p \'{name}=["A", "B"]\''
            )
        given[name] = value
    return given


def parse_parameter(text: str) -> tuple[str, Any]:
    """Return name and value of a command line's NAME=VALUE; the value as JSON, Python or text.

    Where a name is asked for, a number stays the text that it is, except in brackets: a
    folder may be called 2024_11, which Python reads as 202411.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(f"-p {text}: write -p NAME=VALUE")
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        is_text = isinstance(found, str | list | None) or not set("('\"").isdisjoint(value)
        return name, value if name in _TEXTS and not is_text else found
    return name, value


def settings_table(settings: Any, preset: str) -> pd.DataFrame:
    """Return a row for each setting of a stage: its name, its value, and what it is for.

    Values that neither the defaults nor the preset have are marked with "(given)".
    """
    stage = next(name for name, kind in STAGES.items() if isinstance(settings, kind))
    usual = resolve(stage, preset, {})
    rows = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        words = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        mark = "" if value == getattr(usual, field.name) else " (given)"
        why = type(settings).__pydantic_fields__[field.name].description
        rows.append((field.name.upper(), (words or "-") + mark, why))
    return pd.DataFrame(rows, columns=["Setting", "Value", "Meaning"])


def unknown_parameter(name: str, known: list[str], where: str) -> SettingsError:
    """Return the error for a parameter that does not exist, with the nearest known name."""
    close = difflib.get_close_matches(name.upper(), known, n=1)
    hint = f"; did you mean {close[0]}?" if close else f" (known: {', '.join(known)})"
    return SettingsError(f"{where} has the parameter {name}{hint}")
