"""Stack cells between a stem and a classifier, and build the network of a genotype.

Source: DARTS (Liu et al., arXiv 1806.09055), appendix A.2 (CIFAR) and A.4 (ImageNet).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.core import seeding
from helpers.darts import genotypes
from helpers.darts.genotypes import Genotype
from helpers.darts.settings import NetworkSettings
from helpers.darts.space import NUM_CLASSES, OPS, FactorizedReduce, ReLUConvBN
from helpers.models import backbones
from helpers.models.backbones import ModelSpec, Network, count_parameters


class Stack(Network):
    """L cells between a stem (see `stems`) and a linear classifier; subclasses define `forward`.

    `cell(older_channels, newer_channels, channels, reduction, reduction_before)` returns a module
    with `nodes` times its channels. The reductions, at L//3 and 2L//3, double the channels.
    """

    cells: nn.ModuleList

    def __init__(
        self,
        cell: Callable[[int, int, int, bool, bool], nn.Module],
        channels: int,
        layers: int,
        num_classes: int,
        in_channels: int,
        stem: str,
        nodes: int = 4,
    ) -> None:
        super().__init__()
        self.stem0, self.stem1 = stems(stem, in_channels, channels)
        older = newer = 3 * channels if stem == "cifar" else channels
        before = stem == "imagenet"  # stem1 has halved the map of stem0
        self.cells = nn.ModuleList()
        for index in range(layers):
            reduction = layers > 1 and index in (layers // 3, 2 * layers // 3)
            channels *= 2 if reduction else 1
            self.cells.append(cell(older, newer, channels, reduction, before))
            older, newer, before = newer, nodes * channels, reduction
        self.embedding_size = newer
        self.classifier = nn.Linear(newer, num_classes)


def stems(stem: str, in_channels: int, channels: int) -> tuple[nn.Module, nn.Module]:
    """Return two modules: from images to the first cell's older input, and from that to the newer.

    "cifar" keeps H and W; both inputs have 3 * `channels` channels. Otherwise both have `channels`:
    "half" and "quarter" divide H and W by 2 and 4, "imagenet" by 4, then by 8.
    """

    def conv(c_in: int, c_out: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out)]

    if stem == "cifar":
        return nn.Sequential(*conv(in_channels, 3 * channels, 1)), nn.Identity()
    strides = {"half": (2, 1, 1), "quarter": (2, 2, 1), "imagenet": (2, 2, 2)}[stem]
    half, full = channels // 2, channels
    older = (*conv(in_channels, half, strides[0]), nn.ReLU(), *conv(half, full, strides[1]))
    return nn.Sequential(*older), nn.Sequential(nn.ReLU(), *conv(full, full, strides[2]))


class Cell(nn.Module):
    """A discrete cell: (B, C_older, H0, W0) and (B, C_newer, H, W) to (B, 4 C, H', W').

    H = ceil(H0 / 2) with `reduction_before`, else H0; H' = ceil(H / 2) in a reduction cell, else H.
    """

    def __init__(
        self,
        genotype: Genotype,
        older_channels: int,
        newer_channels: int,
        channels: int,
        reduction: bool,
        reduction_before: bool,
    ) -> None:
        super().__init__()
        self.reduction = reduction
        older = FactorizedReduce if reduction_before else ReLUConvBN
        self.older = older(older_channels, channels)
        self.newer = ReLUConvBN(newer_channels, channels)
        edges = genotype.edges("reduce" if reduction else "normal")
        self.sources = [source for _, source, _ in edges]
        self.operations = nn.ModuleList(
            OPS[name](channels, 2 if reduction and source < 2 else 1, True)
            for name, source, _ in edges
        )

    def forward(self, older: Tensor, newer: Tensor) -> Tensor:
        """Return the states of the four nodes, concatenated."""
        states = [self.older(older), self.newer(newer)]
        edges = list(zip(self.sources, self.operations, strict=True))
        for row in range(0, len(edges), 2):  # two edges into each node
            first, second = (op(states[source]) for source, op in edges[row : row + 2])
            states.append(first + second)
        return torch.cat(states[2:], dim=1)


class AuxiliaryHead(nn.Module):
    """Second classifier on the (B, C, H, W) map after cell 2L//3, for the training loss only.

    On maps of 7x7 (224 px) it equals the published head. Smaller maps are first enlarged by
    repeating pixels. Larger maps give several positions, averaged before the linear layer.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(5, 2, count_include_pad=False)
        self.features = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.Identity(),  # the published results were obtained without a BN here
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return auxiliary class scores (B, K)."""
        x = torch.relu(x)
        size = [max(side, 7) for side in x.shape[-2:]]  # two windows, which the convolution needs
        if size != [*x.shape[-2:]]:
            x = F.interpolate(x, size, mode="nearest")
        x = self.features(self.pool(x))  # (B, 768, H', W'), H' = W' = 1 at the published size
        return self.classifier(x.mean(dim=(2, 3)))


class DerivedNetwork(Stack):
    """L cells of a genotype between a stem and a linear classifier, for images of any size."""

    def __init__(
        self,
        genotype: Genotype,
        size: NetworkSettings,
        num_classes: int = NUM_CLASSES,
        in_channels: int = 3,
    ) -> None:
        cell, shape = functools.partial(Cell, genotype), (num_classes, in_channels, size.stem)
        super().__init__(cell, size.channels, size.layers, *shape)
        self.genotype = genotype
        self.auxiliary_index = 2 * size.layers // 3
        # cell 2L//3 has doubled the channels for the last time
        self.auxiliary_head = (
            AuxiliaryHead(self.embedding_size, num_classes) if size.auxiliary else None
        )

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits (B, K); in training with an auxiliary head also those of the head."""
        features, middle = self._features(x)
        logits = self.classifier(features.mean(dim=(2, 3)))
        if self.auxiliary_head is None or not self.training:
            return logits
        return logits, self.auxiliary_head(middle)

    def _features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps after the last cell and after the cell of the auxiliary head."""
        older = self.stem0(x)
        newer = middle = self.stem1(older)
        for index, cell in enumerate(self.cells):
            older, newer = newer, cell(older, newer)
            if index == self.auxiliary_index:
                middle = newer
        return newer, middle

    def embed(self, x: Tensor) -> Tensor:
        """Return the embeddings (B, embedding_size): the means of the last cell's maps."""
        return self._features(x)[0].mean(dim=(2, 3))


