"""Embeddings of images."""

import numpy as np
import pandas as pd
import pytest

from helpers.core import files
from helpers.training import features


def test_embeddings_come_in_any_order_asked_for_and_a_missing_image_is_named():
    arrays = {"id": np.array(["a", "b", "c"]), "embedding": np.arange(6.0).reshape(3, 2)}
    found = features.Features.of_arrays(arrays)
    np.testing.assert_array_equal(found.of(pd.Series(["c", "a"])), [[4, 5], [0, 1]])
    with pytest.raises(files.ArtifactError, match="'z'"):
        found.of(pd.Series(["z"]))
    batches = found.batches(pd.DataFrame({"id": ["c", "b"], "label": [1, pd.NA]}), 2)
    assert batches.labels.tolist() == [1, -1] and batches.ids.tolist() == ["c", "b"]
    np.testing.assert_array_equal(next(batches.ordered()), [[4, 5], [2, 3]])


def test_brightness_is_the_mean_gray_value_and_the_digest_tells_images_and_values(split, images):
    ids, expected = split.id[::-1], images.pixels.mean(axis=(1, 2, 3))[::-1]
    found = features.brightness(ids, images)
    np.testing.assert_allclose(found.embeddings[:, 0], expected, atol=1.0)
    others = [features.brightness(ids[::-1], images), features.brightness(ids[1:], images)]
    assert len({one.digest for one in (found, *others)}) == 3
