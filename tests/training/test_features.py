"""Embeddings and their file."""

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
    found = features.embed(model, cache, table, batch_size=2, precision="no")
    pixels = torch.from_numpy(cache.take(np.arange(5))).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        expected = model.cpu().embed(normalise(pixels, model.spec))
    np.testing.assert_allclose(found.embeddings, expected, atol=1e-5)
    assert found.ids.tolist() == table.id.tolist()


def test_features_come_back_from_their_file_in_any_order_asked_for(tmp_path):
    saved = features.Features(
        np.array(["a", "b", "c"]), np.arange(6, dtype=np.float32).reshape(3, 2)
    )
    features.save_features(tmp_path / "f.npz", saved)
    loaded = features.load_features(tmp_path / "f.npz")
    np.testing.assert_array_equal(loaded.of(pd.Series(["c", "a"])), [[4, 5], [0, 1]])


def test_a_missing_image_is_named():
    found = features.Features(np.array(["a"]), np.zeros((1, 2), dtype=np.float32))
    with pytest.raises(files.ArtifactError, match="the features lack image 'z'"):
        found.of(pd.Series(["z"]))
