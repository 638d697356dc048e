"""Settings of trainings: notebooks 02 and 03 as frozen dataclasses, and one run of the loop.

A notebook's parameter `FBP_EPOCHS` is the field `fbp_epochs` here, with its default and its rule:

    FinetuneSettings(fbp_epochs=3).fbp.epochs  # 3
"""

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from helpers.core.errors import UserError
from helpers.core.rules import STRICT, Names, NoneOrSeveral, Seed, SettingsError, Text, setting
from helpers.models import AUTO, RANDOM, Precision, Views

# descriptions of settings that several stages have
SEED = "start of all random draws; another seed gives another result"
EPOCH_IMAGES = "an epoch draws at most so many images, each epoch others; 0: all"
PRECISION = "of the arithmetic; auto: bf16 where it is fast; no: float32"
AUGMENT = "random changes of training images that do not change the label"
FROZEN = (
    "layers keep their pretrained weights up to the last maps of 1/8 (2, 4, 8, 16) of an image's "
    "side; 0: all layers are trained"
)
THREADS = "on a CPU; another number adds in another order, so scores differ a little"
TEST_VIEWS = "symmetries of each image over which its scores are averaged"
TIME_BUDGET = "stop between two epochs after so many minutes; 0: no limit"


def _known_backbones(given: tuple[str, ...]) -> tuple[str, ...]:
    if given == (AUTO,):
        return given
    if AUTO in given or not given:
        raise ValueError(f"must name all backbones, or {AUTO} alone")
    from helpers.models import weights  # slow to import: timm comes along

    try:
        return tuple(dict.fromkeys(map(weights.canonical, given)))
    except UserError as error:
        raise ValueError(f"cannot be used: {error}") from None


def _known_augmentation(given: Any) -> Any:
    from torch.nn import Module  # slow to import

    from helpers.training.batches import AUGMENTATIONS

    if isinstance(given, str) and given not in AUGMENTATIONS:
        raise ValueError(f"is not one of {', '.join(AUGMENTATIONS)}")
    if not isinstance(given, str | Module):
        raise ValueError(f"is neither a name nor an nn.Module but a {type(given).__name__}")
    return given


Stride = Literal[0, 2, 4, 8, 16]
Augment = Annotated[str, AfterValidator(_known_augmentation)]  # a name of AUGMENTATIONS
Backbones = Annotated[Names, AfterValidator(_known_backbones)]


@dataclass(frozen=True, config=STRICT | {"arbitrary_types_allowed": True})
class TrainSettings:
    """Settings of one run of the training loop, for any model."""

    epochs: Annotated[int, Field(ge=1)] = 10
    # at most in an epoch, each epoch others; 0: all; a batch of one image would be dropped
    epoch_images: NoneOrSeveral = 0
    batch_size: Annotated[int, Field(ge=1)] = 32
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 6e-4
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9  # SGD only
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    schedule: Literal["one_cycle", "cosine", "exponential", "constant"] = "one_cycle"
    lr_min: Annotated[float, Field(ge=0)] = 0.0  # cosine: the rate at the end
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.97  # exponential: the factor per epoch
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    grad_clip: Annotated[float, Field(ge=0)] = 5.0  # 0 clips nothing
    # a name, or an nn.Module of your own; see `batches.augmentation`
    augment: Annotated[Any, AfterValidator(_known_augmentation)] = "full"
    frozen: Stride = 0  # of the first layers' maps, which keep their pretrained weights; 0: none
    precision: Precision = "auto"
    threads: Annotated[int, Field(ge=1)] = 1  # on a CPU; another number adds in another order
    keep: Literal["best", "last"] = "best"  # the weights of the best epoch on validation
    test_views: Views = 1  # symmetries of each image over which its scores are averaged


