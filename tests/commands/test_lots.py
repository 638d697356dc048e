"""Lots in the commands: 07 writes them, and new ones that are unlike them are named."""

import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import helpers
from helpers.commands import cli
from helpers.deploy import lots
from helpers.deploy.predictor import ANSWER, TrainedModel
from helpers.runs.run import Run
from tests.deploy_run import describe, save_described, small_models


@pytest.fixture
def folder(tmp_path):
    """A described model with 24 lots behind its thresholds; `lots` has one like them, one dark."""
    model, rng = tmp_path / "net", np.random.default_rng(0)
    opened = TrainedModel(save_described(model, small_models()))

    def lot(gray):
        noise = rng.normal(0, 20, (12, 40, 40))
        return [(gray + image).clip(0, 255).astype(np.uint8) for image in noise]

    grays = rng.uniform(140, 160, 24)
    answers = [opened.answers(lot(gray)) for gray in grays]
    table = pd.DataFrame(itertools.chain(*answers), columns=ANSWER)
    held = table.assign(id=table.index.astype(str), label=0, defect_score=table.score)
    held["group"] = np.repeat([f"lot{number:02d}" for number in range(24)], 12)
    scored = lots.Scored(None, held[["id", "label", "defect_score", "group"]], held[:0])
    lots.save_reference(model / lots.NAME, scored, held[["id", *lots.Look._fields]])
    for name, gray in (("usual", 150), ("dark", 60)):
        for number, image in enumerate(lot(gray)):
            (tmp_path / "lots" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / "lots" / name / f"{number}.png")
    return tmp_path


def test_predict_score_and_review_name_the_lot_that_is_unlike_those_before(folder, capsys):
    given = ["--model", str(folder / "net")]
    assert cli.start("predict", [str(folder / "lots"), *given]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"UNLIKE THE LOTS BEFORE: {folder / 'lots' / 'dark'}: ")
    assert said[1] == "Lots: 1 like the 24 behind the thresholds" and "verdict" in said[2]
    out = folder / "scores.csv"
    for _ in range(2):  # also of parts that are there already
        given = ["--model", str(folder / "net"), "--images", str(folder / "lots")]
        assert cli.start("score", [*given, "--out", str(out)]) == 0
        again = capsys.readouterr().out
        assert said[0].replace(f"{folder}/lots/", "") in again and said[1] in again
    assert pd.read_csv(out).columns.tolist()[-2:] == ["probability", "verdict"]
    assert cli.start("review", [*given, "--out", str(folder / "page.html")]) == 0
    data = re.search(r'id="data">(.*?)</script>', (folder / "page.html").read_text())[1]
    assert json.loads(data)["unlike"] == said[0].replace(f"{folder}/", "")
    assert said[1] in capsys.readouterr().out
    model = helpers.load_model(folder / "net")
    assert model.predict([]).attrs["lots"] == []
    few = model.predict([np.zeros((40, 40), np.uint8)]).attrs["lots"]
    assert few == ["Lots: 1 too small to compare (fewer than 10 parts)"]
    (folder / "net" / lots.NAME).unlink()  # no lots were held out
    assert cli.start("predict", [str(folder / "lots"), *given[:2]]) == 0
    assert cli.start("score", [*given, "--out", str(out)]) == 0
    assert cli.start("review", [*given, "--out", str(folder / "page.html")]) == 0
    assert capsys.readouterr().out.count("Lots: not compared: 0 are known") == 3


def test_07_writes_the_lots_of_the_held_out_images_if_groups_are_apart(described, monkeypatch):
    path, found = described.trainings("net") / lots.NAME, Run.models
    assert not path.exists()

    def with_groups(run):
        scored = found(run)
        val = scored["net"].val
        halves = np.where(np.arange(len(val)) % 2, "a", "b")
        object.__setattr__(scored["net"], "val", val.assign(group=halves))
        object.__setattr__(scored["net"], "groups_apart", apart)
        return scored

    monkeypatch.setattr(Run, "models", with_groups)
    apart = False  # trainings have seen other images of the lots, of a new lot they have not
    describe()
    assert not path.exists()
    apart = True
    describe()
    written = lots.read_reference(path.parent)
    assert written.index.tolist() == ["a", "b"] and written.parts.sum() == 20
    assert helpers.load_model("t/net").reference.equals(written)
    monkeypatch.setattr(Run, "models", found)
    describe()
    assert not path.exists()
