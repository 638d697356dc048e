"""The classical models of a run: each fold is scored by a model that has not seen it."""

import numpy as np
import pandas as pd
import pytest

from helpers.core.rules import SettingsError
from helpers.models.record import Model
from helpers.models.weights import find_weights
from helpers.runs import classical
from helpers.training import classifiers
from helpers.training.features import Features
from helpers.training.known_classifiers import CLASSIFIERS
from helpers.training.settings import BaselineSettings
from tests.conftest import folded_split
from tests.small_run import open_run


@pytest.fixture
def run(home, parts_folder):
    """A run with small images whose split has three folds."""
    settings = BaselineSettings(image_size_px=64, folds=2, trees=5, patchcore_share=0.1)
    return open_run("02_features_baselines", settings, folded_split(parts_folder))


def embedding(run):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(len(run.split), 6)).astype(np.float32)
    x[:, 1] += run.split.label
    return x


@pytest.mark.parametrize("base", ["lda", "lr", "svm"])
def test_a_label_that_only_a_leaking_fold_could_know_changes_no_score_of_its_image(run, base):
    """The image's features are unique: a model fitted on it would know its label by heart."""
    row, x = int(np.flatnonzero((run.split.fold == 1).fillna(False))[3]), embedding(run)
    x[row, 0] = 1e3
    by_fold = dict.fromkeys(range(3), Features(run.split.id.to_numpy(dtype=str), x))
    scores, other = [], run.split.copy()
    other.loc[row, "label"] = 1 - other.label[row]
    for one in (run, open_run(run.name, run.settings, other)):
        classical.fit(one, {Model(base): by_fold})
        scores.append(one.models()[base].val.set_index("id").defect_score)
    same_fold = run.split.id[(run.split.fold == 1).fillna(False)]
    assert scores[0][same_fold].equals(scores[1][same_fold])  # bit for bit
    assert not scores[0].equals(scores[1])  # but the other folds were fitted with this label


def test_the_classifier_of_a_fold_sees_the_features_of_the_network_without_this_fold(run):
    split, x = run.split, embedding(run)
    ids = split.id.to_numpy(dtype=str)
    by_fold = {fold: Features(ids, np.roll(x, fold, axis=0)) for fold in range(3)}
    model = Model("lda", features="fbp")
    classical.fit(run, {model: by_fold})
    found = run.models()["lda_on_fbp"].val.set_index("id").defect_score
    for fold, own in by_fold.items():
        inside = split[(split.split != "test") & (split.fold != fold).fillna(False)]
        y = inside.label.to_numpy(np.int64)
        fitted = classifiers.fit_classifier(
            *CLASSIFIERS["lda"], own.of(inside.id), y, 0, folds=2, name="lda"
        )
        ids = split.id[(split.fold == fold).fillna(False)]
        np.testing.assert_allclose(found[ids], fitted.defect_score(own.of(ids)), atol=1e-6)


def test_brightness_and_the_four_models_are_rows_and_are_fitted_once(run):
    embedded = Features(run.split.id.to_numpy(dtype=str), embedding(run))
    models = classical.brightness(run) | classical.on(embedded, Model("lr"))
    fitted = classical.fit(run, models)
    assert {*run.models()} == {"lr_on_brightness", "lda", "rf", "lr", "svm"}
    assert all(len(fits) == 3 for fits in fitted.values())
    assert classifiers.fitted_table(fitted).Model[0] == "Brightness alone"
    classical.fit(run, models)
    assert len(run.notes["reused"]) == 15


def test_groups_have_a_row_without_a_pixel(run):
    classical.add_group_prior(run)
    assert not run.paths.predictions("module_prior").exists()  # there are no groups
    group = pd.Series([f"g{i // 5}" for i in range(len(run.split))])
    grouped = open_run(run.name, run.settings, run.split.assign(group=group))
    classical.add_group_prior(grouped)
    prior = grouped.models()["module_prior"]
    assert prior.model.title == "Module prior (no pixel)"
    assert len(prior.val) == run.split.fold.notna().sum()  # each out of its fold


def test_patchcore_has_a_memory_for_each_fold_and_is_left_out_without_suitable_layers(run):
    said = classical.patch_core(run, find_weights("efficientnet_lite0"))
    assert "in the first of 3 folds" in said
    scored = run.models()["patchcore"]
    assert scored.model.averaged == "3 folds"
    folder = run.paths.trainings("patchcore")
    assert all((folder / f"seed0_fold{fold}.safetensors").is_file() for fold in range(3))
    said = classical.patch_core(run, find_weights("test_vit", "random", 64))
    assert said.startswith("PatchCore is left out: ")
    side = run.split.label.map({0: "train", 1: "val"})
    split = run.split.drop(columns="fold").assign(split=side)
    good = open_run(run.name, run.settings, split)
    words = r"only model, .* stride 8, .* 16; choose another BACKBONE"
    with pytest.raises(SettingsError, match=words):
        classical.patch_core(good, find_weights("test_vit", "random", 64))
