import numpy as np
import pandas as pd
import pytest
import torch

from helpers.core import seeding
from helpers.datasets.cache import ImageCache
from helpers.models.spec import ModelSpec
from helpers.training import batches

CPU = torch.device("cpu")


def model_spec(in_channels=1, mean=(0.0,), std=(1.0,)) -> ModelSpec:
    return ModelSpec("toy", "cnn", 2, 4, in_channels, mean, std, 8, "conv")


def image_batches(n=23, batch_size=5, **options) -> batches.ImageBatches:
    """Image i of the cache is gray with the value 2 i; the batches hold every second one."""
    values = np.arange(2 * n, dtype=np.uint8)
    pixels = np.broadcast_to(values[:, None, None, None], (2 * n, 4, 4, 1))
    cache = ImageCache(pixels, pd.DataFrame({"id": values.astype(str)}), "toy")
    return batches.ImageBatches(
        cache=cache,
        rows=np.arange(n) * 2,
        labels=np.zeros(n, np.int64),
        ids=values[::2].astype(str),
        spec=options.pop("spec", model_spec()),
        batch_size=batch_size,
        device=CPU,
        **options,
    )


def embedding_batches(n=23, batch_size=5) -> batches.EmbeddingBatches:
    values = np.arange(n, dtype=np.float32)[:, None].repeat(3, axis=1)
    return batches.EmbeddingBatches(
        values, np.zeros(n, np.int64), np.arange(n).astype(str), batch_size, CPU
    )


def rows_of(data, seed, epoch, share=(0, 1)) -> list[np.ndarray]:
    return [rows for rows, *_ in data.shuffled(seed, epoch, share)]


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


@pytest.mark.parametrize("processes", [2, 3])
def test_shares_divide_each_batch_without_loss(make, processes):
    data = make(n=48, batch_size=12)
    whole = rows_of(data, 0, 2)
    parts = [rows_of(data, 0, 2, (rank, processes)) for rank in range(processes)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert {len(share) for share in shares} == {12 // processes}
        assert sorted(np.concatenate(shares)) == sorted(batch)


@pytest.mark.parametrize(("n", "sizes"), [(11, [5, 5]), (12, [5, 5, 2])])
def test_a_last_batch_of_one_image_is_dropped_for_batch_normalisation(n, sizes):
    assert [len(rows) for rows in rows_of(image_batches(n=n), 0, 0)] == sizes


def test_an_epoch_of_fewer_images_draws_others_each_time_and_in_the_end_all():
    data = image_batches(n=23, epoch_images=10)
    drawn = [np.concatenate(rows_of(data, 0, epoch)) for epoch in range(12)]
    assert data.epoch_size == 10 and {len(set(rows)) for rows in drawn} == {10}
    assert set(drawn[0]) != set(drawn[1])
    assert set(np.concatenate(drawn)) == set(range(23))
    assert image_batches(n=8, epoch_images=10).epoch_size == 8


def test_ordered_gives_all_rows_in_their_own_order_and_not_augmented(make):
    data = make(n=11) if make is embedding_batches else make(n=11, augment="full")
    step = 2 / 255 if make is image_batches else 1
    parts = list(data.ordered())
    assert [len(part) for part in parts] == [5, 5, 1]
    together = torch.cat(parts).flatten(1)[:, 0]
    np.testing.assert_allclose(together, np.arange(11) * step, rtol=1e-6)
    hands = [list(data.ordered((rank, 2))) for rank in range(2)]  # dealt like cards
    for batch, dealt in zip(parts, [hands[0][0], hands[1][0], hands[0][1]], strict=True):
        assert torch.equal(batch, dealt)


def test_images_that_fit_into_a_gpu_s_memory_are_read_once_and_stay_the_same(monkeypatch):
    from_disk, resident = image_batches(), image_batches()
    expected, in_order = list(from_disk.shuffled(0, 1)), list(from_disk.ordered())
    monkeypatch.setattr(batches, "room_for_images", lambda device: 10**6)
    for (rows, images, _), (others, found, _) in zip(
        expected, resident.shuffled(0, 1), strict=True
    ):
        assert rows.tolist() == others.tolist() and torch.equal(images, found)
    monkeypatch.setattr(type(resident.cache), "take", None)  # nothing more is read
    assert torch.equal(torch.cat(list(resident.ordered())), torch.cat(in_order))


def test_to_float_brings_bytes_to_0_to_1_channels_first():
    pixels = np.zeros((2, 3, 4, 3), np.uint8)
    pixels[1, 2, 3] = (0, 51, 255)
    tensor = batches.to_float(torch.from_numpy(pixels), CPU)
    assert tensor.shape == (2, 3, 3, 4) and tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor[1, :, 2, 3], [0, 0.2, 1], rtol=1e-6)


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


def test_the_eight_symmetries_are_the_turns_and_mirror_images_of_the_square():
    images = torch.rand(2, 3, 5, 5)
    turns = [torch.rot90(images, k, (-2, -1)) for k in range(4)]
    expected = [*turns, *(turn.flip(-1) for turn in turns)]
    found = [batches.symmetry(images, k) for k in range(batches.VIEWS)]
    assert torch.equal(found[0], images)
    matches = [[torch.equal(view, other) for other in expected] for view in found]
    assert (np.sum(matches, axis=0) == 1).all() and (np.sum(matches, axis=1) == 1).all()


def test_flips_mirror_each_image_both_ways_on_its_own():
    image = torch.rand(1, 1, 8, 8)
    mirrored = [image, image.flip(2), image.flip(3), image.flip(2, 3)]
    seen = set()
    with seeding.torch_stream(0, "augment"):
        views = batches.augmentation("flips")(image.expand(64, -1, -1, -1).clone())
    for view in views:
        (match,) = (i for i, m in enumerate(mirrored) if torch.allclose(view, m[0], atol=1e-6))
        seen.add(match)
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize("channels", [1, 3])
def test_full_augmentation_keeps_shape_and_range_stays_small_and_repeats_in_one_stream(channels):
    images = torch.rand(6, channels, 24, 24)
    views = []
    for epoch in (0, 0, 1):
        with seeding.torch_stream(5, "augment", epoch):
            views.append(batches.augmentation("full")(images.clone()))
    for view in views:
        assert view.shape == images.shape
        assert view.min() >= 0 and view.max() <= 1
        assert (view - images).abs().amax(dim=(1, 2, 3)).min() > 0.05  # every image changed
    assert torch.equal(views[0], views[1])
    assert not torch.allclose(views[0], views[2])
    view = batches.augmentation("full")(torch.full((32, channels, 16, 16), 0.5))
    # at most 15 % added to, and 15 % multiplied with, a flat gray of one half
    assert view.min() >= (0.5 - 0.15) * 0.85 - 1e-5
    assert view.max() <= (0.5 + 0.15) * 1.15 + 1e-5


def test_no_augmentation_changes_nothing_and_an_unknown_one_is_refused():
    images = torch.rand(4, 1, 16, 16)
    assert torch.equal(batches.augmentation("none")(images), images)
    with pytest.raises(ValueError, match=r"^augment='wild' is not one of none, flips, full$"):
        batches.augmentation("wild")
