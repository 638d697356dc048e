"""PatchCore's maps point at the planted defect, beside Grad-CAM on the same parts."""

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

from helpers.core import metrics
from helpers.datasets.cache import open_cache
from helpers.explain.anomaly_maps import anomaly_maps
from helpers.models.weights import find_weights
from helpers.training import patchcore
from helpers.training.batches import normalise, to_float

SIZE_PX = 128  # the network of the subject sees 32
SPOT = slice(32, 64)  # of 128: where a bad part is bright


@pytest.fixture(scope="module")
def anomalies(split, tmp_path_factory):
    """PatchCore of the good parts."""
    cache = open_cache(split, SIZE_PX, tmp_path_factory.mktemp("cache"))
    weights = find_weights("efficientnet_lite0")
    return patchcore.fit(weights, cache, split, 0.1, 0).network, cache


def test_maps_of_bad_parts_point_at_the_spot_and_those_of_good_parts_stay_low(subject, anomalies):
    parts = subject.parts
    found = {label: anomaly_maps(*anomalies, parts.id[parts.label == label]) for label in (0, 1)}
    spot = np.zeros((SIZE_PX, SIZE_PX), dtype=bool)
    spot[SPOT, SPOT] = True
    highest = found[1].flatten(1).argmax(dim=1).numpy()
    assert spot.flatten()[highest].mean() > 0.9
    assert min(metrics.roc_auc(spot.flatten(), heat.flatten()) for heat in found[1]) > 0.9
    assert found[1].amax((1, 2)).min() > found[0].amax((1, 2)).max()


def test_a_map_is_the_smoothed_patch_distance_in_usual_scores(subject, anomalies):
    ids, (model, cache) = subject.parts.id[:3], anomalies
    pixels = torch.from_numpy(cache.take(cache.rows(ids)))
    images = normalise(to_float(pixels, torch.device("cpu")), model.spec)
    with torch.no_grad():
        distances = model.bank.distances(model.features(images))[0] / model.usual
    found = anomaly_maps(model, cache, ids)
    assert found.shape == (3, SIZE_PX, SIZE_PX)
    fine = functional.interpolate(distances[:, None], (SIZE_PX, SIZE_PX), mode="bilinear")[:, 0]
    inside = np.s_[:, 16:-16, 16:-16]  # the border is continued in another way
    expected = gaussian_blur(fine, 33, 4.0)[inside]
    torch.testing.assert_close(found[inside], expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(anomaly_maps(model, cache, ids[::-1]).flip(0), found)
