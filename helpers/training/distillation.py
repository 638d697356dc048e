"""Distillation: a network learns from the labels and from the scores of a fine-tuned model.

A model has memorised the labels of its own training images. The teacher of an image is therefore
the cross-fitted FBP model whose training left out the image's fold (Dao et al. 2021, arXiv
2104.09732). Teacher and student see the same view of it (Beyer et al. 2022, arXiv 2106.05237): the
teacher's scores under the eight symmetries of the square are computed once, and in each epoch the
student sees each image under one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.core import files, seeding
from helpers.datasets.cache import ImageCache
from helpers.models.spec import Network, at_once
from helpers.training.augment import turned
from helpers.training.batches import VIEWS, Batches, ImageBatches, Shuffled, image_batches
from helpers.training.inference import Scorer
from helpers.training.loop import AUXILIARY_WEIGHT, Loss


@dataclass(frozen=True)
class DistillationLoss:
    """w T^2 KL(teacher || student) + (1 - w) cross-entropy (Hinton et al. 2015, arXiv 1503.02531).

    In the first term the class scores of both are divided by the temperature T. That scales its
    gradients by about 1 / T^2, which the factor T^2 compensates.
    """

    weight: float  # w
    temperature: float  # T
    labelled: Loss

    def __call__(self, output: Any, targets: Tensor) -> Tensor:
        """Return the mean over the batch from raw scores (B, K), or (scores, auxiliary scores).

        `targets` (B, 1 + K) are the labels, and beside them the teacher's raw scores.
        """
        if isinstance(output, tuple):
            return self(output[0], targets) + AUXILIARY_WEIGHT * self(output[1], targets)
        student, teacher = (
            (scores.float() / self.temperature).log_softmax(dim=1)
            for scores in (output, targets[:, 1:])
        )
        divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        labelled = self.labelled(output, targets[:, 0].long())
        return self.weight * self.temperature**2 * divergence + (1 - self.weight) * labelled


@dataclass
class DistilledBatches(ImageBatches):
    """Batches of images, each image under a symmetry, with a teacher's scores of this view.

    The images are not augmented; `scores` (8, N, K) are the teacher's raw scores under each
    symmetry.
    """

    scores: np.ndarray = field(kw_only=True)

    def shuffled(self, seed: int, epoch: int) -> Shuffled:
        """Yield (rows, images (B, C, H, W), (B, 1 + K) labels and the teacher's scores)."""
        drawn = seeding.numpy_stream(seed, "symmetry", epoch).integers(VIEWS, size=len(self))
        for rows, images, labels in super().shuffled(seed, epoch):
            scores = torch.from_numpy(self.scores[drawn[rows], rows]).to(images.device)
            views = turned(images, torch.from_numpy(drawn[rows]))
            yield rows, views, torch.column_stack([labels, scores])


@dataclass(frozen=True)
class Teacher:
    """A teacher's scores of training images, and how much they count."""

    ids: np.ndarray  # (N,) text
    scores: np.ndarray  # (8, N, K) float32: raw class scores under each symmetry
    weight: float = 0.7  # w of `DistillationLoss`
    temperature: float = 2.0  # T

    @property
    def digest(self) -> str:
        """Return a digest of all that a student depends on."""
        named = [self.ids.tolist(), files.bytes_digest(self.scores.tobytes())]
        return files.fingerprint([*named, self.weight, self.temperature])

    def loss(self, label_smoothing: float) -> DistillationLoss:
        """Return the loss of a student."""
        return DistillationLoss(self.weight, self.temperature, Loss(label_smoothing))

    def lesson(self, images: Batches) -> DistilledBatches:
        """Return batches of images, which must not be augmented, with the teacher's scores."""
        rows = pd.Series(np.arange(len(self.ids)), index=self.ids)[images.ids]
        return DistilledBatches(**vars(images), scores=self.scores[:, rows.to_numpy()])


def score_views(
    network: Network, images: ImageCache, table: pd.DataFrame, precision: str = "auto"
) -> dict[str, np.ndarray]:
    """Return `id` (N,) and raw `scores` (8, N, K) of a table's images under each symmetry."""
    batches = image_batches(images, table, network, at_once(images.size_px))
    scorer = Scorer(network, batches.device, precision, images=VIEWS * len(table))
    return {"id": table.id.to_numpy(dtype=str), "scores": scorer.scores(batches, VIEWS)}


def teacher_of(
    parts: Iterable[Mapping[str, np.ndarray]], weight: float, temperature: float
) -> Teacher:
    """Join the results of `score_views` of several networks into one teacher."""
    parts = list(parts)
    ids = np.concatenate([part["id"] for part in parts])
    scores = np.concatenate([part["scores"] for part in parts], axis=1)
    return Teacher(ids, scores, weight, temperature)
