"""A trained model's answers for new images: the run's own scores, for any kind of image."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import helpers
from helpers.core import devices, files, paths
from helpers.datasets import DataError
from helpers.datasets.split_file import read_split
from helpers.deploy import predictor
from helpers.deploy.description import NAME, read_description
from helpers.models import backbones
from helpers.results.calibration import apply_temperature
from helpers.runs.run_models import read_all_predictions
from helpers.training.inference import ScoresError, precision_of


@pytest.fixture
def parts(described_run):
    return sorted((described_run / "parts").rglob("*.png"))


def test_the_scores_are_the_run_s_own(described):
    test = read_all_predictions(described)["net"].test
    where = read_split(described.split_csv).set_index("id").path
    found = helpers.load_model("t/net").predict([Path(where[name]) for name in test.id])
    np.testing.assert_allclose(found.score, test.defect_score, rtol=0, atol=1e-6)
    assert test.defect_score.std() > 1e-4


def test_probability_and_verdict_follow_the_score(described, parts):
    own = read_description(described.trainings("net"))
    found = helpers.load_model("t").predict(parts[:5])
    assert found.columns.tolist() == ["file", "score", "probability", "verdict", "reason"]
    assert found.probability.tolist() == apply_temperature(found.score, own.temperature).tolist()
    assert found.verdict.tolist() == own.verdicts(found.score).tolist()
    assert found.file.tolist() == [str(part) for part in parts[:5]]


def test_a_path_an_array_and_a_picture_get_the_same_score(described, parts):
    model = helpers.load_model("t")
    with Image.open(parts[0]) as picture:
        array = np.asarray(picture)
        same = [parts[0], str(parts[0]), picture, array, array[..., None]]
        same.append(np.repeat(array[..., None], 3, axis=2))
        scores = [model.predict(one).score.item() for one in same]
    assert np.ptp(scores) < 1e-6
    batch = np.stack([array, 255 - array])[..., None]
    many = model.predict(batch)
    assert len(many) == 2 and many.file.tolist() == ["", ""]
    assert many.score[0] == pytest.approx(scores[0], abs=1e-6) != many.score[1]
    assert model.predict(one for one in same).score.tolist() == pytest.approx(scores, abs=1e-6)
    assert len(model.predict([])) == 0


def test_a_turned_photograph_is_turned_back_and_the_caller_s_picture_stays(
    described, parts, tmp_path
):
    model, exif = helpers.load_model("t"), Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    noise = np.random.default_rng(0).integers(0, 256, (40, 20), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    Image.fromarray(np.rot90(noise)).save(tmp_path / "b.png", exif=exif)
    with Image.open(tmp_path / "b.png") as turned:
        found = model.predict([tmp_path / "a.png", tmp_path / "b.png", turned])
        assert turned.size == (40, 20)
    assert found.score.nunique() == 1


def test_what_cannot_be_read_is_a_row_with_its_reason(described, parts, tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    deep = np.full((20, 20), 1000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    images = [parts[0], tmp_path / "text.png", "gone.png", tmp_path / "deep.png", parts[1]]
    found = helpers.load_model("t").predict([*images, Image.fromarray(deep)])
    assert "not an image" in found.reason[1]
    assert found.reason.drop(1).tolist() == [
        "",
        "No such file or directory",
        "it uses 10 bits, more than the 8 that images are read with (helpers.score has --bits)",
        "",
        "it uses 10 bits, more than the 8 that images are read with (helpers.score has --bits)",
    ]
    unread = found[found.reason != ""]
    assert unread[["score", "probability"]].isna().all(axis=None) and set(unread.verdict) == {""}
    assert found.score[[0, 4]].notna().all()
    assert helpers.load_model("t").predict("gone.png").verdict.tolist() == [""]


def test_deep_images_are_scaled_as_in_the_training(described, tmp_path):
    for path in described.trainings("net").glob("*.safetensors"):
        model = backbones.load_model(path)
        facts = dataclasses.replace(backbones.facts_of(path), full_scale_bits=10)
        backbones.save_model(path, model, **dataclasses.asdict(facts))
    values = np.random.default_rng(0).integers(0, 256, (16, 16)) * 1023 / 255
    Image.fromarray(values.round().astype(np.uint16)).save(tmp_path / "deep.png")
    shallow = (values * 255 / 1023).round().astype(np.uint8)
    found = helpers.load_model("t").predict([tmp_path / "deep.png", shallow])
    assert found.score[0] == pytest.approx(found.score[1], abs=1e-6)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4)),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4), "u1"),
    ],
)
def test_an_array_that_is_no_image_is_refused(described, array):
    with pytest.raises(DataError, match="is not an image: give uint8"):
        helpers.load_model("t").predict(array)


def test_a_model_has_several_names(described, monkeypatch, tmp_path):
    folder = described.trainings("net")
    checkpoints = [folder / "seed0.safetensors", folder / "seed1.safetensors"]
    for name in ("t", "t/net", described.root, folder, str(folder)):
        assert predictor.open_model(name).checkpoints == checkpoints
    assert predictor.open_model(checkpoints[1]).checkpoints == checkpoints[1:]
    shutil.copytree(folder, tmp_path / "away")
    opened = predictor.open_model(tmp_path / "away")
    assert opened.description == read_description(folder)
    (tmp_path / "here/t").mkdir(parents=True)  # a folder that is called like the run
    monkeypatch.chdir(tmp_path / "here")
    assert predictor.open_model("t").checkpoints == checkpoints


def test_a_run_stands_for_its_best_network(described):
    for name, auc in (("better", 1.0), ("worse", 0.2)):
        shutil.copytree(described.trainings("net"), described.trainings(name))
        shutil.copy(described.predictions("net"), described.predictions(name))
        content = files.load_json(described.trainings(name) / NAME)
        files.save_json(described.trainings(name) / NAME, content | {"model": name, "val_auc": auc})
    content = files.load_json(described.trainings("net") / NAME)
    files.save_json(described.trainings("net") / NAME, content | {"val_auc": 0.9})
    assert predictor.open_model("t").description.model == "better"
    more = {"val_auc": 0.9, "held_out_bad_parts": content["held_out_bad_parts"] + 1}
    files.save_json(described.trainings("net") / NAME, content | more)  # cross-fitted
    assert predictor.open_model("t").description.model == "net"
    for path in described.root.rglob(NAME):
        path.unlink()
    with pytest.raises(files.ArtifactError, match=r"name one \(there are: better, net, worse\)"):
        predictor.open_model("t")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("u", "u is missing: give .* there are: t$"),
        ("t/svm", "t/svm is missing: give .* there are: net$"),
    ],
)
def test_what_is_missing_is_named_with_what_is_there(described, name, message):
    (described.root / "checkpoints" / "supernet").mkdir()
    (described.root / "checkpoints" / "supernet" / "seed0.safetensors").touch()
    with pytest.raises(files.ArtifactError, match=message):
        helpers.load_model(name)


def test_thresholds_of_other_checkpoints_give_no_verdict(described, parts):
    folder = described.trainings("net")
    one = helpers.load_model(folder / "seed0.safetensors")
    assert one.remark.endswith("it is for the average of several trainings: name their folder")
    found = one.predict(parts[:2])
    assert found.verdict.tolist() == ["", ""] and found.probability.isna().all()
    other = folder / "seed1.safetensors"
    facts = dataclasses.asdict(backbones.facts_of(other))
    backbones.save_model(other, backbones.load_model(folder / "seed0.safetensors"), **facts)
    changed = helpers.load_model("t")
    assert changed.remark.endswith("its trainings have changed: run notebook 06 again")
    assert changed.predict(parts[0]).verdict.tolist() == [""]
    (folder / NAME).unlink()
    assert "has no model.json, which notebook 06 writes" in helpers.load_model("t").remark


def test_the_precision_is_the_run_s(described):
    assert helpers.load_model("t").scorers[0].precision == "no"
    for path in described.trainings("net").glob("*.safetensors"):
        facts = dataclasses.replace(backbones.facts_of(path), precision="bf16", views=1)
        backbones.save_model(path, backbones.load_model(path), **dataclasses.asdict(facts))
    model = helpers.load_model("t")
    assert model.scorers[0].precision == precision_of(devices.default_device(), "bf16")
    assert model.views == 1


def test_a_score_that_is_no_number_names_the_image(described, parts):
    path = described.trainings("net") / "seed0.safetensors"
    model = backbones.load_model(path)
    model.head.bias.data.fill_(np.nan)
    for precision, advice in (("no", "$"), ("bf16", "; try `helpers.score --precision no`")):
        backbones.save_model(path, model)
        opened = predictor.open_model(path)
        facts = dataclasses.replace(opened.facts, precision=precision)
        with pytest.raises(ScoresError, match=f"{parts[0]} is not finite{advice}"):
            predictor.TrainedModel(opened._replace(facts=facts)).predict(parts[0])


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, helpers; print({'torch', 'numpy', 'pandas'} & set(sys.modules))"
    place = {"cwd": paths.project_root(), "env": dict(os.environ)}
    out = subprocess.check_output([sys.executable, "-c", code], text=True, **place)
    assert out == "set()\n"
