"""Models have one name, one position and one colour in all tables and figures."""

import pytest

from helpers.models import names


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("fbp", "FBP"),
        ("svm_on_fbp", "SVM on FBP features"),
        ("random_cell_3", "Random cell 3"),
        ("fbp_efficientnet_lite2", "FBP (EfficientNet-Lite2)"),
        ("svm_convnext_tiny_on_fbp", "SVM on FBP features (convnext_tiny)"),
        ("lr_on_brightness", "Brightness alone"),
        ("darts_searched_distilled", "DARTS searched, distilled"),
        ("random_cell_3_distilled", "Random cell 3, distilled"),
        ("mine", "mine"),
    ],
)
def test_a_model_is_shown_by_the_report_s_name_or_its_own(model, shown):
    assert names.display_name(model) == shown
    assert names.display_name(model, "3 seeds") == f"{shown}, 3 seeds averaged"


def test_models_on_further_backbones_are_called_after_them():
    backbones = ["resnet18", "torchvision/vgg11", "regnetx_002"]
    suffixes = [names.backbone_suffix(name, backbones) for name in backbones]
    assert suffixes == ["", "_torchvision_vgg11", "_regnetx_002"]
    models = names.on_backbones(["lda", "svm"], backbones[1:], names.FINETUNED)
    assert models[:2] == ["lda_on_fbp", "svm_on_fbp"]
    assert models[2:] == ["lda_regnetx_002_on_fbp", "svm_regnetx_002_on_fbp"]
    assert [names.base_name(model) for model in models] == models[:2] * 2
    mixed = ["cnn", "fbp_b", "svm_a", "fbp", "lda", "svm"]
    assert sorted(mixed, key=names.order) == ["lda", "svm", "svm_a", "cnn", "fbp", "fbp_b"]


def test_ensembles_are_sorted_to_the_end():
    models = ["stacking", "mine", "random_cell_0", "rank_average", "fbp", "svm_on_fbp", "svm"]
    ordered = ["svm", "svm_on_fbp", "fbp", "random_cell_0", "mine", "rank_average", "stacking"]
    assert sorted(models, key=names.order) == ordered


def test_a_distilled_network_follows_the_one_without_a_teacher():
    models = ["random_cell_0_distilled", "darts_searched_distilled", "fbp", "random_cell_0"]
    ordered = ["fbp", "darts_searched", "darts_searched_distilled", "random_cell_0"]
    ordered.append("random_cell_0_distilled")
    assert sorted([*models, "darts_searched"], key=names.order) == ordered


def test_a_model_has_one_colour_in_all_pictures_whatever_stands_beside_it():
    few, many = ["cnn", "ll", "fbp"], ["mine", "fbp", "svm", "svm_on_fbp", "cnn"]
    first, second = names.model_colours(few), names.model_colours(many)
    assert first["fbp"] == second["fbp"] and first["cnn"] == second["cnn"]
    assert second["svm"] == second["svm_on_fbp"]
    third = names.model_colours(["darts_searched", "darts_searched_distilled", "fbp"])
    assert third["darts_searched"] == third["darts_searched_distilled"] != third["fbp"]
    cells = ["darts_imagenet", "darts_searched", "darts_perturbation", "darts_halving"]
    for beside in (["fbp"], ["ensemble", "mine", "stacking", "fbp"]):
        found = names.model_colours([*beside, *cells, "random_cell_0"])
        assert found["darts_halving"] == names.model_colours(["darts_halving"])["darts_halving"]
        assert len({found[name] for name in (*cells, "random_cell_0", "fbp")}) == 6
    assert len(set(first.values())) == len(few) and len(set(second.values())) == 4
