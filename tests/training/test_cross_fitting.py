"""Cross-fitted models: no image is scored by a training that has seen it; resumed exactly."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest

from helpers.core import files, seeding
from helpers.core.members import Member, cross_fitted
from helpers.core.paths import RunPaths
from helpers.models import backbones
from helpers.results import predictions
from helpers.runs import stages
from helpers.runs.run_models import read_all_predictions
from helpers.training import baselines, features, finetune, trained
from helpers.training.settings import FinetuneSettings
from tests.conftest import split_of
from tests.small_run import train_members

FOLDS = 3


def folded_split(folder):
    """A split of `parts_folder`; each fold has as many good as bad parts."""
    split = split_of(folder)
    fold, tested = pd.Series(np.arange(len(split)) % FOLDS, dtype="Int64"), split.split == "test"
    side = np.where(tested, "test", np.where(fold == 0, "val", "train"))
    return split.assign(fold=fold.mask(tested), split=side)


@pytest.fixture
def stage(home, parts_folder):
    """An opened stage 03 with small images, on a split with folds."""
    settings = FinetuneSettings(
        cnn_epochs=2, ll_epochs=2, fbp_epochs=1, precision="no", image_size_px=32, folds=2, trees=10
    )
    stage = stages.Stage("03_finetuning", RunPaths("r"), "quick", settings, "key")
    files.save_csv(stage.paths.split_csv, folded_split(parts_folder))
    return stage


def _embedding(stage):
    """Features that say little, and the first of them names the image."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(len(stage.split), 6)).astype(np.float32)
    x[:, 1] += stage.split.label
    x[np.arange(len(x)) == _planted(stage), 0] = 1e3
    return features.Features(stage.split.id.to_numpy(dtype=str), x)


def _planted(stage):
    """The row of an image of fold 1, whose features are unlike all others."""
    return int(np.flatnonzero((stage.split.fold == 1).fillna(False))[3])


def _flip(stage):
    """Give the planted image the other label; return a stage that knows no other."""
    split = stage.split.copy()
    row = _planted(stage)
    split.loc[row, "label"] = 1 - split.label[row]
    files.save_csv(stage.paths.split_csv, split)
    return dataclasses.replace(stage)


def _out_of_fold(stage, model):
    found = predictions.read_predictions(stage.paths.predictions(model), stage.split)
    return found.val.set_index("id").defect_score


@pytest.mark.parametrize("name", ["LDA", "LR", "SVM"])
def test_a_label_that_only_a_leaking_fold_could_know_changes_no_score_of_its_image(
    stage, monkeypatch, name
):
    """The image's features are unique: a model fitted on it would know its label by heart."""
    monkeypatch.setattr(baselines, "NAMES", (name,))
    embedded, own_id = _embedding(stage), stage.split.id[_planted(stage)]
    baselines.fit_all(stage, embedded, "net")
    before = _out_of_fold(stage, name.lower())
    flipped = _flip(stage)
    baselines.fit_all(flipped, embedded, "net")
    after = _out_of_fold(flipped, name.lower())
    same_fold = stage.split.id[stage.split.fold == 1]
    assert after[own_id] == before[own_id]  # bit for bit
    assert after[same_fold].equals(before[same_fold])  # none of them was fitted with this label
    assert not after.equals(before)  # but the other folds were


def test_the_classifier_of_a_fold_sees_the_features_of_the_network_without_this_fold(
    stage, monkeypatch
):
    monkeypatch.setattr(baselines, "NAMES", ("LDA",))
    split, base = stage.split, _embedding(stage)
    by_fold = {
        fold: features.Features(base.ids, np.roll(base.embeddings, fold, axis=0))
        for fold in range(FOLDS)
    }
    baselines.fit_all(stage, by_fold.__getitem__, "fbp", "_on_fbp")
    found = _out_of_fold(stage, "lda_on_fbp")
    for fold, own in by_fold.items():
        inside = split[(split.split != "test") & (split.fold != fold).fillna(False)]
        x, y = own.of(inside.id), inside.label.to_numpy(np.int64)
        fitted = baselines.fit_baseline("LDA", x, y, folds=2, trees=10, seed=0)
        ids = split.id[(split.fold == fold).fillna(False)]
        np.testing.assert_allclose(found[ids], fitted.defect_score(own.of(ids)), atol=1e-6)


