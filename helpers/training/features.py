"""Images to embeddings: the penultimate layer's output of every image of a split."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from helpers.core import devices, files, paths, processes
from helpers.datasets.cache import ImageCache, open_cache
from helpers.models.backbones import Model, Weights, pretrained
from helpers.runs.stages import Stage
from helpers.training.batches import ImageBatches
from helpers.training.inference import Scorer

EMBED_BATCH = 64  # images that go through a backbone together


@dataclass(frozen=True)
class Features:
    """Embeddings of images, in the split's order."""

    ids: np.ndarray  # (N,) text
    embeddings: np.ndarray  # (N, D) float32

    def of(self, ids: pd.Series) -> np.ndarray:
        """Embeddings of some images, (len(ids), D), in the order of `ids`."""
        rows = pd.Series(np.arange(len(self.ids)), index=self.ids).reindex(ids)
        if rows.isna().any():
            raise files.ArtifactError(
                f"the features lack image {rows.index[rows.isna()][0]!r}; run notebook 02 again"
            )
        return self.embeddings[rows.to_numpy(dtype=np.int64)]


def embed(
    model: Model,
    cache: ImageCache,
    table: pd.DataFrame,
    device: torch.device,
    batch_size: int = EMBED_BATCH,
    precision: str = "auto",
) -> Features:
    """Embeddings (N, D) of all images of a table (column `id`), not augmented, in eval mode."""
    batches = image_batches(cache, table, model, batch_size, device=device)
    scorer = Scorer(model, device, precision, images=len(batches))
    out = []
    with tqdm(total=len(batches), desc="embed", unit="img", leave=False, mininterval=1) as bar:
        for images in batches.ordered():
            out.append(scorer.embed_batch(images).cpu().numpy())
            bar.update(len(images))
    return Features(table.id.to_numpy(dtype=str), np.concatenate(out))


def cache_of(split: pd.DataFrame, size_px: int) -> ImageCache:
    """The cached images of a split at one size; decoded when they are not there yet."""
    with processes.main_first():
        return open_cache(split, size_px, paths.cache_root(), skip_unreadable=True)


def pretrained_features(
    stage: Stage, split: pd.DataFrame, cache: ImageCache, weights: Weights, batch_size: int = 0
) -> Features:
    """Embeddings of all images by a pretrained backbone, computed once.

    `batch_size` is the stage's parameter where it has one for this; 0: `EMBED_BATCH`.
    """
    sizes = ["image_size_px", *(["batch_size"] if batch_size else [])]
    path = stage.paths.features(weights.backbone)
    inputs = {
        "images": cache.content,
        "ids": files.fingerprint(split.id.tolist()),
        "backbone": weights.backbone,
        "weights": weights.digest,
    }
    stage.note(weights=weights.origin, backbone=weights.backbone)
    with stage.step(f"features {weights.backbone}", inputs, [path], sizes) as needed:
        if needed and processes.is_main():
            model = pretrained(weights, num_classes=2, image_size_px=cache.size_px)
            started = time.monotonic()
            features = embed(
                model, cache, split, devices.default_device(), batch_size or EMBED_BATCH
            )
            seconds = time.monotonic() - started
            stage.rate("embed", len(split) / seconds)
            save_features(path, features)
    return load_features(path)


def image_batches(
    cache: ImageCache,
    table: pd.DataFrame,
    model: Model,
    batch_size: int,
    augment: str = "none",
    device: torch.device | None = None,
    epoch_images: int = 0,
) -> ImageBatches:
    """Batches of the images of a table (`id`, `label`) as a model wants them."""
    options = {} if device is None else {"device": device}
    return ImageBatches(
        cache=cache,
        rows=cache.rows(table.id),
        labels=table.label.fillna(-1).to_numpy(dtype=np.int64),
        ids=table.id.to_numpy(dtype=str),
        spec=model.spec,
        batch_size=batch_size,
        augment=augment,
        epoch_images=epoch_images,
        **options,
    )


def save_features(path: Path, features: Features) -> None:
    """Write `id` and `embedding` as npz."""
    files.save_arrays(path, id=features.ids, embedding=features.embeddings)


def load_features(path: Path) -> Features:
    """Read what `save_features` wrote."""
    arrays = files.load_arrays(path, "id", "embedding")
    return Features(arrays["id"], arrays["embedding"])
