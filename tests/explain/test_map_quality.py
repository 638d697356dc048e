"""The measures on a run: computed correctly, high if the network has learned the defect, drawn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from helpers.core.paths import HOME_VARIABLE, RunPaths
from helpers.datasets.chips.write import write_dataset
from helpers.explain import map_quality
from helpers.explain.map_measures import area, pointing_game, randomised_copy, rank_correlation
from helpers.explain.subject import judged, open_subject

PANELS = [(label, kind) for label in (0, 1) for kind in ("insertion", "deletion")]


@pytest.fixture(scope="module")
def quality(explained_home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(explained_home))
        return map_quality.measure(open_subject(RunPaths("r"), "cnn"), 20)


def test_the_table_holds_means_chance_and_intervals_over_the_parts(subject):
    untrained = randomised_copy(subject.model, 7)  # the trained one is so sure that nothing varies
    quality = map_quality.measure(replace(subject, model=untrained), 20)
    table = quality.table.set_index(["measure", "parts"])
    assert len(table) == 7
    for label, kind in PANELS:
        own, random = (area(curves[kind]).numpy() for curves in quality.curves[label])
        row = table.loc[(f"{kind} area", f"called {('good', 'bad')[label]}")]
        assert row.maps == pytest.approx(own.mean()) and row.chance == pytest.approx(random.mean())
        gains = own - random if kind == "insertion" else random - own
        assert row.gain == pytest.approx(gains.mean(), abs=1e-6)
        interval = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
        assert (row.low, row.high) == pytest.approx(tuple(interval), abs=1e-5)
    row = table.loc[("pointing game", "bad")]
    covered = np.mean(quality.masks, axis=(1, 2))
    found = quality.subject.maps(quality.masked.id, 1), torch.from_numpy(np.stack(quality.masks))
    hits = pointing_game(*found).mean().item()
    expected = (hits, covered.mean(), hits - covered.mean())
    assert (row.maps, row.chance, row.gain) == pytest.approx(expected, abs=1e-6)
    subject, sample = quality.subject, quality.sample
    for label, word in enumerate(("good", "bad")):
        ids = sample.id[sample.called == label]
        rho = [
            rank_correlation(
                subject.maps(ids, label),
                replace(subject, model=randomised_copy(subject.model, seed)).maps(ids, label),
            )
            for seed in range(map_quality.RANDOM_WEIGHTS)
        ]
        row = table.loc[(map_quality.CORRELATION, f"called {word}")]
        expected = torch.stack(rho).nanmean(dim=0).nanmean().item()
        assert row.maps == pytest.approx(expected, abs=1e-6) and np.isnan(row.gain)


def test_the_text_of_the_table_says_which_way_is_better(quality):
    text, row = quality.text_table, quality.table.iloc[0]
    assert text.Better.tolist() == ["high", "low"] * 2 + ["near 0"] * 2 + ["high"]
    assert text.Parts.tolist()[3:5] == ["10 called bad", "10 called good"]
    assert text["Gain over chance"][0] == f"{row.gain:.3f} [{row.low:.3f}, {row.high:.3f}]"
    assert quality.caption.startswith("Two-layer CNN; 40 labelled test parts")
    assert "no masks" not in quality.caption


def test_a_network_that_has_learned_the_defect_points_at_it(quality):
    table = quality.table.set_index(["measure", "parts"])
    pointing = table.loc[("pointing game", "bad")]
    assert pointing.maps > 0.9 and pointing.low > 0
    assert table.loc[("insertion area", "called bad")].low > 0
    assert table.loc[map_quality.CORRELATION].maps.abs().max() < 0.5


def test_a_class_that_no_part_was_called_has_no_curves(subject):
    nobody = replace(subject, parts=judged(subject.parts, 2.0))
    quality = map_quality.measure(nobody, 8)
    assert list(quality.curves) == [0] and "called bad" not in set(quality.table.parts)


def test_masks_are_found_where_the_chips_generator_writes_them(tmp_path):
    out = write_dataset(tmp_path / "chips", 8, 4, bad_fraction=0.5)
    for side, folder in (("train", "bad_1"), ("test", "all_tests")):
        images = sorted((out / side / folder).iterdir())
        masks = [map_quality.find_mask(image) for image in images]
        found = [mask for mask in masks if mask]
        assert [m.stem for m in found] == [i.stem for i, m in zip(images, masks, strict=True) if m]
        assert len(found) == len(list((out / "masks" / side).iterdir())) > 0
    good = next((out / "train" / "good_0").iterdir())
    assert map_quality.find_mask(good) is None


def test_a_mask_may_be_in_a_folder_of_masks_beside_the_images(tmp_path):
    image = tmp_path / "set" / "bad" / "a.png"
    assert map_quality.find_mask(image) is None
    for place in ("set/masks/a.png", "set/masks/bad/a.png", "set/bad/masks/a.png"):
        mask = tmp_path / place
        mask.parent.mkdir(parents=True, exist_ok=True)
        mask.touch()
        assert map_quality.find_mask(image) == mask
        mask.unlink()
    assert map_quality.find_mask(Path("a.png")) is None


def test_a_hairline_survives_in_the_mask_of_a_small_image(tmp_path):
    mask = np.zeros((200, 200), np.uint8)
    mask[:, 101] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    small = map_quality.read_mask(tmp_path / "m.png", 20, "squash")
    assert small.shape == (20, 20) and small.dtype == bool
    assert small[:, 10].all() and small.sum() == 20


def test_a_mask_is_padded_as_its_image_is(tmp_path):
    Image.fromarray(np.full((100, 200), 255, np.uint8)).save(tmp_path / "m.png")
    wide = map_quality.read_mask(tmp_path / "m.png", 20, "pad")
    assert wide[5:15].all() and not wide[:5].any() and not wide[15:].any()


def test_curves_and_areas_are_those_of_the_measures(quality):
    figure = map_quality.curves_figure(quality, "title")
    assert figure.get_suptitle() == "title"
    for ax, (label, kind) in zip(figure.axes, PANELS, strict=True):
        both = quality.curves[label]
        for line, curves in zip(ax.lines, both, strict=True):
            np.testing.assert_allclose(line.get_ydata(), curves[kind].mean(dim=0))
        assert f"area {area(both[0][kind]).mean():.3f}, random" in ax.get_xlabel()
        assert f"parts called {('good', 'bad')[label]}" in ax.get_title()


def test_without_masks_the_caption_says_so_and_the_table_is_shorter(subject):
    elsewhere = subject.parts.assign(path="elsewhere.png")
    quality = map_quality.measure(replace(subject, parts=elsewhere), 4)
    assert not quality.masks and len(quality.table) == 6
    assert quality.caption.endswith("The source has no masks of the defects.")