def test_a_network_s_score_of_an_image_does_not_depend_on_the_image_s_label(stage):
    members, own_id = cross_fitted(stage.split, [0]), stage.split.id[_planted(stage)]
    train_members(stage, members)
    before = _out_of_fold(stage, "cnn")
    flipped = _flip(stage)
    train_members(flipped, members)
    after = _out_of_fold(flipped, "cnn")
    assert after[own_id] == before[own_id] and not after.equals(before)


def test_a_cross_fitted_network_keeps_its_last_epoch_and_a_single_one_its_best(stage, monkeypatch):
    """The fold that a training is judged on must not choose its epoch."""
    kept, plain = [], trained.Training
    monkeypatch.setattr(
        trained,
        "Training",
        lambda *given, **options: kept.append(given[3].keep) or plain(*given, **options),
    )
    train_members(stage, [Member(0), Member(0, 1)])
    assert kept == ["best", "last"]


def test_killed_between_folds_and_continued_it_ends_as_if_never_killed(stage):
    started = itertools.count(1)

    def killed(network, epoch):
        if next(started) == 4:  # the second epoch of the second fold
            raise KeyboardInterrupt

    members = cross_fitted(stage.split, [0])
    with pytest.raises(KeyboardInterrupt):
        train_members(stage, members, killed)
    assert stage.paths.checkpoint("cnn", 0, 0).is_file()
    assert not stage.paths.predictions("cnn").exists()
    train_members(stage, members)
    assert stage.notes["reused"] == ["cnn, seed 0, fold 0"]
    continued = stage.paths.predictions("cnn").read_bytes()
    assert not list(stage.paths.trainings("cnn").glob("*.resume"))
    whole = dataclasses.replace(stage, paths=RunPaths("whole"))
    files.save_csv(whole.paths.split_csv, stage.split)
    train_members(whole, members)
    assert whole.paths.predictions("cnn").read_bytes() == continued


def test_the_training_without_fold_0_sees_what_a_single_training_sees(stage):
    stage.settings = dataclasses.replace(stage.settings, cnn_epochs=1)  # best is last
    train_members(stage, cross_fitted(stage.split, [0]))
    first = read_all_predictions(stage.paths)["cnn"].members[0]
    train_members(stage, [Member(0)])
    single = read_all_predictions(stage.paths)["cnn"]
    assert single.members == () and single.val.equals(first.val) and single.test.equals(first.test)


def test_last_layer_all_layers_and_classical_models_are_cross_fitted(stage, monkeypatch):
    def small(seed, weights, cache):  # in place of a pretrained backbone
        with seeding.torch_stream(seed, "weights"):
            return backbones.TwoLayerCNN(backbones.spec_of("cnn", 2, cache.size_px, cache.channels))

    monkeypatch.setattr(finetune, "_pretrained", small)
    monkeypatch.setattr(baselines, "NAMES", ("LR",))
    weights, ids = backbones.Weights("net", {}, "nowhere"), stage.split.id.to_numpy(dtype=str)
    x = np.random.default_rng(0).random((len(ids), 1000), dtype=np.float32)
    features.save_features(stage.paths.features("net"), features.Features(ids, x))
    fbp, ll = finetune.train_all_layers(stage, weights), finetune.train_last_layer(stage, weights)
    for models in (fbp, ll):
        assert [(one.seed, one.fold) for one in models] == cross_fitted(stage.split, [0])
    rows = finetune.fit_on_finetuned(stage, weights)
    assert [len(row["chosen"]) for row in rows] == [FOLDS]
    # each fold's classifiers are fitted on the features of the network that has not seen it
    checkpoints = [stage.paths.checkpoint("fbp", 0, fold) for fold in range(FOLDS)]
    steps = stages.load_run(stage.paths)["steps"]
    for fold, name in enumerate(("fbp", "fbp_fold1", "fbp_fold2")):
        key = {"weights": files.file_digest(checkpoints[fold]), "images": stage.images(32).content}
        assert steps[f"features {name}"]["key"] == files.fingerprint(key)
    scored = read_all_predictions(stage.paths)
    assert set(scored) == {"ll", "fbp", "lr_on_fbp"}
    judged = stage.split.id[stage.split.split != "test"].tolist()
    for model in scored.values():
        assert model.val.id.tolist() == judged and model.averaged == "3 folds"
    before = dict(stage.notes)
    finetune.fit_on_finetuned(stage, weights)
    reused = stage.notes["reused"][len(before.get("reused", [])) :]
    assert len(reused) == len(set(reused)) == FOLDS + 1
