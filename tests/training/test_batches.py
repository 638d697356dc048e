"""Batches: order, normalisation, symmetries of the square, and random views of images."""

import functools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from helpers.core import seeding
from helpers.core.rules import SettingsError
from helpers.datasets.cache import ImageCache
from helpers.models.backbones import ModelSpec
from helpers.training import batches
from helpers.training.batches import augmentation
from helpers.training.settings import FinetuneSettings, TrainSettings


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
        ({"n": 10, "batch_size": 4}, [4, 4, 2]),  # just half a batch
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


def matching(view, views):
    """The number of the one view that this one is, exactly."""
    (found,) = (i for i, other in enumerate(views) if torch.equal(view, other))
    return found


def drawn(kind, images):
    with seeding.torch_stream(0, "augment"):
        return augmentation(kind)(images.clone())


@pytest.mark.parametrize(("kind", "count"), [("flips", 4), ("symmetries", 8)])
def test_each_image_is_brought_into_a_symmetry_of_its_own(kind, count):
    image = torch.rand(1, 2, 8, 8).contiguous(memory_format=torch.channels_last)
    known = [batches.symmetry(image, k)[0] for k in range(8)]
    views = drawn(kind, image.expand(128, -1, -1, -1))
    seen = [matching(view, known) for view in views]
    assert set(seen) == set(range(count))
    assert max(map(seen.count, range(count))) < 3 * 128 / count


@pytest.mark.parametrize("channels", [1, 3])
def test_an_augmentation_keeps_shape_and_range_and_repeats_in_one_stream(channels):
    images, views = torch.rand(6, channels, 24, 24), []
    for epoch in (0, 0, 1):
        with seeding.torch_stream(5, "augment", epoch):
            views.append(augmentation("full")(images.clone()))
    for view in views:
        assert view.shape == images.shape
        assert view.min() >= 0 and view.max() <= 1
    assert torch.equal(views[0], views[1])
    assert not torch.allclose(views[0], views[2])


def test_full_augmentation_resamples_about_half_of_the_images_and_turns_by_90_degrees():
    board = (torch.arange(17)[:, None] + torch.arange(17)).remainder(2).float()
    views = drawn("full", board.expand(64, 1, 17, 17))
    # two gray levels remain unless pixels were mixed
    assert 16 <= sum(len(view.unique()) == 2 for view in views) <= 48
    rows = torch.arange(16.0)[:, None].expand(16, 16) / 32  # brighter from row to row
    views = drawn("full", rows.expand(64, 1, 16, 16))
    assert ((views[:, 0, :, -1] - views[:, 0, :, 0]).abs().sum(dim=1) > 2).any()


class Darker(nn.Module):
    """An augmentation of a cell: it gets one image at a time, on the images' device."""

    def __init__(self):
        super().__init__()
        self.register_buffer("share", torch.tensor([0.5]))

    def forward(self, image):  # (1, C, H, W)
        return image * self.share * torch.rand(1, device=image.device)


@pytest.mark.parametrize("own", [Darker(), Darker, functools.partial(Darker)])
def test_a_module_of_a_cell_its_class_or_a_function_is_an_augmentation_by_name(monkeypatch, own):
    monkeypatch.setitem(batches.AUGMENTATIONS, "darker", own)
    assert FinetuneSettings(fbp_augment="darker").fbp.augment == "darker"
    images = torch.rand(5, 1, 4, 4)
    shares = (drawn("darker", images) / images).flatten(1)
    torch.testing.assert_close(shares, shares[:, :1].expand_as(shares))
    assert len({round(share, 4) for share in shares[:, 0].tolist()}) == 5
    assert torch.equal(drawn(Darker(), images), drawn("darker", images))
    assert augmentation("darker")(images.to("meta")).device.type == "meta"
    for name in ("none", "flips", "symmetries", "full"):
        assert type(augmentation(name)) is not batches.EachImage


def test_an_augmentation_that_nobody_knows_or_that_changes_the_shape_is_refused():
    for wrong in ("flip", 3, v2.RandomRotation):
        with pytest.raises(ValueError, match="flips" if wrong == "flip" else "neither"):
            TrainSettings(augment=wrong)
    with pytest.raises(SettingsError, match=r"CenterCrop .* \[2, 1, 8, 8\]"):
        drawn(v2.CenterCrop(4), torch.rand(2, 1, 8, 8))
