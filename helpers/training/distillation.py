"""Distillation: a network learns, beside the labels, what a fine-tuned model says about an image.

A model has memorised the labels of its own training images. The teacher of an image is therefore
the cross-fitted FBP model whose training left out the image's fold (Dao et al. 2021, arXiv
2104.09732). Teacher and student see the same view of it (Beyer et al. 2022, arXiv 2106.05237): the
teacher's scores under the eight symmetries of the square are computed once, and in each epoch the
student sees each image under one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.core import devices, files, seeding
from helpers.core.members import folds_of
from helpers.darts.settings import RetrainSettings
from helpers.models import backbones
from helpers.results.predictions import read_predictions
from helpers.runs.stages import Stage, StageError
from helpers.training.augment import VIEWS, turned
from helpers.training.batches import Batches, ImageBatches, Shuffled
from helpers.training.features import EMBED_BATCH, image_batches
from helpers.training.inference import Scorer
from helpers.training.optim import AUXILIARY_WEIGHT, Loss


@dataclass(frozen=True)
class DistillationLoss:
    """w T^2 KL(teacher || student) + (1 - w) cross-entropy (Hinton et al. 2015, arXiv 1503.02531).

    In the first term the class scores of both are divided by the temperature T. Its gradients are
    then about 1 / T^2 of what they would be, which the factor T^2 makes up for.
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
    """Hold a teacher's scores of a run's training images, and how much they count."""

    ids: np.ndarray  # (N,) text
    scores: np.ndarray  # (8, N, K) float32: raw class scores under each symmetry
    loss: DistillationLoss
    inputs: dict[str, Any]  # what a student depends on (JSON-able)

    def lesson(self, images: Batches) -> DistilledBatches:
        """Return batches of images, not augmented, as a student sees them."""
        rows = pd.Series(np.arange(len(self.ids)), index=self.ids)[images.ids]
        return DistilledBatches(**vars(images), scores=self.scores[:, rows.to_numpy()])


def find_teacher(stage: Stage) -> Teacher:
    """Return the teacher: FBP's scores of all training images.

    Each fold's scores are computed once, by the training of the first seed that left it out.

    Raises:
        StageError: the run has no cross-fitted FBP.
        ArtifactError: FBP's predictions do not fit the split, or a checkpoint is damaged.
    """
    settings: RetrainSettings = stage.settings
    checkpoints = _checkpoints(stage)
    if not checkpoints:
        raise StageError(
            "DISTILL: a teacher must not have seen the image, and this run has no FBP of each "
            "fold: run 01 with CROSS_FIT=5, then 03, or give DISTILL=False"
        )
    made = [_score_fold(stage, fold, checkpoint) for fold, checkpoint in checkpoints.items()]
    parts = [files.load_arrays(path, "id", "scores") for path, _ in made]
    loss = DistillationLoss(
        settings.distill_weight, settings.distill_temperature, Loss(settings.label_smoothing)
    )
    return Teacher(
        np.concatenate([part["id"] for part in parts]),
        np.concatenate([part["scores"] for part in parts], axis=1),
        loss,
        {
            "teachers": [inputs for _, inputs in made],
            "weight": loss.weight,
            "temperature": loss.temperature,
        },
    )


def _checkpoints(stage: Stage) -> dict[int, Path]:
    """Return FBP's checkpoint of each fold with training images; empty if one is missing."""
    split, path = stage.split, stage.paths.predictions("fbp")
    # refuses a model of another split, whose folds would be others
    members = read_predictions(path, split).members if path.is_file() else ()
    own = {m.fold: m for one in reversed(members) for m in one.model.members}
    folds = folds_of(split[split.split == "train"])
    found = {fold: stage.paths.checkpoint("fbp", *own[fold]) for fold in folds if fold in own}
    complete = len(found) == len(folds) and all(file.is_file() for file in found.values())
    return found if complete else {}


def _score_fold(stage: Stage, fold: int, checkpoint: Path) -> tuple[Path, dict[str, Any]]:
    """Score the training images of a fold once; return the file, and what it depends on."""
    model = backbones.load_model(checkpoint)
    cache = stage.images(model.spec.image_size_px)
    rows = stage.split[(stage.split.split == "train") & (stage.split.fold == fold)]
    inputs = {
        "weights": files.file_digest(checkpoint),
        "images": cache.content,
        "ids": files.fingerprint(rows.id.tolist()),
        "precision": stage.settings.precision,
    }

    def score(scores: Path) -> None:
        batches = image_batches(cache, rows, model, EMBED_BATCH)
        many = VIEWS * len(rows)
        scorer = Scorer(model, devices.default_device(), stage.settings.precision, images=many)
        found = scorer.scores(batches, VIEWS)
        files.save_arrays(scores, id=rows.id.to_numpy(dtype=str), scores=found)

    path = checkpoint.with_suffix(".npz")
    stage.once(f"teacher of fold {fold}", inputs, score, sizes=(), scores=path)
    return path, inputs
