"""PatchCore: it finds the planted defect from good images alone, and is a network of its own."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from helpers.datasets.cache import open_cache
from helpers.models.backbones import find_weights, load_model, pretrained, save_model
from helpers.training import memory_bank, patchcore
from helpers.training.batches import image_batches
from helpers.training.inference import predict
from helpers.training.memory_bank import (
    MemoryBank,
    NoMiddleLayersError,
    network_of,
    patch_features,
)
from tests.conftest import split_of


@pytest.fixture(scope="module")
def weights():
    return find_weights("efficientnet_lite0")


@pytest.fixture
def split(parts_folder):
    return split_of(parts_folder)


@pytest.fixture
def images(split, tmp_path):
    return open_cache(split, 64, tmp_path / "cache")


def fit(weights, images, split):
    return patchcore.fit(weights, images, split, share=0.1, seed=0)


def test_bad_parts_are_found_and_bad_training_images_change_nothing(split, images, weights):
    found = fit(weights, images, split)
    scores = found.scores.merge(split[["id", "label"]], on="id")
    for _, own in scores.groupby("split"):
        assert roc_auc_score(own.label, own.defect_score) > 0.99
    assert found.good_images == 27 and found.patches == 27 * 64  # of 30, three are put aside
    assert len(found.network.memory) == round(0.1 * 27 * 64)
    without = split[(split.split != "train") | (split.label == 0)]
    assert fit(weights, images, without).scores.equals(found.scores)


@pytest.mark.parametrize(("most", "remembered"), [(200, 27), (20, 20)])
def test_patches_are_bounded_however_many_images_there_are(
    split, images, weights, monkeypatch, most, remembered
):
    monkeypatch.setattr(patchcore, "MOST_PATCHES", most)
    found = fit(weights, images, split)
    assert found.good_images == remembered
    assert found.patches == most // remembered * remembered <= most
    assert len(found.network.memory) == max(memory_bank.NEIGHBOURS, round(0.1 * found.patches))


def test_the_usual_score_is_the_median_of_good_images_that_the_memory_lacks(
    split, images, weights, monkeypatch
):
    """The defect score of such an image is 0.5 on average: their median is the usual score."""
    monkeypatch.setattr(patchcore, "MOST_ASIDE", 1)
    network = fit(weights, images, split).network
    good = split[(split.split == "train") & (split.label == 0)]
    scores = predict(network, image_batches(images, good, network, 32), "no")
    assert np.isclose(scores, 0.5, atol=1e-4).sum() == 1  # the one that was put aside
    assert (scores < 0.5 - 1e-3).mean() > 0.5


def test_the_saved_memory_is_a_network_that_gives_the_same_scores(split, images, weights, tmp_path):
    found = fit(weights, images, split)
    save_model(tmp_path / "memory.safetensors", found.network)
    network = load_model(tmp_path / "memory.safetensors")
    assert network.facts == found.network.facts and network.facts.precision == "no"
    judged = split[split.split.isin(["val", "test"])]
    scores = predict(network, image_batches(images, judged, network, 32), "no")
    np.testing.assert_allclose(scores, found.scores.defect_score, rtol=1e-4)


def test_a_part_that_is_in_the_memory_has_a_finite_score(weights):
    backbone = pretrained(weights, 2, 32)
    image = torch.zeros(1, 3, 32, 32)
    with torch.no_grad():
        (patches,) = patch_features(backbone.eval(), image).flatten(2).transpose(1, 2)
        model = network_of(backbone, MemoryBank(patches, usual=2.0))
        assert model(image).softmax(1)[0, 1] < 1e-6


def test_without_good_images_or_suitable_stages_it_is_refused(split, images, weights):
    bad = split[(split.split != "train") | (split.label == 1)]
    with pytest.raises(ValueError, match="two good training images"):
        fit(weights, images, bad)
    with pytest.raises(NoMiddleLayersError, match=r"no stage of stride 8, .* 16$"):
        fit(find_weights("test_vit", "random", 64), images, split)
