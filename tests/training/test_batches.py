from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.datasets.cache import ImageCache
from helpers.models.spec import ModelSpec
from helpers.training import batches
from helpers.training.augment import augmentation


def model_spec(in_channels=1, mean=(0.0,), std=(1.0,)) -> ModelSpec:
    return ModelSpec("toy", "cnn", 2, 4, in_channels, mean, std, 8, "conv")


def image_batches(n=23, batch_size=5, **options) -> batches.ImageBatches:
    """Image i of the cache is gray with the value 2 i; the batches hold every second one."""
    values = np.arange(2 * n, dtype=np.uint8)
    pixels = np.broadcast_to(values[:, None, None, None], (2 * n, 4, 4, 1))
    table = pd.DataFrame({"id": values.astype(str), "label": 0})
    cache, model = ImageCache(pixels, table, "toy"), SimpleNamespace(spec=model_spec())
    return batches.ImageBatches(cache, table[::2], model, batch_size, **options)


def embedding_batches(n=23, batch_size=5) -> batches.EmbeddingBatches:
    values = np.arange(n, dtype=np.float32)[:, None].repeat(3, axis=1)
    table = pd.DataFrame({"id": np.arange(n).astype(str)})  # without labels
    return batches.EmbeddingBatches(values, table, batch_size)


def rows_of(data, seed, epoch) -> list[np.ndarray]:
    return [rows for rows, *_ in data.shuffled(seed, epoch)]


@pytest.fixture(params=[image_batches, embedding_batches], ids=["images", "embeddings"])
def make(request):
    return request.param


def test_an_epoch_is_a_permutation_of_its_own_and_each_row_comes_with_its_input(make):
    data, step = make(), 2 / 255 if make is image_batches else 1
    orders = [np.concatenate(rows_of(data, *key)) for key in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert all(sorted(order) == list(range(23)) for order in orders)
    same = [np.array_equal(orders[0], order) for order in orders]
    assert same == [True, True, False, False]
    data.labels = np.arange(23) % 3
    for rows, inputs, targets in data.shuffled(0, 0):
        assert len(rows) == len(inputs) <= 5
        assert targets.tolist() == (rows % 3).tolist()
        np.testing.assert_allclose(inputs.flatten(1)[:, 0], rows * step, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"n": 12}, [5, 5]),
        ({"n": 13}, [5, 5, 3]),
        ({"n": 2}, [2]),  # the only batch
        ({"n": 3, "batch_size": 2}, [2]),  # batch norm cannot train on one image
        ({"n": 40, "epoch_images": 12}, [5, 5]),
        ({"n": 8, "epoch_images": 10}, [5, 3]),
    ],
)
def test_a_last_batch_of_less_than_half_a_batch_is_dropped(options, sizes):
    data = image_batches(**options)
    assert [len(rows) for rows in rows_of(data, 0, 0)] == sizes
    assert data.epoch_size == sum(sizes)
    drawn = [set(np.concatenate(rows_of(data, 0, epoch))) for epoch in range(12)]
    assert drawn[0] != drawn[1] or len(data) == sum(sizes)  # other images in each epoch
    assert all(len(rows) == sum(sizes) for rows in drawn)  # no image twice


def test_ordered_gives_all_rows_in_their_own_order_and_not_augmented(make):
    data = make(n=11) if make is embedding_batches else make(n=11, augment=augmentation("full"))
    step = 2 / 255 if make is image_batches else 1
    parts = list(data.ordered())
    assert [len(part) for part in parts] == [5, 5, 1]
    together = torch.cat(parts).flatten(1)[:, 0]
    np.testing.assert_allclose(together, np.arange(11) * step, rtol=1e-6)


@pytest.mark.parametrize(
    ("pixel", "channels", "expected"),
    [
        # (0.6 - 0.5) / 0.25, (0.6 - 0.4) / 0.2, (0.6 - 0.3) / 0.1
        ([0.6], 3, [0.4, 1.0, 3.0]),
        ([1.0, 0.2, 0.3], 3, [2.0, -1.0, 0.0]),
        # colour becomes gray by its luma: (0.299 * 1 + 0.587 * 0.5 - 0.5) / 0.25
        ([1.0, 0.5, 0.0], 1, [0.37]),
    ],
)
def test_images_get_the_model_s_channels_each_with_its_own_mean_and_spread(
    pixel, channels, expected
):
    spec = model_spec(channels, mean=(0.5, 0.4, 0.3)[:channels], std=(0.25, 0.2, 0.1)[:channels])
    image = torch.tensor(pixel).view(1, -1, 1, 1).expand(2, -1, 2, 3)
    result = batches.normalise(image, spec)
    assert result.shape == (2, channels, 2, 3)
    np.testing.assert_allclose(result[1, :, 1, 0], expected, rtol=1e-5, atol=1e-6)
