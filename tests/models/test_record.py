"""A model is a record: names, order and colours follow from its fields."""

from helpers.core.members import Member
from helpers.models.record import Model

FOLDS = tuple(Member(seed, fold) for seed in (0, 1) for fold in range(5))


def test_a_further_backbone_is_named_and_what_was_averaged_is_said():
    model = Model("fbp", backbone="tf_efficientnet_lite2", members=FOLDS)
    assert model.slug == "fbp_tf_efficientnet_lite2" and "efficientnet" in model.title
    assert model.averaged == "2 seeds x 5 folds"
    assert Model.from_json(model.to_json()) == model
