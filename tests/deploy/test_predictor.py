"""A trained model's answers for new images, of any kind."""

import dataclasses
import os

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from helpers.core import files
from helpers.datasets import DataError
from helpers.deploy import predictor
from helpers.deploy.description import NAME
from helpers.explain.attribution import DISTANCES
from helpers.models import backbones
from helpers.training.inference import ScoresError
from helpers.training.patchcore import MemoryBank, network_of
from tests.datasets.test_cache import TURNED, noise, save
from tests.deploy_run import save_described, small_models


@pytest.fixture
def opened(tmp_path):
    return save_described(tmp_path / "net", small_models())


@pytest.fixture
def model(opened):
    return predictor.TrainedModel(opened)


@pytest.fixture
def parts(tmp_path):
    return [save(tmp_path / f"{number}.png", noise(number, 40, 30)) for number in range(3)]


def test_a_path_an_array_and_a_picture_get_the_same_score(model, parts):
    with Image.open(parts[0]) as picture:
        array = np.asarray(picture)
        same = [parts[0], str(parts[0]), picture, array, array[..., None]]
        same.append(np.repeat(array[..., None], 3, axis=2))
        scores = [model.predict(one).score.item() for one in same]
    assert np.ptp(scores) < 1e-6
    Image.fromarray(np.rot90(array)).save(parts[1], exif=TURNED)
    with Image.open(parts[1]) as turned:
        found = model.predict([parts[0], parts[1], turned])
        assert turned.size == (40, 30)  # the caller's picture stays
    assert found.score.nunique() == 1
    batch = np.stack([array, 255 - array])[..., None]
    many = model.predict(batch)
    assert len(many) == 2 and many.file.tolist() == ["", ""]
    assert many.score[0] == pytest.approx(scores[0], abs=1e-6) != many.score[1]
    assert model.predict(one for one in same).score.tolist() == pytest.approx(scores, abs=1e-6)
    assert len(model.predict([])) == 0
    assert model.predict(np.full((30, 50), 99, np.uint8)).warning.item() == "wider"


def test_many_images_are_answered_in_order_and_read_few_at_a_time(model):
    images = [np.full((8, 8), value, np.uint8) for value in range(200)]
    expected = model.scores([model.read(image)[0] for image in images])
    model.at_once = 16
    taken = []
    answers = model.answers(taken.append(1) or image for image in images)
    first = next(answers)
    assert len(taken) == 32  # a batch is decoded while another one is scored
    found = [score for score, *_ in (first, *answers)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_cannot_be_read_is_a_row_with_its_reason(model, parts, tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    deep = np.full((20, 20), 1000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    images = [parts[0], tmp_path / "text.png", "gone.png", tmp_path / "deep.png", parts[1]]
    found = model.predict([*images, Image.fromarray(deep)])
    assert found.reason[1].startswith("not an image")
    assert found.reason[2] == "No such file or directory"
    deep_ones = "it uses 10 bits, and the model reads 8: save it with 8, or see "
    assert found.reason[[3, 5]].str.startswith(deep_ones).all()
    unread = found[found.reason != ""]
    assert unread.index.tolist() == [1, 2, 3, 5] and set(unread.verdict) == {""}
    assert unread[["score", "probability"]].isna().all(axis=None)
    assert found.score[[0, 4]].notna().all()
    assert model.predict("gone.png").verdict.tolist() == [""]


def test_memories_of_two_sizes_are_trainings_of_one_model_and_other_networks_are_not(tmp_path):
    backbone = backbones.build(backbones.spec_of("test_resnet", 2, 32))
    banks = [MemoryBank(torch.rand(rows, 8)) for rows in (5, 6)]
    networks = [*(network_of(backbone, bank) for bank in banks), backbone]
    places = [tmp_path / f"seed{number}.safetensors" for number in range(3)]
    for path, network in zip(places, networks, strict=True):
        backbones.save_model(path, network)
    opened = predictor.open_model(places[:2])
    assert len(opened.models) == 2 and predictor.TrainedModel(opened).scale == DISTANCES
    with pytest.raises(files.ArtifactError, match=places[2].name):
        predictor.open_model(places)


def test_an_array_that_is_no_image_is_refused(model):
    arrays = [np.zeros((4, 4)), *(np.zeros(shape, "u1") for shape in ((4, 4, 2), 4, (0, 4)))]
    for array in arrays:
        with pytest.raises(DataError):
            model.predict(array)


def test_thresholds_of_other_checkpoints_give_no_verdict(opened, parts):
    first, second = opened.checkpoints
    one = predictor.TrainedModel(predictor.open_model([first]))
    assert "average of several" in one.remark
    found = one.predict(parts[:2])
    assert found.verdict.tolist() == ["", ""] and found.probability.isna().all()
    backbones.save_model(second, opened.models[0], views=4, precision="no")
    changed = predictor.open_model([first, second])
    assert "run notebook 07 again" in changed.remark and changed.description is None
    (first.parent / NAME).unlink()
    assert "has no model.json" in predictor.open_model([first]).remark


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_score_that_is_no_number_names_the_image_and_a_way_out(opened, parts, precision):
    opened.models[0].head.bias.data.fill_(np.nan)
    facts = dataclasses.replace(opened.facts, precision=precision)
    model = predictor.TrainedModel(opened._replace(facts=facts))
    with pytest.raises(ScoresError, match=str(parts[0])) as found:
        model.predict(parts[0])
    assert ("--precision no" in str(found.value)) == (model.scorers[0].precision != "no")


def test_a_part_has_a_map_if_it_does_not_pass(model, opened, parts):
    seen, at = model.read(parts[0])[0], opened.description.pass_below
    assert model.bad_map(seen, at + 0.01).any() and not model.bad_map(seen, at - 0.01).any()
    bare = predictor.TrainedModel(opened._replace(description=None))
    assert bare.bad_map(seen, 0.51).any() and not bare.bad_map(seen, 0.49).any()


def test_asked_are_images_of_a_folder_whose_subfolders_are_groups_or_test_images(tmp_path):
    (tmp_path / "mine/lot1").mkdir(parents=True)
    (tmp_path / "mine/lot2/new").mkdir(parents=True)
    for place in ("lot1/a.png", "lot1/b.png", "lot2/new/a.png", "c.png"):
        save(tmp_path / "mine" / place, noise(0, 9, 9))
    parts = predictor.parts_to_ask(pd.DataFrame(), str(tmp_path / "mine"))
    assert parts.id.tolist() == ["c", "lot1/a", "lot1/b", "lot2/new/a"]
    assert parts.group.fillna("-").tolist() == ["-", "lot1", "lot1", "lot2"]
    assert all(map(os.path.isfile, parts.path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        predictor.parts_to_ask(pd.DataFrame(), str(tmp_path / "empty"))
    split = pd.DataFrame({"id": range(200), "split": ["train", "val"] * 100, "label": 1})
    for there in (split, split.replace("val", "test")):
        asked = predictor.parts_to_ask(there, "")
        assert len(asked) == 48 and asked.id.iloc[[0, -1]].tolist() == [1, 199]
