"""Image classifiers: pretrained backbones with a new head, the two-layer CNN, checkpoints."""

import copy
import dataclasses
import importlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from helpers.core import files, tensors
from helpers.core.errors import UserError
from helpers.core.rules import Registry, SettingsError
from helpers.models import PRECISIONS, Layout, Views
from helpers.models import weights as library
from helpers.models.weights import Weights, anatomy

# what `load_model` expects, in the words of its errors
CHECKPOINT = "checkpoint of this series, such as data/runs/RUN/checkpoints/fbp/seed0.safetensors"
# of convolutions and linear layers; `mm` is a linear layer without a bias
COUNTED = (torch.ops.aten.convolution, torch.ops.aten.addmm, torch.ops.aten.mm)
OWN = "own"  # the kind of a module from a notebook's cell: a checkpoint cannot build it again
OF_YOUR_OWN = "a network of your own: its class is in your notebook, so it cannot be opened here"


@dataclass(frozen=True)
class ModelSpec:
    """The images that a model expects, and the outputs that it offers."""

    name: str
    kind: str  # how `build` makes it again: a name of NETWORKS, or a backbone
    num_classes: int
    image_size_px: int
    in_channels: int  # 3: gray images are repeated; 1: taken as they are
    mean: tuple[float, ...]
    std: tuple[float, ...]
    embedding_size: int
    feature_layer: str  # dotted name of the last layer that gives feature maps, for Grad-CAM
    feature_layout: Layout = "maps"
    prefix_tokens: int = 0  # before the tokens of the image: class token and registers
    options: dict[str, Any] = field(default_factory=dict)  # what else `build` needs, JSON-able

    def feature_maps(self, output: Tensor) -> Tensor:
        """Return the output of the feature layer as maps (B, K, u, v)."""
        if self.feature_layout == "maps_last":
            return output.permute(0, 3, 1, 2)
        if self.feature_layout == "tokens":  # of square images
            tokens = output[:, self.prefix_tokens :].transpose(1, 2)  # (B, K, u * v)
            side = math.isqrt(tokens.shape[2])
            return tokens.unflatten(2, (side, side))
        return output


@dataclass(frozen=True)
class Facts:
    """Facts stored with the weights of a network: how its run read and scored images."""

    full_scale_bits: int = 0  # used by deep images (more than 8 bits); 0: no deep image
    fit: Literal["squash", "pad"] = "squash"  # how images became squares
    views: Views = 1  # symmetries of each image over which scores are averaged
    precision: Annotated[str, Field(pattern=PRECISIONS)] = "auto"  # of the scores
    made_with: dict[str, str | None] = field(default_factory=dict)  # commit and versions
    mask: str = ""  # of each image that was read, see `sources.mask_of`


class Network(nn.Module):
    """A network of this series: `model(images)` gives raw class scores (B, K)."""

    spec: ModelSpec
    facts = Facts()  # of an untrained network
    head: nn.Module

    def embed(self, images: Tensor) -> Tensor:
        """Return the penultimate embeddings (B, D) of normalised images (B, C, H, W)."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Any:
        """Return the raw class scores (B, K)."""
        return self.head(self.embed(images))


def at_once(size_px: int) -> int:
    """Return a batch size for scoring: the pixels of 64 images of 224 px, 1 to 64 images."""
    return max(1, min(64, 64 * 224**2 // size_px**2))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode; restore every module's training flag afterwards."""
    training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, flag in training:
            module.training = flag


def count_parameters(model: nn.Module) -> int:
    """Count the weights, each shared one once, without buffers such as BN statistics."""
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, image_size_px: int, in_channels: int = 3) -> int:
    """Count the multiply-adds of the convolutions and linear layers for one image, in eval mode.

    BN, pooling, additions and biases are not counted, as is usual when networks are compared, nor
    are the products of attention.
    """
    weight = next(model.parameters())
    size = (1, in_channels, image_size_px, image_size_px)
    # with a gradient, because torch's fused attention without one is not counted
    image = torch.zeros(size, device=weight.device, dtype=weight.dtype, requires_grad=True)
    with evaluating(model), torch.enable_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    flops = counter.get_flop_counts()["Global"]
    return sum(flops.get(operation, 0) for operation in COUNTED) // 2


class PretrainedClassifier(Network):
    """A backbone without its ImageNet head, and a linear head; weights are random at first."""

    trunk: Any  # a network of timm's

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.trunk = library.trunk(library.canonical(spec.kind), **spec.options)
        self.head = nn.Linear(spec.embedding_size, spec.num_classes)

    def embed(self, images: Tensor) -> Tensor:
        """Return the backbone's pooled features (B, D) of images (B, C, H, W)."""
        return self.trunk(images)

    def freeze(self, stride: int) -> None:
        """Keep the weights of the layers up to the last maps of 1/stride of the image's side.

        Where no maps are so large, as in transformers with larger patches, all layers are trained.
        """
        stages = [s["module"] for s in self.trunk.feature_info if s["reduction"] <= stride]
        names, modules = zip(*self.trunk.named_modules(), strict=True)
        last = f"{stages[-1]}." if stages else "/"  # a stage may be an activation
        own = [i for i, name in enumerate(names) if f"{name}.".startswith(last)]
        for module in modules[: own[-1] + 1 if own else 0]:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode, but for frozen layers: they keep their batch statistics too."""
        super().train(mode)
        for module in self.modules():
            own = [p.requires_grad for p in module.parameters(recurse=False)]
            if own and not any(own):
                module.eval()
        return self


class TwoLayerCNN(Network):
    """The report's small network (section 2, "Train from scratch").

    Two 5x5 convolutions of 16 and 32 channels, each with ReLU and 2x2 max pooling, dropout 0.5
    after the second; two fully connected layers of 1000; the scores.
    """

    def __init__(self, spec: ModelSpec) -> None:
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
            nn.Linear(32 * side * side, 1000),
            nn.ReLU(),
            nn.Linear(1000, 1000),
            nn.ReLU(),
        )
        self.head = nn.Linear(1000, spec.num_classes)

    def embed(self, images: Tensor) -> Tensor:
        """Return the outputs of the hidden layer (B, 1000) for images (B, C, H, W)."""
        return self.hidden(self.features(images))


class OwnNetwork(Network):
    """A module of a user's own: `module(images)` gives two raw class scores (B, 2).

    Its embeddings are those of its method `embed`, or else its scores.
    """

    def __init__(self, module: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.module, self.spec = module, spec

    def embed(self, images: Tensor) -> Tensor:
        """Return the embeddings (B, D) of images (B, C, H, W)."""
        return getattr(self.module, "embed", self.module)(images)

    def forward(self, images: Tensor) -> Tensor:
        """Return the module's scores (B, 2) of images (B, C, H, W)."""
        return self.module(images)