def outline(genotype: Genotype, size: NetworkSettings, in_channels: int) -> DerivedNetwork:
    """Return a genotype's network of two classes without memory for its weights."""
    with torch.device("meta"):
        return DerivedNetwork(genotype, size, NUM_CLASSES, in_channels)


def parameters(genotype: Genotype, size: NetworkSettings, in_channels: int = 3) -> int:
    """Return the number of weights of a genotype's network, without the auxiliary head."""
    size = dataclasses.replace(size, auxiliary=False)
    return count_parameters(outline(genotype, size, in_channels))


def network_spec(
    genotype: Genotype, size: NetworkSettings, image_size_px: int, in_channels: int
) -> ModelSpec:
    """Return the specification of a genotype's network of two classes."""
    return ModelSpec(
        name=f"DARTS network, C={size.channels}, L={size.layers}",
        kind="derived",
        num_classes=NUM_CLASSES,
        image_size_px=image_size_px,
        in_channels=in_channels,
        mean=(0.5,) * in_channels,
        std=(0.25,) * in_channels,
        embedding_size=outline(genotype, size, in_channels).embedding_size,
        feature_layer=f"cells.{size.layers - 1}",
        options={"genotype": genotypes.to_json(genotype)} | dataclasses.asdict(size),
    )


def build_network(spec: ModelSpec, seed: int) -> DerivedNetwork:
    """Return the network of a specification; its initial weights depend on the seed alone."""
    with seeding.torch_stream(seed, "initial weights network"):
        return build_derived(spec)


def build_derived(spec: ModelSpec) -> DerivedNetwork:
    """Return the untrained network of a specification from `network_spec`."""
    size = dict(spec.options)
    size.pop("drop_path", None)  # in older files
    genotype = genotypes.from_json(size.pop("genotype"))
    model = DerivedNetwork(genotype, NetworkSettings(**size), spec.num_classes, spec.in_channels)
    model.spec = spec
    return model


backbones.NETWORKS["derived"] = build_derived
