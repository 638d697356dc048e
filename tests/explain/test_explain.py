"""The model that is looked into, and the parts that are worth looking at."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.core import files
from helpers.darts.genotypes import random_genotype
from helpers.darts.network import DerivedNetwork
from helpers.explain import gradcam
from helpers.explain import maps as map_figures
from helpers.explain import shown as explain
from helpers.runs import predictions
from tests.explain_run import write_run


@pytest.fixture
def run_paths(home, parts_folder):
    return write_run(parts_folder)


def table(rows):
    return pd.DataFrame(rows, columns=["id", "label", "defect_score"])


def test_a_chosen_model_is_shown_on_the_labelled_test_parts(run_paths):
    shown = explain.open_model(run_paths, "cnn")
    split = predictions.read_split(run_paths)
    assert (shown.name, shown.wanted, shown.side) == ("cnn", "cnn", "test")
    assert set(shown.parts.id) == set(split.id[split.split == "test"])
    assert shown.caption.startswith("two-layer CNN on 40 labelled test parts; called bad from")
    predicted = pd.read_csv(run_paths.predictions("cnn")).set_index("id").defect_score
    assert shown.parts.defect_score.tolist() == pytest.approx(predicted[shown.parts.id].tolist())


def test_a_model_without_a_network_gives_way_and_the_caption_says_so(run_paths):
    shown = explain.open_model(run_paths)
    assert (shown.wanted, shown.name, shown.scores_of) == ("svm", "cnn", "cnn")
    assert shown.caption.startswith(
        "SVM has no network of its own to look into, so the best model on validation that has one "
        "is shown. two-layer CNN on 40"
    )
    assert shown.title == "two-layer CNN (in place of SVM, no network)"
    own = explain.open_model(run_paths, "svm", own_scores=True)
    assert set(own.parts.defect_score) == {0.25, 0.75} and own.threshold == 0.5
    assert own.caption.startswith("SVM on 40 labelled test parts; called bad from a score of 0.500")
    assert own.caption.endswith("the maps are those of two-layer CNN, the best that has one.")


def test_in_place_of_an_average_its_first_seed_is_shown_and_called_so(run_paths):
    average = run_paths.predictions("cnn_averaged")
    average.write_bytes(run_paths.predictions("cnn").read_bytes())
    shown = explain.open_model(run_paths, "cnn_averaged")
    assert shown.name == "cnn"
    assert shown.title == "two-layer CNN, first seed (an average has no network of its own)"
    assert shown.caption.startswith(
        "two-layer CNN, seeds averaged: an average has no network of its own, so its first seed is "
        "shown. two-layer CNN on 40 labelled test parts"
    )
    own = explain.open_model(run_paths, "cnn_averaged", own_scores=True)
    assert own.title == "two-layer CNN, seeds averaged, maps of its first seed"
    assert own.caption.startswith("two-layer CNN, seeds averaged on 40 labelled test parts")
    assert own.caption.endswith("no network of its own; the maps are its first seed's.")


def test_an_ensemble_has_no_network_either(run_paths):
    best = run_paths.predictions("svm")
    best.rename(run_paths.predictions("rank_average"))
    shown = explain.open_model(run_paths)
    assert (shown.wanted, shown.name) == ("rank_average", "cnn")


def test_validation_parts_are_shown_where_test_labels_are_hidden(run_paths):
    split = predictions.read_split(run_paths)
    split.loc[split.split == "test", "label"] = pd.NA
    files.save_csv(run_paths.split_csv, split)
    shown = explain.open_model(run_paths, "cnn")
    assert shown.side == "val" and "40 labelled validation parts" in shown.caption
    assert set(shown.parts.id) == set(split.id[split.split == "val"])


def test_what_is_missing_is_named(run_paths):
    with pytest.raises(explain.ExplainError, match="run r has no model 'cn'; it has cnn, svm"):
        explain.open_model(run_paths, "cn")
    run_paths.checkpoint("cnn").unlink()
    with pytest.raises(explain.ExplainError, match=r"none of cnn, svm has a checkpoint in .*; run"):
        explain.open_model(run_paths)


def test_images_maps_and_pixels_follow_the_order_of_the_ids(run_paths):
    shown = explain.open_model(run_paths, "cnn")
    ids = shown.parts.id.iloc[[5, 2, 30]]
    backwards = ids.iloc[::-1]
    torch.testing.assert_close(shown.maps(ids, 1).flip(0), shown.maps(backwards, 1))
    np.testing.assert_array_equal(shown.pixels(ids)[::-1], shown.pixels(backwards))
    mean, std = shown.model.spec.mean[0], shown.model.spec.std[0]
    expected = (shown.pixels(ids)[..., 0] / 255 - mean) / std
    np.testing.assert_allclose(shown.images(ids)[:, 0], expected, atol=1e-5)
    classes = torch.tensor([0, 1, 0])
    each = shown.maps(ids, classes)
    torch.testing.assert_close(each[1], shown.maps(ids, 1)[1])
    torch.testing.assert_close(each[2], shown.maps(ids, 0)[2])


def test_the_feature_layer_is_the_models_own_attribute_or_the_one_in_its_spec(run_paths):
    derived = DerivedNetwork(random_genotype(0), channels=4, layers=3, num_classes=2)
    assert gradcam.feature_layer(derived) is derived.cells[-1]
    cnn = explain.open_model(run_paths, "cnn").model
    assert gradcam.feature_layer(cnn) == "features.4"


class Planted(explain.Shown):
    """Maps of one pixel that are empty for the ids in `model[label]`."""

    def maps(self, ids, target_class):
        filled = [name not in self.model.get(target_class, ()) for name in ids]
        return torch.tensor(filled).float()[:, None, None]


def planted(parts, empty):
    return Planted("m", "m", "m", empty, None, parts, "test", 0.5)


PARTS = table(
    [
        ("g1", 0, 0.1),
        ("g2", 0, 0.2),
        ("g3", 0, 0.3),
        ("g4", 0, 0.9),
        ("b1", 1, 0.95),
        ("b2", 1, 0.8),
        ("b3", 1, 0.45),
        ("b4", 1, 0.05),
    ]
)


def test_the_surest_right_part_with_two_filled_maps_is_chosen_in_each_class():
    chosen = explain.surest_of_each_class(planted(PARTS, {}))
    assert chosen.id.tolist() == ["g1", "b1"] and chosen["rank"].tolist() == [1, 1]
    for at_once in (1, 2, 32):
        shown = planted(PARTS, {1: ["g1"], 0: ["g2", "b1"]})
        chosen = explain.surest_of_each_class(shown, at_once=at_once)
        assert chosen.id.tolist() == ["g3", "b2"]
        assert chosen["rank"].tolist() == [3, 2] and chosen.n_right.tolist() == [3, 2]


def test_where_all_maps_are_empty_or_looking_takes_too_long_the_surest_is_chosen():
    everything = {1: ["g1", "g2", "g3"], 0: ["b1"]}
    assert explain.surest_of_each_class(planted(PARTS, everything)).id.tolist() == ["g1", "b2"]
    assert explain.surest_of_each_class(planted(PARTS, everything), most=1).id.tolist() == [
        "g1",
        "b1",
    ]


def test_where_no_part_of_a_class_is_right_the_least_wrong_is_chosen():
    parts = PARTS[PARTS.id.isin(["g1", "b3", "b4"])]
    chosen = explain.surest_of_each_class(planted(parts, {}))
    assert chosen.id.tolist() == ["g1", "b3"] and chosen.n_right.tolist() == [1, 0]
    title = map_figures.class_maps_title(planted(parts, {}), chosen)
    assert title.endswith("(good: number 1 of 1; bad: none is right, the least wrong)")


def test_a_class_without_parts_is_named():
    with pytest.raises(explain.ExplainError, match="there is no bad part among the 4 labelled"):
        explain.surest_of_each_class(planted(PARTS[PARTS.label == 0], {}))


def test_a_gallery_holds_surest_hits_worst_misses_and_least_certain_parts():
    chosen = explain.gallery_parts(PARTS, 0.5, 4).groupby("group", sort=False).id.agg(list)
    assert chosen["surest hits"] == ["g1", "g2", "b1", "b2"]
    assert chosen["worst misses"] == ["g4", "b4", "b3"]  # there is one wrongly called good part
    assert set(chosen["least certain"]) == {"b3", "g3", "g2", "b2"}
    assert chosen["least certain"][0] == "b3"
    called = explain.gallery_parts(PARTS, 0.5, 4).set_index("id").called
    assert called["g4"].tolist() == 1 and (called["b3"] == 0).all()


def test_a_gallery_is_filled_by_the_other_class_and_may_have_an_empty_row():
    parts = PARTS[PARTS.id.isin(["g1", "b1", "b2"])]
    chosen = explain.gallery_parts(parts, 0.5, 3).groupby("group", sort=False).id.agg(list)
    assert chosen["surest hits"] == ["g1", "b1", "b2"]
    assert "worst misses" not in chosen


def test_attribution_and_backbone_come_from_the_runs_record(run_paths):
    assert explain.attribution(run_paths) == "Images: mine"
    assert explain.backbone_of(run_paths) == "resnet18"
