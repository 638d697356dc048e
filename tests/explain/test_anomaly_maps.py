"""PatchCore's maps point at the planted defect, and are shown beside Grad-CAM on the same parts."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

from helpers.core.paths import HOME_VARIABLE, RunPaths
from helpers.explain import anomaly_maps, map_measures, map_quality, maps
from helpers.models.backbones import find_weights
from helpers.runs import classical, stages
from helpers.training.features import image_batches
from helpers.training.settings import BaselineSettings

SIZE_PX = 128  # the network of the run sees 32
SPOT = slice(32, 64)  # of 128: where a bad part is bright


@pytest.fixture(scope="module")
def home(explained_home, tmp_path_factory):
    """The home of run "r" with a PatchCore; tests must not change it."""
    home = shutil.copytree(explained_home / "data", tmp_path_factory.mktemp("home") / "data").parent
    given = BaselineSettings(image_size_px=SIZE_PX, patchcore_share=0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(home))
        stage = stages.Stage("02_features_baselines", RunPaths("r"), "quick", given, "key")
        classical.patch_core(stage, find_weights("efficientnet_lite0"))
    return home


@pytest.fixture
def run_paths(home, monkeypatch):
    """Run "r", with the network and PatchCore."""
    monkeypatch.setenv(HOME_VARIABLE, str(home))
    return RunPaths("r")


@pytest.fixture
def anomalies(run_paths):
    """Its PatchCore's maps."""
    return anomaly_maps.open_if_any(run_paths)


def test_maps_of_bad_parts_point_at_the_spot_and_those_of_good_parts_stay_low(subject, anomalies):
    parts = subject.parts
    found = {label: anomalies.maps(parts.id[parts.label == label]) for label in (0, 1)}
    spot = torch.zeros(len(found[1]), SIZE_PX, SIZE_PX, dtype=torch.bool)
    spot[:, SPOT, SPOT] = True
    assert map_measures.pointing_game(found[1], spot).mean() > 0.9
    assert map_measures.pixel_auroc(found[1], spot).min() > 0.9
    assert found[1].amax((1, 2)).min() > found[0].amax((1, 2)).max()


def test_a_map_is_the_smoothed_patch_distance_in_usual_scores(subject, anomalies):
    ids = subject.parts.id[:3]
    bank, network = anomalies.model.bank, anomalies.model
    (images,) = image_batches(anomalies.cache, subject.parts[:3], network, 3).ordered()
    with torch.no_grad():
        features = network.features(images)
    distances = bank.distances(features)[0] / bank.usual
    found = anomalies.maps(ids)
    assert found.shape == (3, SIZE_PX, SIZE_PX)
    fine = functional.interpolate(distances[:, None], (SIZE_PX, SIZE_PX), mode="bilinear")[:, 0]
    inside = np.s_[:, 16:-16, 16:-16]  # the border is continued in another way
    expected = gaussian_blur(fine, 33, 4.0)[inside]
    torch.testing.assert_close(found[inside], expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(anomalies.maps(ids[::-1]).flip(0), found)


def test_the_same_parts_are_shown_with_both_maps(subject, anomalies):
    figure = anomaly_maps.beside_gradcam(subject, anomalies)
    axes = np.array(figure.axes[:18]).reshape(3, 6)
    labels, peaks = [], []
    for image, cam, anomaly in axes.T:
        part = next(p for p in subject.parts.itertuples() if p.id in image.get_title())
        labels.append(part.label)
        pixels = anomalies.pixels([part.id])[0].squeeze()
        np.testing.assert_array_equal(image.images[0].get_array(), pixels)
        heat = maps.share_of_maximum(subject.maps([part.id], 1)[0])
        np.testing.assert_allclose(cam.images[1].get_array(), heat, atol=1e-6)
        heat = anomalies.maps([part.id])[0]
        peaks.append(float(heat.max()))
        np.testing.assert_array_equal(anomaly.images[0].get_array(), pixels)
        share = maps.share_of_maximum((heat - 1).clamp(min=0))  # above a good part's usual score
        np.testing.assert_allclose(anomaly.images[1].get_array(), share, atol=1e-5)
        outlined = any(line.get_linestyle()[0][1] for line in anomaly.collections)
        assert outlined == bool(image.collections) == (part.label == 1)  # bad parts have a mask
    assert labels == [0, 0, 1, 1, 1, 1]
    good, bad = ((min(own), max(own)) for own in (peaks[:2], peaks[2:]))
    found = f"{good[0]:.2f} to {good[1]:.2f} if good, {bad[0]:.2f} to {bad[1]:.2f} if bad"
    assert found in figure.get_suptitle()
    assert figure.axes[18].get_ylabel() == anomaly_maps.SCALE


def test_localisation_compares_both_maps_on_the_same_bad_parts(subject, anomalies):
    quality = map_quality.measure(subject, 8)
    table = anomaly_maps.localisation(quality, anomalies).set_index("measure")
    assert table.index.tolist() == ["pointing game", "pixel AUROC"]
    assert (table.images == len(quality.masked)).all()
    row = quality.table.set_index("measure").loc["pointing game"]
    assert table.gradcam["pointing game"] == pytest.approx(row.maps)
    assert table.chance.tolist() == pytest.approx([row.chance, 0.5], abs=0.01)
    ids = quality.masked.id
    spot = torch.zeros(len(ids), SIZE_PX, SIZE_PX, dtype=torch.bool)
    spot[:, SPOT, SPOT] = True
    own = map_measures.pixel_auroc(anomalies.maps(ids), spot).numpy()
    other = map_measures.pixel_auroc(
        subject.maps(ids, 1), torch.from_numpy(np.stack(quality.masks))
    ).numpy()
    row = table.loc["pixel AUROC"]
    assert (row.patchcore, row.gradcam) == pytest.approx((own.mean(), other.mean()), abs=1e-6)
    interval = stats.ttest_rel(own, other).confidence_interval(0.95)
    assert (row.low, row.high) == pytest.approx(tuple(interval), abs=1e-6)
    shape = anomaly_maps.localisation_shape(table.reset_index())
    assert shape.Difference[1] == f"{row.difference:.3f} [{row.low:.3f}, {row.high:.3f}]"


def test_without_masks_there_is_nothing_to_compare(subject, anomalies):
    elsewhere = replace(subject, parts=subject.parts.assign(path="elsewhere.png"))
    quality = map_quality.measure(elsewhere, 8)
    assert anomaly_maps.localisation(quality, anomalies).empty
    figure = anomaly_maps.beside_gradcam(elsewhere, anomalies)
    assert not any(ax.collections for ax in figure.axes[:6])


def test_a_run_without_patchcore_or_with_that_of_another_split_says_what_makes_it(own_run, capsys):
    assert anomaly_maps.open_if_any(own_run) is None
    path = own_run.checkpoint("patchcore", 0)
    path.parent.mkdir(parents=True)
    path.touch()  # its predictions were removed with the split that they belonged to
    assert anomaly_maps.open_if_any(own_run) is None
    said = "there is no PatchCore in this run: notebook 02 makes its maps possible\n"
    assert capsys.readouterr().out == 2 * said
