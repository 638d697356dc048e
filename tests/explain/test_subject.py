"""The network whose maps are shown, and the parts that it scored."""

import numpy as np
import pandas as pd
import torch

from helpers.explain import subject as subjects


def test_images_maps_and_pixels_follow_the_order_of_the_ids(subject):
    ids = subject.parts.id.iloc[[5, 2, 30]]
    backwards = ids.iloc[::-1]
    torch.testing.assert_close(subject.maps(ids, 1).flip(0), subject.maps(backwards, 1))
    np.testing.assert_array_equal(subject.pixels(ids)[::-1], subject.pixels(backwards))
    mean, std = subject.model.spec.mean[0], subject.model.spec.std[0]
    expected = (subject.pixels(ids)[..., 0] / 255 - mean) / std
    np.testing.assert_allclose(subject.images(ids)[:, 0], expected, atol=1e-5)


def test_a_part_is_called_bad_from_the_threshold_on():
    parts = pd.DataFrame({"label": [1, 1, 0], "defect_score": [0.25, 0.5, 0.75]})
    judged = subjects.judged(parts, 0.5)
    assert judged.called.tolist() == [0, 1, 1] and judged.right.tolist() == [False, True, False]
    assert judged.mistake.tolist() == [0.75, 0.5, 0.75]
