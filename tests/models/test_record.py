"""A model is a record: names, order and colours follow from its fields."""

import pytest

from helpers.core.members import Member
from helpers.models.record import Model

ON_FBP = Model("svm", features="fbp")
FOLDS = tuple(Member(seed, fold) for seed in (0, 1) for fold in range(5))


@pytest.mark.parametrize(
    ("model", "slug", "title", "kind"),
    [
        (Model("fbp"), "fbp", "FBP", "fine-tuned"),
        (Model("svm"), "svm", "SVM", "classical, frozen features"),
        (ON_FBP, "svm_on_fbp", "SVM on FBP features", "classical, fine-tuned features"),
        (Model("lr", features="brightness"), "lr_on_brightness", "Brightness alone", "reference"),
        (Model("module_prior"), "module_prior", "Module prior (no pixel)", "reference"),
        (Model("random_cell", number=3), "random_cell_3", "Random cell 3", "from scratch"),
        (Model("my_model"), "my_model", "my_model", "own"),
    ],
)
def test_the_names_and_the_kind_follow_from_the_record(model, slug, title, kind):
    assert (model.slug, model.title, model.kind) == (slug, title, kind)
    assert Model.from_json(model.to_json()) == model


def test_a_further_backbone_is_named_and_what_was_averaged_is_said():
    model = Model("fbp", backbone="tf_efficientnet_lite2", members=FOLDS)
    assert model.slug == "fbp_tf_efficientnet_lite2" and "efficientnet" in model.title
    assert model.averaged == "2 seeds x 5 folds"
    assert Model.from_json(model.to_json()) == model


def test_models_are_in_the_report_s_order_then_a_user_s():
    names = ["my_model", "fbp", "majority", "lda"]
    models = [*map(Model, names), Model("lda", features="fbp")]
    ordered = [model.slug for model in sorted(models, key=lambda model: model.order)]
    assert ordered[:3] == ["lda", "lda_on_fbp", "fbp"]
    assert ordered[-1] == "my_model"
