"""PatchCore in a run: it finds the planted defect, sees no fold of its own, is done once."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

import helpers
from helpers.core import files
from helpers.core.members import Member
from helpers.core.paths import RunPaths
from helpers.models.backbones import (
    find_weights,
    load_model,
    pretrained,
)
from helpers.models.patch_features import middle_layers, patch_features
from helpers.results import predictions
from helpers.runs import stages
from helpers.runs.costs import checkpoints, training_cost
from helpers.training import memory_bank, patchcore
from helpers.training.memory_bank import MemoryBank, network_of
from helpers.training.settings import BaselineSettings
from tests.conftest import split_of
from tests.training.test_cross_fitting import folded_split


@pytest.fixture(scope="module")
def weights():
    return find_weights("efficientnet_lite0")


def _stage(split):
    settings = BaselineSettings(image_size_px=64, patchcore_share=0.1)
    stage = stages.Stage("02_features_baselines", RunPaths("r"), "quick", settings, "key")
    files.save_csv(stage.paths.split_csv, split)
    return stage


@pytest.fixture
def stage(home, parts_folder):
    """An opened stage 02 without folds."""
    return _stage(split_of(parts_folder))


@pytest.fixture
def folded(home, parts_folder):
    """An opened stage 02 on a split with three folds."""
    return _stage(folded_split(parts_folder))


def _files(stage):
    return checkpoints(stage.paths.trainings("patchcore"))


def _found(stage):
    return predictions.read_predictions(stage.paths.predictions("patchcore"), stage.split)


def test_bad_parts_are_found_and_bad_training_images_change_nothing(stage, weights):
    (row,) = patchcore.fit(stage, weights)
    whole, split = _found(stage), stage.split
    for side in ("val", "test"):
        assert roc_auc_score(*whole.labels_scores(side)) > 0.99
    assert row["good_images"] == 27 and row["patches"] == 27 * 64  # of 30, three are put aside
    assert row["memory"] == round(0.1 * 27 * 64) and row["seconds"] > 0
    files.save_csv(stage.paths.split_csv, split[(split.split != "train") | (split.label == 0)])
    alone = dataclasses.replace(stage)
    patchcore.fit(alone, weights)
    assert _found(alone).val.equals(whole.val)


def test_no_image_is_in_the_memory_that_scores_it_and_its_label_changes_no_score(
    folded, weights, monkeypatch
):
    split = folded.split
    # 27 images give 19 patches each, and 26 would give 20
    monkeypatch.setattr(patchcore, "MOST_PATCHES", 520)
    patchcore.fit(folded, weights)
    before = _found(folded)
    assert before.averaged == "3 folds"
    assert before.val.id.tolist() == split.id[split.split != "test"].tolist()
    good_of_fold_1 = split.index[(split.fold == 1).fillna(False) & (split.label == 0)]
    changed = split.copy()
    changed.loc[good_of_fold_1[:2], "label"] = 1
    files.save_csv(folded.paths.split_csv, changed)
    flipped = dataclasses.replace(folded)
    patchcore.fit(flipped, weights)
    after = _found(flipped).val.set_index("id").defect_score
    scores = before.val.set_index("id").defect_score
    same_fold = split.id[(split.fold == 1).fillna(False)]
    assert after[same_fold].equals(scores[same_fold])  # bit for bit
    assert not after.equals(scores)  # the other folds' memories lack the images


def test_the_images_of_a_memory_are_good_and_from_the_other_folds_and_some_are_put_aside(folded):
    split = folded.split
    for fold in range(3):
        remembered, aside = patchcore._good(split, Member(0, fold))
        rows = np.concatenate([remembered, aside])
        assert len(set(rows)) == len(rows) and len(aside) == len(rows) // 10
        other = (split.fold != fold).fillna(False) & (split.label == 0)
        assert sorted(rows) == np.flatnonzero(other).tolist()


def test_the_usual_score_is_the_median_of_good_images_that_were_put_aside(stage, weights):
    patchcore.fit(stage, weights)
    (model,) = map(load_model, _files(stage))
    aside = patchcore._good(stage.split, Member(0)).aside
    patches = patchcore.Patches(model.backbone, model.layers, stage.images(64))
    scores = [model.bank.scores(f) for f in patches.features(stage.split.iloc[aside])]
    assert model.bank.usual == pytest.approx(torch.cat(scores).quantile(0.5).item())


@pytest.mark.parametrize(("most", "images"), [(200, 27), (20, 20)])
def test_patches_are_bounded_however_many_images_there_are(
    stage, weights, monkeypatch, most, images
):
    monkeypatch.setattr(patchcore, "MOST_PATCHES", most)
    (row,) = patchcore.fit(stage, weights)
    assert row["good_images"] == images and row["patches"] == most // images * images <= most
    assert row["memory"] == max(memory_bank.NEIGHBOURS, round(0.1 * row["patches"]))
    good, (model,) = patchcore._good(stage.split, Member(0)), map(load_model, _files(stage))
    patches = patchcore.Patches(model.backbone, model.layers, stage.images(64))
    drawn = patchcore._drawn(patches, stage.split, {0: good}, 0)
    assert sum(len(patches) for patches in drawn.values()) == row["patches"]
    assert roc_auc_score(*_found(stage).labels_scores("test")) > 0.9


def test_memory_and_predictions_are_made_once_and_the_memory_survives_a_kill(
    stage, weights, monkeypatch
):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(patchcore, "save_predictions", killed)
        patchcore.fit(stage, weights)
    (row,) = patchcore.fit(stage, weights)
    assert stage.notes["reused"] == ["patchcore memory"]
    first = stage.paths.predictions("patchcore").read_bytes()
    assert patchcore.fit(stage, weights) == [row]
    assert stage.notes["reused"] == ["patchcore memory"] * 2 + ["patchcore"]
    whole = dataclasses.replace(stage, paths=RunPaths("whole"))
    files.save_csv(whole.paths.split_csv, stage.split)
    patchcore.fit(whole, weights)
    assert whole.paths.predictions("patchcore").read_bytes() == first
    same = zip(_files(whole), _files(stage), strict=True)
    assert all(a.read_bytes() == b.read_bytes() for a, b in same)
    stage.settings = dataclasses.replace(stage.settings, patchcore_share=0.2)
    assert patchcore.fit(stage, weights)[0]["memory"] == 2 * row["memory"]


def test_each_memory_is_a_network_that_gives_the_scores_of_the_run(folded, weights):
    old = folded.paths.checkpoint("patchcore", 0)  # of an earlier call without folds
    old.parent.mkdir(parents=True)
    old.touch()
    (row,) = patchcore.fit(folded, weights)
    found, files_found = _found(folded), _files(folded)
    assert files_found == [folded.paths.checkpoint("patchcore", 0, fold) for fold in range(3)]
    opened = [helpers.load_model(file) for file in files_found]
    assert [len(model.network.memory) for model in opened] == row["memory"]
    test = folded.split[folded.split.split == "test"]
    for model, member in zip(opened, found.members, strict=True):
        answers = model.predict(test.path.tolist())
        np.testing.assert_allclose(answers.score, member.test.defect_score, rtol=1e-4)
    cost = training_cost(folded.paths, stages.load_run(folded.paths), "patchcore")
    assert cost["seconds"] == row["seconds"] and cost["parameters"] is None


def test_a_part_that_is_in_the_memory_has_a_finite_score(weights):
    backbone = pretrained(weights, 2, 32)
    layers, image = middle_layers(backbone), torch.zeros(1, 3, 32, 32)
    with torch.no_grad():
        (patches,) = patch_features(backbone.eval(), image, layers).flatten(2).transpose(1, 2)
        model = network_of(backbone, layers, MemoryBank(patches, usual=2.0))
        assert model(image).softmax(1)[0, 1] < 1e-6


def test_without_good_images_or_suitable_layers_there_is_no_row(
    stage, weights, monkeypatch, capsys
):
    def refuse(model):
        raise patchcore.NoMiddleLayersError("the network has no stage of stride 8")

    with monkeypatch.context() as patch:
        patch.setattr(patchcore, "middle_layers", refuse)
        assert patchcore.fit(stage, weights) == []
    assert capsys.readouterr().out == (
        "PatchCore is left out: the network has no stage of stride 8\n"
    )
    split = stage.split
    bad = split[(split.split != "train") | (split.label == 1)]
    files.save_csv(stage.paths.split_csv, pd.DataFrame(bad))
    with pytest.raises(ValueError, match="needs two good training images; there are 0"):
        patchcore.fit(dataclasses.replace(stage), weights)


def test_a_sentence_says_what_the_memories_hold():
    row = {"good_images": 980, "patches": 99960, "memory": 1000, "memory_mb": 3.0, "seconds": 53.9}
    assert patchcore.about(row) == (
        "PatchCore remembers 1,000 of 99,960 patches of 980 good images (3.0 MB and 53.9 s)."
    )
    row |= {"good_images": [980, 1002], "patches": [99960, 99198], "memory": [1000, 992]}
    assert " 1,000 of 99,960 patches of 980 good images, in the first of 2 " in patchcore.about(row)
