"""Embeddings: the output of the penultimate layer for every image of a split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from helpers.core import files
from helpers.datasets.cache import ImageCache
from helpers.models.backbones import pretrained
from helpers.models.spec import Network, at_once
from helpers.models.weights import Weights
from helpers.training.batches import EmbeddingBatches, ImageBatches
from helpers.training.inference import Scorer


@dataclass(frozen=True)
class Features:
    """Embeddings of images."""

    ids: np.ndarray  # (N,) text
    embeddings: np.ndarray  # (N, D) float32

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Features:
        """Return the features that `embed_all` computed."""
        return cls(arrays["id"], arrays["embedding"])

    @property
    def digest(self) -> str:
        """Return the digest of the embeddings and of what they belong to."""
        return files.bytes_digest(self.embeddings.tobytes() + "\n".join(self.ids).encode())

    def of(self, ids: pd.Series) -> np.ndarray:
        """Return the embeddings (len(ids), D) of some images in the order of `ids`."""
        rows = pd.Series(np.arange(len(self.ids)), index=self.ids).reindex(ids)
        if rows.isna().any():
            raise files.ArtifactError(
                f"the features lack image {rows.index[rows.isna()][0]!r}; run notebook 02 again"
            )
        return self.embeddings[rows.to_numpy(dtype=np.int64)]

    def batches(self, table: pd.DataFrame, batch_size: int) -> EmbeddingBatches:
        """Return batches of the embeddings of a table's images (`id`, `label`)."""
        return EmbeddingBatches(self.of(table.id), table, batch_size)


def embed_all(
    network: Network | Weights, images: ImageCache, ids: pd.DataFrame, precision: str = "auto"
) -> dict[str, np.ndarray]:
    """Return `id` and `embedding` of images (column `id`), for `Features.of_arrays`."""
    if isinstance(network, Weights):
        network = pretrained(network, 2, images.size_px)
    batches = ImageBatches(images, ids, network, at_once(images.size_px))
    scorer = Scorer(network, batches.device, precision, images=len(batches))
    parts = [part.cpu().numpy() for part in scorer.outputs(network.embed, batches, "embed")]
    return {"id": batches.ids, "embedding": np.concatenate(parts)}


def brightness(ids: pd.Series, images: ImageCache) -> Features:
    """Return each image's mean gray value, (N, 1): how much of a result does it alone explain?"""
    means = images.table["mean"].to_numpy(dtype=np.float32)[images.rows(ids)]
    return Features(ids.to_numpy(dtype=str), means[:, None])
