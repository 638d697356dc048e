"""Embeddings: the output of the penultimate layer for every image of a split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.core import files
from helpers.datasets.cache import ImageCache
from helpers.models.backbones import Network, Weights, find_weights, pretrained
from helpers.runs.stages import Stage
from helpers.training.augment import augmentation
from helpers.training.batches import ImageBatches
from helpers.training.inference import Scorer

EMBED_BATCH = 64  # images that go through a backbone together


@dataclass(frozen=True)
class Features:
    """Embeddings of images, in the split's order."""

    ids: np.ndarray  # (N,) text
    embeddings: np.ndarray  # (N, D) float32

    @property
    def digest(self) -> str:
        """Return the digest of the embeddings."""
        return files.bytes_digest(self.embeddings.tobytes())

    def of(self, ids: pd.Series) -> np.ndarray:
        """Return the embeddings (len(ids), D) of some images in the order of `ids`."""
        rows = pd.Series(np.arange(len(self.ids)), index=self.ids).reindex(ids)
        if rows.isna().any():
            raise files.ArtifactError(
                f"the features lack image {rows.index[rows.isna()][0]!r}; run notebook 02 again"
            )
        return self.embeddings[rows.to_numpy(dtype=np.int64)]


def embed(
    model: Network,
    cache: ImageCache,
    table: pd.DataFrame,
    batch_size: int = EMBED_BATCH,
    precision: str = "auto",
) -> Features:
    """Return embeddings (N, D) of all images of a table (column `id`), without augmentation."""
    batches = image_batches(cache, table, model, batch_size)
    scorer = Scorer(model, batches.device, precision, images=len(batches))
    found = [part.cpu().numpy() for part in scorer.outputs(model.embed, batches, "embed")]
    return Features(table.id.to_numpy(dtype=str), np.concatenate(found))


def weights_of(stage: Stage) -> list[Weights]:
    """Find the weights of a stage's backbones, and note backbones and weights in run.json.

    Raises:
        BackboneError, WeightsError: see `find_weights`.
    """
    settings = stage.settings
    found = [
        find_weights(backbone, settings.weights, settings.image_size_px)
        for backbone in settings.backbone
    ]
    stage.note(backbone=", ".join(w.backbone for w in found))
    stage.note(weights=", ".join(w.origin for w in found))
    return found


def pretrained_features(stage: Stage, weights: Weights, batch_size: int = 0) -> Features:
    """Return the embeddings of all images by a pretrained backbone, computed once.

    `batch_size` is the stage's parameter if it has one for this; 0: `EMBED_BATCH`.
    """
    cache = stage.images(stage.settings.image_size_px)
    name, path = weights.backbone, stage.paths.features(weights.backbone)

    def compute(features: Path) -> None:
        model = pretrained(weights, num_classes=2, image_size_px=cache.size_px)
        save_features(features, embed(model, cache, stage.split, batch_size or EMBED_BATCH))

    inputs = {"images": cache.content, "ids": files.fingerprint(stage.split.id.tolist())}
    inputs |= {"backbone": name, "weights": weights.digest}
    sizes = ["image_size_px", "batch_size"][: 2 if batch_size else 1]
    stage.once(f"features {name}", inputs, compute, sizes=sizes, features=path)
    return load_features(path)


def image_batches(
    cache: ImageCache,
    table: pd.DataFrame,
    model: Network,
    batch_size: int,
    augment: str = "none",
    epoch_images: int = 0,
) -> ImageBatches:
    """Return batches of the images of a table (`id`, `label`), prepared as the model expects."""
    return ImageBatches(
        cache=cache,
        rows=cache.rows(table.id),
        labels=table.label.fillna(-1).to_numpy(dtype=np.int64),
        ids=table.id.to_numpy(dtype=str),
        spec=model.spec,
        batch_size=batch_size,
        augment=augmentation(augment),
        epoch_images=epoch_images,
    )


def save_features(path: Path, features: Features) -> None:
    """Write `id` and `embedding` as npz."""
    files.save_arrays(path, id=features.ids, embedding=features.embeddings)


def load_features(path: Path) -> Features:
    """Read what `save_features` wrote."""
    arrays = files.load_arrays(path, "id", "embedding")
    return Features(arrays["id"], arrays["embedding"])
