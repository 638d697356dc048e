"""A model is a record: names, order and colours follow from its fields."""

from helpers.core.members import Member
from helpers.models.record import Model

ON_FBP = Model("svm", features="fbp")
FOLDS = tuple(Member(seed, fold) for seed in (0, 1) for fold in range(5))


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
