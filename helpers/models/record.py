"""Describe a model of a run as data: its base, backbone, features and trainings.

    Model("svm", features="fbp").title  # SVM on FBP features
    Model("fbp", backbone="tf_efficientnet_lite2").slug  # fbp_tf_efficientnet_lite2

Tables and figures show the title; files are named by the slug.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import TypeAdapter

from helpers.core.members import Member
from helpers.models import weights

CLASSICAL = ("lda", "rf", "lr", "svm")  # fitted on features
# names of the bases, in the order of the report's Table 2; others follow in alphabetical order
BASES = {
    "module_prior": "Module prior (no pixel)",
    "lda": "LDA",
    "rf": "RF",
    "lr": "LR",
    "svm": "SVM",
    "patchcore": "PatchCore (good parts only)",
    "ll": "LL",
    "cnn": "Two-layer CNN",
    "fbp": "FBP",
    "darts_v2": "DARTS_V2",
    "darts_searched": "DARTS searched",
    "darts_v1": "DARTS_V1",
    "pc_darts_cifar": "PC-DARTS CIFAR",
    "pc_darts_imagenet": "PC-DARTS ImageNet",
    "pdarts": "P-DARTS",
    "random_cell": "Random cell",
    "majority": "Majority",
}
KINDS = {  # of the bases; others are "from scratch"
    "module_prior": "reference",  # every model should beat it
    "majority": "reference",
    **dict.fromkeys((*CLASSICAL, "patchcore"), "classical, frozen features"),
    **dict.fromkeys(("ll", "fbp"), "fine-tuned"),
    "darts_searched": "searched",
}


@dataclass(frozen=True, order=True)
class Model:
    """A row of the results table; equal records are the same model."""

    base: str  # a key of BASES, or the name of a user's own predictions file
    backbone: str = ""  # pretrained network; "" without one, or for the run's first one
    features: str = ""  # what a classical model is fitted on: "" (pretrained), "fbp", "brightness"
    number: int | None = None  # of a cell drawn at random: the seed of the draw
    members: tuple[Member, ...] = ()  # its trainings; empty if unknown

    @property
    def slug(self) -> str:
        """Return the name of its files, such as "svm_on_fbp"."""
        parts = [self.base, "" if self.number is None else str(self.number)]
        parts += [self.backbone, f"on_{self.features}" if self.features else ""]
        return "_".join(filter(None, parts))

    @property
    def title(self) -> str:
        """Return the name for tables and figures, without `averaged`."""
        if self.features == "brightness":
            return "Brightness alone"
        title = BASES.get(self.base, self.base)
        title += "" if self.number is None else f" {self.number}"
        title += f" on {BASES.get(self.features, self.features)} features" if self.features else ""
        return title + (f" ({weights.title(self.backbone)})" if self.backbone else "")

    @property
    def averaged(self) -> str:
        """Name what its scores average, such as "2 seeds x 5 folds"; "" for one training."""
        counts = {name: len({getattr(m, name) for m in self.members}) for name in Member._fields}
        return " x ".join(f"{count} {name}s" for name, count in counts.items() if count > 1)

    @property
    def kind(self) -> str:
        """Return the family of models that it belongs to; "own" is a model that a user added."""
        if self.features == "brightness":
            return "reference"
        if self.base in CLASSICAL and self.features:
            return "classical, fine-tuned features"
        return KINDS.get(self.base, "from scratch" if self.base in BASES else "own")

    @property
    def order(self) -> tuple[int, str]:
        """Return a sort key: the order of BASES, then other models."""
        known = list(BASES)
        place = known.index(self.base) if self.base in known else len(known)
        return (place, self.slug)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, see `from_json`."""
        members = [member._asdict() for member in self.members]
        return dataclasses.asdict(self) | {"members": members}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the model that `to_json` described; other content raises ValueError."""
        return TypeAdapter(cls).validate_python(content)
