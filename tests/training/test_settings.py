"""What a training's settings refuse."""

import math

import pytest

from helpers.training.settings import TrainSettings

WRONG = {"epochs": 0, "lr": math.nan, "batch_size": -1, "test_views": 3, "precision": "half"}
WRONG |= {"optimizer": "adam", "keep": "first", "momentum": 1.0, "label_smoothing": 1.0}
WRONG |= {"augment": "flip", "schedule": "linear", "epoch_images": 1}


@pytest.mark.parametrize("name", WRONG)
def test_a_value_that_no_training_can_have_is_refused_and_named(name):
    with pytest.raises(ValueError, match=name):
        TrainSettings(**{name: WRONG[name]})
    with pytest.raises(ValueError, match="lr"):
        TrainSettings(lr=0.0)