def training_of(given: Any, prefix: str = "", **fixed: Any) -> TrainSettings:
    """Return the settings of a training: its `lr` is the field `<prefix>lr`, or else `lr`, etc.

    A field that the stage does not have takes its default; `fixed` values override all.
    """
    defaults = dataclasses.asdict(TrainSettings())
    shared = {name: getattr(given, name, value) for name, value in defaults.items()}
    values = {name: getattr(given, prefix + name, value) for name, value in shared.items()}
    return TrainSettings(**values | fixed)


@dataclass(frozen=True, config=STRICT)
class BackboneSettings:
    """Settings that 02 and 03 share: the pretrained network, its images, the classical models."""

    seed: Seed = setting(0, SEED)
    backbone: Backbones = setting(
        (AUTO,), "pretrained network by name; auto: ResNet-18 (the report's), else a packaged one"
    )
    weights: Text = setting("", "file with its pretrained weights; random: none")
    image_size_px: int = setting(
        192, "width and height of the images that the backbone sees, in pixels", ge=16
    )
    folds: int = setting(5, "of the cross-validation that chooses hyper-parameters", ge=2)
    trees: int = setting(500, "of the random forest; more are steadier and slower", ge=1)

    def __post_init__(self) -> None:
        if len(self.backbone) > 1 and self.weights not in ("", RANDOM):
            raise SettingsError(
                f"WEIGHTS={self.weights!r} is a file for one backbone, but BACKBONE names "
                f"{len(self.backbone)}: leave WEIGHTS out, and put the files where they are looked "
                "for (see notebooks/README.md)"
            )


@dataclass(frozen=True, config=STRICT)
class BaselineSettings(BackboneSettings):
    """Settings of notebook 02: pretrained features, the four classical models, PatchCore."""

    patchcore_share: float = setting(
        0.01,
        "kept share of at most 100,000 patches of good parts; at least 1,000 are kept",
        gt=0,
        le=1,
    )


@dataclass(frozen=True, config=STRICT)
class FinetuneSettings(BackboneSettings):
    """Settings of notebook 03: two-layer CNN, linear probe (LL), fine-tuning all layers (FBP)."""

    seeds: int = setting(1, "trainings of all layers, with seeds SEED, SEED + 1, ...", ge=1)
    batch_size: int = setting(32, "images of a step", ge=2)
    precision: Precision = setting("auto", PRECISION)
    epoch_images: NoneOrSeveral = setting(0, EPOCH_IMAGES)
    cnn_epochs: int = setting(10, "of the two-layer CNN", ge=1)
    cnn_lr: float = setting(1e-3, "peak learning rate of the two-layer CNN", gt=0)
    cnn_image_size_px: int = setting(
        64, "width and height of its images; the first linear layer grows with the area", ge=16
    )
    ll_epochs: int = setting(40, "of the last layer; its features are stored, so it is fast", ge=1)
    ll_lr: float = setting(3e-3, "peak learning rate of the last layer", gt=0)
    fbp_epochs: int = setting(6, "of fine-tuning", ge=1)
    fbp_lr: float = setting(1e-3, "peak learning rate of all layers", gt=0)
    fbp_augment: Augment = setting("full", AUGMENT)
    fbp_frozen: Stride = setting(8, FROZEN)
    fbp_threads: int = setting(1, THREADS, ge=1)
    test_views: Views = setting(1, TEST_VIEWS)
    time_budget_min: float = setting(0.0, TIME_BUDGET, ge=0)

    @property
    def cnn(self) -> TrainSettings:
        """Return the settings of the two-layer CNN."""
        return training_of(self, "cnn_")

    @property
    def ll(self) -> TrainSettings:
        """Return the settings of the last layer, on stored features."""
        fixed: dict[str, Any] = {"batch_size": 64, "epoch_images": 0, "label_smoothing": 0.0}
        return training_of(self, "ll_", augment="none", precision="no", test_views=1, **fixed)

    @property
    def fbp(self) -> TrainSettings:
        """Return the settings of all layers; random weights are not kept."""
        return training_of(self, "fbp_", **({"frozen": 0} if self.weights == RANDOM else {}))
