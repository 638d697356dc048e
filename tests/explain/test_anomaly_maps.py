"""PatchCore's maps point at the planted defect, beside Grad-CAM on the same parts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

from helpers.core import metrics
from helpers.datasets.cache import open_cache
from helpers.explain import anomaly_maps, localisation
from helpers.models import backbones
from helpers.training import patchcore
from helpers.training.batches import normalise, to_float

SIZE_PX = 128  # the network of the subject sees 32
SPOT = slice(32, 64)  # of 128: where a bad part is bright


@pytest.fixture(scope="module")
def anomalies(split, tmp_path_factory):
    """PatchCore of the good parts."""
    cache = open_cache(split, SIZE_PX, tmp_path_factory.mktemp("cache"))
    weights = backbones.find_weights("efficientnet_lite0")
    return anomaly_maps.AnomalyMaps(patchcore.fit(weights, cache, split, 0.1, 0).network, cache)


def spots(n, size=SIZE_PX):
    masks = torch.zeros(n, size, size, dtype=torch.bool)
    masks[:, SPOT, SPOT] = True
    return masks


def test_maps_of_bad_parts_point_at_the_spot_and_those_of_good_parts_stay_low(subject, anomalies):
    parts = subject.parts
    found = {label: anomalies.maps(parts.id[parts.label == label]) for label in (0, 1)}
    spot = spots(len(found[1]))
    assert localisation.pointing_game(found[1], spot).mean() > 0.9
    assert localisation.pixel_auroc(found[1], spot).min() > 0.9
    assert found[1].amax((1, 2)).min() > found[0].amax((1, 2)).max()


def test_a_map_is_the_smoothed_patch_distance_in_usual_scores(subject, anomalies):
    ids, model = subject.parts.id[:3], anomalies.model
    pixels = torch.from_numpy(anomalies.cache.take(anomalies.cache.rows(ids)))
    images = normalise(to_float(pixels, torch.device("cpu")), model.spec)
    with torch.no_grad():
        distances = model.bank.distances(model.features(images))[0] / model.usual
    found = anomalies.maps(ids)
    assert found.shape == (3, SIZE_PX, SIZE_PX)
    fine = functional.interpolate(distances[:, None], (SIZE_PX, SIZE_PX), mode="bilinear")[:, 0]
    inside = np.s_[:, 16:-16, 16:-16]  # the border is continued in another way
    expected = gaussian_blur(fine, 33, 4.0)[inside]
    torch.testing.assert_close(found[inside], expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(anomalies.maps(ids[::-1]).flip(0), found)


def test_localisation_compares_both_maps_on_the_same_bad_parts(subject, anomalies):
    table = localisation.localisation(subject, anomalies).set_index("measure")
    parts = localisation.masked_parts(subject)
    assert (table.images == len(parts)).all() and len(parts) == (subject.parts.label == 1).sum()
    masks = localisation.masks_of(parts, subject.cache)
    cams, heats = subject.maps(parts.id, 1), anomalies.maps(parts.id)
    pairs = {"gradcam": (cams, masks), "patchcore": (heats, spots(len(parts)))}
    for name, function in (
        ("pointing game", localisation.pointing_game),
        ("pixel AUROC", localisation.pixel_auroc),
    ):
        row = table.loc[name]
        values = {kind: function(*pair).double().numpy() for kind, pair in pairs.items()}
        values["difference"] = values["patchcore"] - values["gradcam"]
        for kind, own in values.items():
            interval = metrics.mean_interval(own, least=-1 if kind == "difference" else 0)
            found = row[[kind, f"{kind}_low", f"{kind}_high"]].tolist()
            assert found == pytest.approx(interval, abs=1e-3)
    assert table.chance.tolist() == pytest.approx([masks.double().mean().item(), 0.5])
    alone = localisation.localisation(subject).set_index("measure")
    assert alone.gradcam.tolist() == table.gradcam.tolist() and "patchcore" not in alone
    two = replace(subject, parts=subject.parts.assign(group=np.arange(len(subject.parts)) % 2))
    grouped = localisation.localisation(two).set_index("measure")
    width = grouped.gradcam_high - grouped.gradcam_low  # parts of a group are alike
    assert width.iloc[0] > (alone.gradcam_high - alone.gradcam_low).iloc[0]
    elsewhere = replace(subject, parts=subject.parts.assign(path="elsewhere.png"))  # no masks
    assert localisation.localisation(elsewhere).empty