def own_network(module: nn.Module, image_size_px: int, channels: int = 3) -> Network:
    """Return a copy of a module as a network for images of this size; a `Network` stays one.

    It takes as many channels as its first convolution, else `channels`; pixels are normalised with
    the mean 0.5 and the standard deviation 0.25.
    """
    module = copy.deepcopy(module)
    if isinstance(module, Network):
        return module
    convolutions = {n: m for n, m in module.named_modules() if isinstance(m, nn.Conv2d)}
    first = next(iter(convolutions.values()), None)
    channels = first.in_channels if first else channels
    name = type(module).__name__
    with evaluating(module), torch.no_grad():
        scores = module(torch.zeros(2, channels, image_size_px, image_size_px))
    if scores.shape != (2, 2):
        raise SettingsError(f"{name} gives {[*scores.shape]} for two images: (2, 2) is needed")
    middle, spread = (0.5,) * channels, (0.25,) * channels
    layer = f"module.{[*convolutions][-1]}" if convolutions else ""
    spec = ModelSpec(name, OWN, 2, image_size_px, channels, middle, spread, 2, layer)
    return OwnNetwork(module, spec)


def pretrained(weights: Weights, num_classes: int, image_size_px: int) -> PretrainedClassifier:
    """Build a classifier with a pretrained trunk and a random head; see `spec_of`."""
    model = PretrainedClassifier(spec_of(weights.backbone, num_classes, image_size_px))
    model.trunk.load_state_dict(weights.state)
    return model


def spec_of(kind: str, num_classes: int, image_size_px: int, in_channels: int = 3) -> ModelSpec:
    """Return the specification of "cnn" or of a backbone; backbones take three channels."""
    given = (kind, num_classes, image_size_px)
    if kind == "cnn":
        middle, spread = (0.5,) * in_channels, (0.25,) * in_channels
        return ModelSpec("two-layer CNN", *given, in_channels, middle, spread, 1000, "features.4")
    embedding_size, layer, *layout = anatomy(kind, image_size_px)
    normal, options = library.normalisation(kind), library.size_options(kind, image_size_px)
    about: tuple[Any, ...] = (3, *normal, embedding_size, f"trunk.{layer}", *layout, options)
    return ModelSpec(library.title(kind), *given, *about)


# the network of each kind of specification; other kinds are backbones of timm
NETWORKS = Registry("network", {"cnn": TwoLayerCNN}, keyed=False)


def build(spec: ModelSpec) -> Network:
    """Build the untrained network of a specification; nothing is downloaded."""
    if spec.kind == OWN:
        raise UserError(OF_YOUR_OWN)
    return NETWORKS.get(spec.kind, PretrainedClassifier)(spec)


def save_model(path: Path, model: Network, **facts: Any) -> None:
    """Write a model's weights with its specification and its facts; `facts` win over its own."""
    about = dataclasses.asdict(dataclasses.replace(model.facts, **facts))
    info = {"spec": dataclasses.asdict(model.spec), "module": type(model).__module__, **about}
    tensors.save_tensors(path, model.state_dict(), info)


def load_model(path: Path, module: nn.Module | None = None) -> Network:
    """Load the model that `save_model` wrote with its facts, in eval mode.

    `module` is the user's own module if the model is one, see `own_network`.
    """
    state, info = tensors.load_tensors(path, CHECKPOINT)
    if not isinstance(info, dict) or not isinstance(info.get("spec"), dict):
        raise files.ArtifactError(f"{path} is not a {CHECKPOINT}: it names no network")
    # the class of a cell, for instance, is not imported otherwise; older files do not say it
    if (place := str(info.get("module", "helpers.darts.network"))).startswith("helpers."):
        importlib.import_module(place)
    try:
        given = ModelSpec(**info["spec"])
        own = module if given.kind == OWN else None
        model = build(given) if own is None else OwnNetwork(copy.deepcopy(own), given)
        model.load_state_dict(state)
        info.setdefault("mask", "")  # older files have none
        model.facts = Facts(**{field.name: info[field.name] for field in dataclasses.fields(Facts)})
    except (TypeError, KeyError, RuntimeError, ValueError, UserError) as error:
        raise files.ArtifactError(f"{path} does not hold a model: {error}") from None
    return model.eval()
