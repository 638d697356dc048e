"""Image classifiers: pretrained backbones with a new head, the two-layer CNN, checkpoints.

Every model of this package has the same interface: `model(images)` returns raw class scores (B, K),
`model.embed(images)` the penultimate embedding (B, D), and `model.spec` says how images must be
prepared and which layer Grad-CAM uses.
"""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import nn

from helpers.core import files, tensors
from helpers.core.errors import UserError
from helpers.core.rules import Registry, SettingsError
from helpers.models import weights as library
from helpers.models.spec import Facts, ModelSpec, Network, evaluating
from helpers.models.weights import Weights, anatomy

# what `load_model` expects, in the words of its errors
CHECKPOINT = "checkpoint of this series, such as data/runs/RUN/checkpoints/fbp/seed0.safetensors"

OWN = "own"  # the kind of a module from a notebook's cell: a checkpoint cannot build it again
OF_YOUR_OWN = "a network of your own: its class is in your notebook, so it cannot be opened here"


class PretrainedClassifier(Network):
    """A backbone without its ImageNet head, and a linear head; weights are random at first."""

    trunk: Any  # a network of timm's

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.trunk = library.trunk(library.canonical(spec.kind), **spec.options)
        self.head = nn.Linear(spec.embedding_size, spec.num_classes)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the penultimate embeddings (B, D)."""
        return self.trunk(images)


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

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the penultimate embeddings (B, D)."""
        return self.hidden(self.features(images))


class OwnNetwork(Network):
    """A module of a user's own: `module(images)` gives two raw class scores (B, 2).

    Its embeddings are those of its method `embed`, or else its scores.
    """

    def __init__(self, module: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.module, self.spec = module, spec

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (B, D)."""
        return getattr(self.module, "embed", self.module)(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the raw class scores (B, 2)."""
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
    info = {"spec": dataclasses.asdict(model.spec), **about}
    tensors.save_tensors(path, model.state_dict(), info)


def load_model(path: Path, module: nn.Module | None = None) -> Network:
    """Load the model that `save_model` wrote with its facts, in eval mode.

    `module` is the user's own module if the model is one, see `own_network`.
    """
    state, info = tensors.load_tensors(path, CHECKPOINT)
    if not isinstance(info, dict) or not isinstance(info.get("spec"), dict):
        raise files.ArtifactError(f"{path} is not a {CHECKPOINT}: it names no network")
    try:
        given = ModelSpec(**info["spec"])
        own = module if given.kind == OWN else None
        model = build(given) if own is None else OwnNetwork(copy.deepcopy(own), given)
        model.load_state_dict(state)
        info.setdefault("mask", info.pop("region", ""))  # older files have none
        model.facts = Facts(**{field.name: info[field.name] for field in dataclasses.fields(Facts)})
    except (TypeError, KeyError, RuntimeError, ValueError, UserError) as error:
        raise files.ArtifactError(f"{path} does not hold a model: {error}") from None
    return model.eval()
