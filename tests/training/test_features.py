"""Embeddings of images."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.core import files
from helpers.datasets.cache import open_cache
from helpers.models import backbones
from helpers.training import features
from helpers.training.batches import normalise


def _table(folder):
    paths = sorted(str(p) for p in folder.rglob("*.png"))[:5]
    ids = [f"{i}" for i in range(len(paths))]
    return pd.DataFrame({"id": ids, "path": paths, "label": [0, 1, 0, 1, 0]})


def test_embeddings_are_the_model_s_own_in_the_order_of_the_table(parts_folder, tmp_path):
    table = _table(parts_folder)
    cache = open_cache(table, 16, tmp_path / "cache")
    model = backbones.build(backbones.spec_of("cnn", 2, 16)).eval()
    found = features.embed_all(model, cache, table[["id"]], precision="no")
    pixels = torch.from_numpy(cache.take(np.arange(5))).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        expected = model.cpu().embed(normalise(pixels, model.spec))
    np.testing.assert_allclose(found["embedding"], expected, atol=1e-5)
    assert found["id"].tolist() == table.id.tolist()


def test_embeddings_come_in_any_order_asked_for_and_a_missing_image_is_named():
    arrays = {"id": np.array(["a", "b", "c"]), "embedding": np.arange(6.0).reshape(3, 2)}
    found = features.Features.of_arrays(arrays)
    np.testing.assert_array_equal(found.of(pd.Series(["c", "a"])), [[4, 5], [0, 1]])
    with pytest.raises(files.ArtifactError, match="'z'"):
        found.of(pd.Series(["z"]))
    batches = found.batches(pd.DataFrame({"id": ["c", "b"], "label": [1, pd.NA]}), 2)
    assert batches.labels.tolist() == [1, -1] and batches.ids.tolist() == ["c", "b"]
    np.testing.assert_array_equal(next(batches.ordered()), [[4, 5], [2, 3]])


def test_brightness_is_the_mean_gray_value_and_the_digest_tells_images_and_values(
    parts_folder, tmp_path
):
    table = _table(parts_folder)
    cache = open_cache(table, 40, tmp_path / "cache")
    found = features.brightness(table.id, cache)
    np.testing.assert_allclose(found.embeddings[:, 0], cache.pixels.mean(axis=(1, 2, 3)), atol=1.0)
    others = [features.brightness(table.id[::-1], cache), features.brightness(table.id[1:], cache)]
    assert len({one.digest for one in (found, *others)}) == 3
