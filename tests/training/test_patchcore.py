"""PatchCore: it finds the planted defect from good images alone, and is a network of its own."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score

from helpers.datasets.cache import open_cache
from helpers.models import backbones
from helpers.models.backbones import load_model, save_model
from helpers.models.weights import find_weights
from helpers.training import patchcore
from helpers.training.batches import ImageBatches
from helpers.training.inference import predict
from helpers.training.patchcore import MemoryBank, core_set, patch_features
from tests.conftest import split_of, write_parts


@pytest.fixture(scope="module")
def weights():
    return find_weights("efficientnet_lite2")


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return split_of(write_parts(tmp_path_factory.mktemp("patchcore") / "parts"))


@pytest.fixture(scope="module")
def images(split, tmp_path_factory):
    return open_cache(split, 80, tmp_path_factory.mktemp("cache"))  # 8 x 8 patches and a ring


def fit(weights, images, split):
    return patchcore.fit(weights, images, split, share=0.7, seed=0)


@pytest.fixture(scope="module")
def found(weights, images, split):
    return fit(weights, images, split)


def test_bad_parts_are_found_and_bad_training_images_change_nothing(split, images, weights, found):
    scores = found.scores.merge(split[["id", "label"]], on="id")
    for _, own in scores.groupby("split"):
        assert roc_auc_score(own.label, own.defect_score) > 0.99
    assert found.good_images == 27 and found.patches == 27 * 64  # of 30, three are put aside
    assert len(found.network.memory) == round(0.7 * 27 * 64)
    without = split[(split.split != "train") | (split.label == 0)]
    assert fit(weights, images, without).scores.equals(found.scores)


def test_the_outer_ring_counts_if_there_is_nothing_else(found, weights, split, images, tmp_path):
    shown = torch.from_numpy(images.take(np.arange(20))).permute(0, 3, 1, 2) / 255 - 0.5
    features = found.network.features(shown.expand(-1, 3, -1, -1))
    distances, _ = found.network.bank.distances(features)
    assert distances[:, 1:-1, 1:-1].all() and distances.count_nonzero() == 20 * 64
    before = found.network.bank.scores(features)
    features[:, :, 0], features[:, :, :, -1] = 9, 9
    torch.testing.assert_close(found.network.bank.scores(features), before)
    assert fit(weights, open_cache(split, 16, tmp_path), split).network.inside is None  # 2 x 2


@pytest.mark.parametrize(("most", "remembered"), [(200, 27), (20, 20)])
def test_patches_are_bounded_however_many_images_there_are(
    split, images, weights, monkeypatch, most, remembered
):
    monkeypatch.setattr(patchcore, "MOST_PATCHES", most)
    found = fit(weights, images, split)
    assert found.good_images == remembered
    assert found.patches == most // remembered * remembered <= most
    assert len(found.network.memory) == found.patches  # as few as these are all kept


def test_the_usual_score_is_the_median_of_good_images_that_the_memory_lacks(
    split, images, weights, monkeypatch
):
    """The defect score of such an image is 0.5 on average: their median is the usual score."""
    monkeypatch.setattr(patchcore, "MOST_ASIDE", 1)
    network = fit(weights, images, split).network
    good = split[(split.split == "train") & (split.label == 0)]
    scores = predict(network, ImageBatches(images, good, network, 32), "no")
    assert np.isclose(scores, 0.5, atol=1e-4).sum() == 1  # the one that was put aside
    assert (scores < 0.5 - 1e-3).mean() > 0.5


def test_the_saved_memory_is_a_network_that_gives_the_same_scores(split, images, found, tmp_path):
    save_model(tmp_path / "memory.safetensors", found.network)
    network = load_model(tmp_path / "memory.safetensors")
    assert network.facts == found.network.facts and network.facts.precision == "no"
    judged = split[split.split.isin(["val", "test"])]
    scores = predict(network, ImageBatches(images, judged, network, 32), "no")
    np.testing.assert_allclose(scores, found.scores.defect_score, rtol=1e-4)


def test_without_good_images_or_stages_of_stride_8_and_16_it_is_refused(split, images, weights):
    with pytest.raises(ValueError, match="two good training images"):
        fit(weights, images, split[(split.split != "train") | (split.label == 1)])
    with pytest.raises(patchcore.NoMiddleLayersError, match=r"stride 8, .* 16: choose another"):
        fit(find_weights("test_vit", "random", 80), images, split)


def test_the_core_set_is_that_of_a_naive_implementation():
    patches = np.random.default_rng(0).normal(3, 1, (200, 12)).astype(np.float32)
    before = patches.copy()
    found = core_set(patches, 40, seed=1)
    # algorithm 1 of the paper with all distances at once
    x, chosen = patches.astype(np.float64), [found[0]]
    distances = np.linalg.norm(x[:, None] - x[None], axis=2)
    while len(chosen) < 40:
        rest = [i for i in range(len(x)) if i not in chosen]
        chosen.append(max(rest, key=lambda i: distances[i, chosen].min()))
    assert found.tolist() == chosen
    np.testing.assert_array_equal(patches, before)
    assert found.tolist() == core_set(patches, 40, seed=1).tolist()
    assert found.tolist() != core_set(patches, 40, seed=2).tolist()
    equal = np.ones((7, 3), np.float32)
    assert sorted(core_set(equal, 7, seed=0).tolist()) == list(range(7))  # each once


def _maps(*images):
    """Features (B, D, h, w) from lists of patches (h w, D), a single row of patches each."""
    return torch.tensor(images, dtype=torch.float32).permute(0, 2, 1)[:, :, None]


def test_equations_6_and_7_by_hand(monkeypatch):
    monkeypatch.setattr(patchcore, "NEIGHBOURS", 3)
    bank = MemoryBank(torch.tensor([[0.0, 0], [1, 0], [0, 2], [4, 3.1]]))
    # the second patch is the farthest: 3 from its nearest neighbour m = (1, 0)
    (found,) = bank.scores(_maps([[0, 0.5], [4, 0], [0, 2]]))
    # N_3(m) = m itself, (0, 0) at 1, and (0, 2) at sqrt 5; the patch is 3, 4 and sqrt 20 from them,
    # nearer to (4, 3.1), which is farther from m
    exponentials = np.exp([3, 4, np.sqrt(20)])
    assert found.item() == pytest.approx((1 - exponentials[0] / exponentials.sum()) * 3, rel=1e-6)
    (far,) = bank.scores(_maps([[1e6, 1e6]]))  # finite
    assert far.item() == pytest.approx(1e6 * 2**0.5, rel=0.2)


def test_distances_are_those_to_the_nearest_patch_in_the_map_s_order(monkeypatch):
    memory, features = torch.randn(30, 5), torch.randn(2, 5, 3, 4)
    expected = torch.empty(2, 3, 4)
    for b, i, j in np.ndindex(2, 3, 4):
        expected[b, i, j] = (memory - features[b, :, i, j]).norm(dim=1).min()
    whole, rows = MemoryBank(memory).distances(features)
    torch.testing.assert_close(whole, expected)
    near = memory[rows].permute(0, 3, 1, 2)  # (B, D, h, w)
    torch.testing.assert_close((near - features).norm(dim=1), expected)
    monkeypatch.setattr(patchcore, "MEMORY_AT_ONCE", 7)  # the last part has two
    again, same = MemoryBank(memory).distances(features)
    torch.testing.assert_close(again, expected)
    assert torch.equal(same, rows)


@pytest.mark.parametrize(
    ("kind", "channels"),
    [
        ("resnet18", 128 + 256),
        ("efficientnet_lite2", 48 + 120),
        ("convnext_atto", 80 + 160),
        ("swin_tiny_patch4_window7_224", 192 + 384),  # its maps are (B, H, W, C)
    ],
)
def test_features_are_those_of_the_stages_of_stride_8_and_16(kind, channels):
    model = backbones.build(backbones.spec_of(kind, 2, 64)).eval()
    with torch.no_grad():
        found = patch_features(model, torch.randn(2, 3, 64, 64))
    assert found.shape == (2, channels, 8, 8)


def test_features_are_the_layers_own_averaged_upsampled_and_joined():
    model = backbones.build(backbones.spec_of("resnet18", 2, 64)).eval()
    trunk, images = model.trunk, torch.randn(2, 3, 72, 72)  # maps of 9 x 9 and 5 x 5
    with torch.no_grad():
        found = patch_features(model, images)
        stem = trunk.maxpool(trunk.act1(trunk.bn1(trunk.conv1(images))))
        fine = trunk.layer2(trunk.layer1(stem))
        coarse = trunk.layer3(fine)
    assert found.shape == (2, 384, 9, 9)
    torch.testing.assert_close(found[:, :128, 4, 6], fine[:, :, 3:6, 5:8].mean((2, 3)))
    torch.testing.assert_close(found[:, :128, 0, 0], fine[:, :, :2, :2].mean((2, 3)))  # a corner
    padded = F.pad(coarse, (1, 1, 1, 1), value=torch.nan)
    averaged = padded.unfold(2, 3, 1).unfold(3, 3, 1).nanmean((4, 5))  # of 3 x 3 neighbours
    expected = F.interpolate(averaged, (9, 9), mode="bilinear")
    torch.testing.assert_close(found[:, 128:], expected)
