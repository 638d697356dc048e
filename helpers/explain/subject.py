"""The subject of the pictures: one model of a run, and the labelled parts that it scored.

Parts are rows of a table (the columns of split.csv, `defect_score`, and those of `judged`); maps
are (B, H, W).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from helpers.core import devices
from helpers.core.errors import UserError
from helpers.core.metrics import roc_auc
from helpers.core.paths import RunPaths
from helpers.datasets.cache import ImageCache
from helpers.datasets.split_file import read_split
from helpers.explain.gradcam import grad_cam
from helpers.models import backbones
from helpers.models.names import PATCHCORE, base_name, display_name
from helpers.results import operating_point, results_table
from helpers.results.mistakes import judged_parts
from helpers.runs import record
from helpers.runs.costs import checkpoints
from helpers.runs.run_models import read_all_predictions
from helpers.runs.stages import images_of
from helpers.training.features import image_batches
from helpers.training.inference import placed


class ExplainError(UserError):
    """A model or a part to show is missing; the message names it."""


@dataclass(frozen=True)
class Subject:
    """A network whose maps are shown, and labelled parts with their scores."""

    wanted: str  # the model that was asked for
    title: str  # its name, and the network that gives the maps if it is another one
    caption: str  # title, number of parts and threshold
    model: backbones.Network
    cache: ImageCache
    parts: pd.DataFrame  # the labelled test parts; validation if the test labels are hidden
    threshold: float  # chosen on validation; parts at or above it are called bad

    def images(self, ids: pd.Series) -> Tensor:
        """Return images as the model wants them, on its device: (B, C, H, W), in the ids' order."""
        table = pd.DataFrame({"id": np.asarray(ids), "label": 0})
        batches = image_batches(self.cache, table, self.model, len(table))
        return torch.cat(list(batches.ordered()))

    def maps(self, ids: pd.Series, target_class: int | Tensor) -> Tensor:
        """Return Grad-CAM maps for one class, or for one class per part: (B, H, W) on the CPU."""
        spec, images = self.model.spec, self.images(ids)
        maps = grad_cam(self.model, images, target_class, spec.feature_layer, spec.feature_maps)
        return maps.cpu()

    def pixels(self, ids: pd.Series) -> np.ndarray:
        """Return the parts as they look, at the model's size: (B, H, W, C) uint8."""
        return self.cache.take(self.cache.rows(ids))


def open_subject(run_paths: RunPaths, wanted: str = "", own_scores: bool = False) -> Subject:
    """Load the model `wanted` with the parts that it scored, for example

        subject = open_subject(RunPaths("elpv-quick"), "fbp")
        subject.maps(subject.parts.id[:5], 1)  # (5, H, W), for the class "bad"

    An empty `wanted` is the best model on validation. If it has no network (an SVM, an ensemble),
    the best that has one replaces it; with `own_scores` only for the maps, and the scores stay
    those of `wanted` (the mean over its trainings).

    Raises:
        ExplainError: no such model, or no model with a checkpoint.
        ArtifactError: no predictions, or a file that does not fit the split.
    """
    scored = read_all_predictions(run_paths, ensembles=True)
    known = ", ".join(sorted(scored))
    if wanted and wanted not in scored:
        raise ExplainError(f"run {run_paths.name} has no model {wanted!r}; it has {known}")

    def rank(name: str) -> tuple[int, float]:  # as `results_table.best_model` chooses
        labels, scores = scored[name].labels_scores("val")
        return -len(labels), -roc_auc(labels, scores)

    ranked = sorted(scored, key=rank)
    wanted = wanted or ranked[0]
    paths = {name: checkpoint_of(run_paths, name) for name in (wanted, *ranked)}
    name, path = next(((name, path) for name, path in paths.items() if path), ("", None))
    if path is None:
        raise ExplainError(
            f"none of {known} has a checkpoint in {run_paths.root / 'checkpoints'}; run notebook "
            "03 first"
        )
    with record.naming_maker(run_paths, path):
        model = backbones.load_model(path)
    placed(model, devices.default_device())
    source = scored[wanted] if own_scores else (*scored[name].members, scored[name])[0]
    split = read_split(run_paths.split_csv)
    bad_rate = results_table.training_bad_rate(split)  # the results table's rule
    threshold = operating_point.most_accurate_threshold(*source.labels_scores("val"), bad_rate)
    parts = judged_parts(source, split)
    averaged = scored[name].model.averaged
    title = network = display_name(name) + (f", first of {averaged}" if averaged else "")
    if own_scores and network != display_name(wanted):
        title = f"{display_name(wanted)}, maps of {network}"
    elif name != wanted:
        has = "has maps of its own" if base_name(wanted) == PATCHCORE else "has no network"
        title = f"{network} (in place of {display_name(wanted)}, which {has})"
    caption = (
        f"{title}; {len(parts)} labelled {'validation' if source.judged_on == 'val' else 'test'} "
        f"parts, called bad from a score of {threshold:.3f} on, chosen on validation."
    )
    cache = images_of(run_paths, split, model.spec.image_size_px)
    return Subject(wanted, title, caption, model, cache, judged(parts, threshold), threshold)


def open_subject_if_any(run_paths: RunPaths, wanted: str = "") -> Subject | None:
    """Call `open_subject`; print a line and return None if the run has no network."""
    scored = read_all_predictions(run_paths, ensembles=True)
    if any(checkpoint_of(run_paths, name) for name in scored):
        return open_subject(run_paths, wanted)
    print("no network has been trained in this run: notebook 03 or 05 makes the pictures possible")
    return None


def checkpoint_of(run_paths: RunPaths, model: str) -> Path | None:
    """Return the checkpoint of a model's first training.

    None if Grad-CAM has nothing to explain: it has none (SVM, ensemble), or no weights from the
    feature maps to the score (PatchCore, which has maps of its own).
    """
    found = checkpoints(run_paths.trainings(model)) if model != PATCHCORE else []
    return next(iter(found), None)


def judged(parts: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Add four columns: `called` is 1 (bad) for scores from the threshold on, else 0 (good);
    `right` is True if that is the label; `mistake` and `margin` are the score's distances from
    label and threshold."""
    called = (parts.defect_score >= threshold).astype(int)
    return parts.assign(
        called=called,
        right=called == parts.label,
        mistake=(parts.label - parts.defect_score).abs(),
        margin=(parts.defect_score - threshold).abs(),
    )


def attribution(run_paths: RunPaths) -> str:
    """Return the credit line that the source of the run's images asks for."""
    return record.load_run(run_paths)["stages"]["01_data_split"].get("attribution", "")
