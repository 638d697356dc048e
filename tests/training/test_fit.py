"""One training: it fits on train alone, scores what it has not seen, and is resumed exactly."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from torch import nn

from helpers.core.members import Member, cross_fitted, sides
from helpers.core.rules import SettingsError
from helpers.datasets.cache import open_cache
from helpers.models.weights import find_weights
from helpers.training import fit
from helpers.training.inference import Features, predict
from helpers.training.settings import FinetuneSettings, TrainSettings
from tests import small_run
from tests.conftest import aucs, folded_split

small_cnn = functools.partial(small_run.small_cnn, 1)


def test_the_two_layer_cnn_finds_the_bright_spot_and_says_how_its_images_were_read(split, images):
    build = functools.partial(fit.two_layer_cnn, 16, 1)
    settings = TrainSettings(epochs=3, lr=1e-3, precision="no", test_views=4)
    found = fit.fit(build, images, split, settings, seed=0)
    assert max(epoch["val_auc"] for epoch in found.history) > 0.95
    assert {*found.scores.split} == {"val", "test"} and len(found.scores) == 60
    assert found.parameters == sum(p.numel() for p in found.network.parameters())
    assert found.device.endswith(", float32") and found.seconds > 0
    facts = found.network.facts
    assert (facts.full_scale_bits, facts.fit) == (0, "squash")
    assert (facts.views, facts.precision) == (4, "no")
    scored = split[split.split.isin(["val", "test"])]
    batches = fit.ImageBatches(images, scored, found.network, 32)
    np.testing.assert_allclose(predict(found.network, batches, "no", 4), found.scores.defect_score)
    assert abs(predict(found.network, batches, "no") - found.scores.defect_score).max() > 1e-5


def test_the_last_layer_learns_on_train_is_judged_on_val_and_scores_val_and_test(split, images):
    planted = np.random.default_rng(0).normal(0, 0.05, (len(split), 1000)).astype(np.float32)
    sign = split.split.map({"train": 3, "val": 3, "test": -3})  # test shows the opposite label
    planted[:, 0] += sign * (2 * split.label - 1)
    stored = Features(split.id.to_numpy(dtype=str), planted)
    settings = TrainSettings(epochs=20, lr=0.05, augment="none", precision="no")
    found = fit.fit(small_cnn, images, split, settings, seed=0, features=stored)
    assert found.parameters == 1000 * 2 + 2
    assert all(
        torch.equal(value, found.network.state_dict()[name])
        for name, value in small_cnn(0).state_dict().items()
        if not name.startswith("head")
    )
    with torch.no_grad():
        raw = found.network.head(torch.from_numpy(stored.of(found.scores.id)))
    np.testing.assert_allclose(found.scores.defect_score, raw.softmax(dim=1)[:, 1], atol=1e-6)
    auc = aucs(found.scores, split)
    assert auc["val"] > 0.9 and auc["test"] < 0.1
    assert max(epoch["val_auc"] for epoch in found.history) == pytest.approx(auc["val"])


def test_an_image_s_score_does_not_depend_on_its_label_in_a_training_without_its_fold(
    parts_folder, tmp_path
):
    split = folded_split(parts_folder)
    images = open_cache(split, 16, tmp_path / "cache")
    row = np.flatnonzero((split.fold == 1).fillna(False))[3]
    flipped = split.copy()
    flipped.loc[row, "label"] = 1 - split.label[row]

    def score(table, fold, seed=0):
        settings = TrainSettings(epochs=2, precision="no", keep="last")
        found = fit.fit(small_cnn, images, sides(table, fold), settings, seed)
        return found.scores.set_index("id").defect_score

    assert score(split, 1).equals(score(flipped, 1))  # bit for bit
    assert not score(split, 1).equals(score(split, 1, seed=1))
    assert not score(split, 2).equals(score(flipped, 2))  # this training has seen the label


@pytest.mark.parametrize(
    "kind, stride, kept",
    [
        ("efficientnet_lite2", 8, ["conv_stem", "bn1", "blocks.0", "blocks.1", "blocks.2"]),
        ("efficientnet_lite2", 4, ["conv_stem", "bn1", "blocks.0", "blocks.1"]),
        ("resnet18", 8, ["conv1", "bn1", "layer1", "layer2"]),
        ("resnet18", 2, ["conv1", "bn1"]),  # the stage is an activation, without weights
        ("resnet18", 0, []),
        ("vit_tiny_patch16_224", 8, []),  # its first maps are 1/16 of the image's side
    ],
)
def test_frozen_layers_keep_weights_and_statistics_and_all_others_learn(
    split, tmp_path, kind, stride, kept
):
    images = open_cache(split, 32, tmp_path / "cache")
    build = functools.partial(fit.pretrained, find_weights(kind, "random", 32), 32)
    settings = TrainSettings(epochs=1, lr=1e-3, precision="no", frozen=stride)
    before, found = build(0), fit.fit(build, images, split, settings, seed=0)
    after, names = found.network.state_dict(), tuple(f"trunk.{name}." for name in kept)
    for name, value in before.state_dict().items():
        assert torch.equal(after[name], value) == name.startswith(names), name
    trained = [p for n, p in before.named_parameters() if not n.startswith(names)]
    assert found.parameters == sum(p.numel() for p in trained)


def test_a_training_has_the_threads_it_asks_for_and_the_same_bits_on_any_machine(split, images):
    settings, before = TrainSettings(epochs=1, precision="no", threads=2), torch.get_num_threads()
    found = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            found.append(fit.fit(small_cnn, images, split, settings, seed=0))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(before)
    assert found[0].scores.equals(found[1].scores) and "2 threads" in found[0].device


def test_only_a_pretrained_network_is_frozen(split, images):
    with pytest.raises(SettingsError, match="frozen=8: two-layer CNN is not pretrained"):
        fit.fit(small_cnn, images, split, TrainSettings(epochs=1, frozen=8), seed=0)
    settings = FinetuneSettings(fbp_frozen=8)
    assert (settings.fbp.frozen, settings.ll.frozen, settings.cnn.frozen) == (8, 0, 0)
    assert dataclasses.replace(settings, weights="random").fbp.frozen == 0


class Bright(nn.Module):
    """A network of one's own, as in a notebook's cell: how bright the brightest place is."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, images):
        return self.head(self.conv(images).amax(dim=(2, 3)))


def test_a_module_of_a_cell_is_trained_and_scored_and_stays_as_it_is(split, images):
    own = Bright()
    found = fit.fit(own, images, split, TrainSettings(epochs=8, lr=0.03, precision="no"), seed=0)
    assert aucs(found.scores, split)["test"] > 0.95
    assert found.network.spec.kind == "own" and found.network.spec.in_channels == 1
    assert not torch.equal(own.head.weight, found.network.module.head.weight)
    again = fit.fit(own, images, split, TrainSettings(epochs=8, lr=0.03, precision="no"), seed=0)
    assert again.scores.equals(found.scores)
    own.conv.requires_grad_(False)  # a frozen weight is not counted as trained
    one = TrainSettings(epochs=1, precision="no")
    assert fit.fit(own, images, split, one, seed=0).parameters == 4 * 2 + 2


def test_a_module_without_two_scores_is_refused(split, images):
    with pytest.raises(SettingsError, match=r"Linear gives \[2, 1, 16, 5\]"):
        fit.fit(nn.Linear(16, 5), images, split, TrainSettings(epochs=1), seed=0)
    with pytest.raises(SettingsError, match="gives a Bright: pass the module itself"):
        fit.fit(lambda seed: Bright(), images, split, TrainSettings(epochs=1), seed=0)


def test_each_member_is_a_training_of_its_own_sides(parts_folder, images):
    split = folded_split(parts_folder)
    calls = fit.trainings(cross_fitted(split, [3]), small_cnn, images, split, TrainSettings())
    assert [*calls] == [Member(3, fold) for fold in range(3)]
    for member, call in calls.items():
        _, _, table, settings, seed = call.args
        assert (settings.keep, seed) == ("last", 3)
        assert {*table.id[table.split == "val"]} == {*split.id[split.fold == member.fold]}
    (alone,) = fit.trainings([Member(1)], small_cnn, images, split, TrainSettings()).values()
    assert alone.args[3].keep == "best" and alone.args[2].equals(split[fit.SEEN])
