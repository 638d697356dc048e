"""A run as a notebook opens it: what it refuses, what it finds, what it leaves."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from helpers.core import files, paths, style
from helpers.core.errors import OutOfTime, UserError
from helpers.core.members import Member
from helpers.core.rules import SettingsError
from helpers.darts.settings import SearchSettings
from helpers.datasets import sources
from helpers.datasets.settings import SplitSettings
from helpers.models.record import Model
from helpers.results.predictions import predictions_frame
from helpers.runs.record import edit_run, load_run
from helpers.runs.run import Run
from helpers.runs.start import prepare
from helpers.training.settings import BaselineSettings
from tests import planted
from tests.conftest import split_of
from tests.runs import tasks

STAGE = "02_features_baselines"


def _run(name="02_features_baselines", settings=None, preset="quick"):
    return Run(name, paths.RunPaths("r"), preset, settings or BaselineSettings())


def _scores(first, second):
    return pd.DataFrame({"id": [first, second], "split": ["val", "test"], "defect_score": 0.5})


def _record(run, **settings):
    """Let notebook 01 have run with these settings."""
    stages = {"01_data_split": {"status": "done", "settings": settings}}
    files.save_json(run.paths.run_json, {"run": "r", "stages": stages})


def test_predictions_that_only_an_earlier_call_made_are_removed_with_their_record(home, capsys):
    model = Model("svm", "resnet18", "fbp", members=(Member(0, 0), Member(0, 1)))
    for own in (Model("a"), model):
        run = _run()
        with edit_run(run.paths) as record:
            record.setdefault("stages", {})[run.name] = {}
        run.add(own, _scores("x", "y"))
        assert "removed" not in capsys.readouterr().out
        run.finish()
    said = "removed: predictions of a, which this call has not made\n"
    assert said in capsys.readouterr().out
    assert not run.paths.predictions("a").exists() and run.paths.predictions(model.slug).exists()
    assert run.trained(model.slug) == run.trained("other") == {}
    ((slug, about),) = load_run(run.paths)["models"].items()
    assert slug == model.slug and Model.from_json(about["model"]) == model


def test_a_new_split_takes_predictions_and_cells_of_the_old_one_away_but_not_a_user_s(home):
    run = _run()
    first = pd.DataFrame({"id": ["a", "b"], "split": ["val", "test"]})
    run.save_split(first)
    run.add(Model("svm"), _scores("a", "b"))
    for name in ("searched", "other"):
        run.once(f"genotypes/{name}", tasks.same, {"a": 1})
    files.save_json(run.paths.genotype("other"), {"mine": 1})  # in the place of the run's
    files.save_csv(run.paths.predictions("mine"), first)
    users = [run.paths.genotype("other"), run.paths.predictions("mine")]
    own = [run.paths.genotype("searched"), run.paths.predictions("svm")]
    run.save_split(first)
    assert all(path.is_file() for path in own)
    run.save_split(first.iloc[::-1])
    assert not any(path.is_file() for path in own) and all(path.is_file() for path in users)
    assert load_run(run.paths)["models"] == {}


def test_a_later_notebook_refuses_images_that_were_overwritten_since_the_split(home, parts_folder):
    run, table = _run(), split_of(parts_folder)
    _record(run, image_size_px=16)
    files.save_csv(run.paths.split_csv, table)
    digests = run.images().table.set_index("id").digest
    files.save_csv(run.paths.split_csv, table.assign(digest=table.id.map(digests)))
    prepare(run.name, {"RUN": "r"})
    first, other = (Path(table.path.iloc[n]) for n in (0, -1))
    first.write_bytes(other.read_bytes())
    with pytest.raises(UserError, match=f"1 image.*{table.id.iloc[0]}.*01"):
        prepare(run.name, {"RUN": "r"})


def test_after_the_deadline_nothing_is_started_but_what_is_done_is_found(home):
    run = _run("04_darts_search", SearchSettings(time_budget_min=1.0))
    assert run.once("work", tasks.same, {"a": 1}) == {"a": 1}
    run.started_s -= 61
    assert run.once("work", tasks.same, {"a": 1}) == {"a": 1}
    with pytest.raises(OutOfTime, match="work"):
        run.once("work", tasks.same, {"a": 2})


@pytest.mark.parametrize("preset", ["smoke", "quick"])
def test_a_saved_figure_names_run_backbone_and_images_and_warns_of_smoke(home, preset):
    run = _run("01_data_split", SplitSettings(), preset)
    figure, _ = plt.subplots()
    run.note(backbone="resnet18")
    run.save_figure(figure, "f", credit="Images: mine")
    assert run.paths.figure("f").is_file()
    note = [style.SMOKE_NOTE] if preset == "smoke" else []
    texts = [t.get_text() for t in figure.texts]
    assert texts == ["run r; backbone resnet18; Images: mine", *note]


def test_images_are_found_where_this_machine_has_them(home):
    table = sources.load(SplitSettings()).table[["id", "path"]].sample(frac=1, random_state=0)
    older = table.path.str.replace(".*/elpv_dataset/", "/python3.10/elpv_dataset/", regex=True)
    moved = table.assign(path=older, label=0, split="train")
    moved.loc[-1] = ["gone", "/python3.10/gone.png", 0, "train"]
    moved = moved.sort_index()  # the lost one first
    files.save_csv(_run().paths.split_csv, moved)
    settings = dataclasses.asdict(SplitSettings())
    here = table.path.sort_index().tolist()
    for dataset, found in (("elpv", ["/python3.10/gone.png", *here]), ("folder:/no", None)):
        _record(_run(), **settings | {"dataset": dataset, "good": ["fine"]})
        # without the data set the images may still be in the cache
        assert _run().split.path.tolist() == (found or moved.path.tolist())


def test_another_data_set_does_not_replace_a_run_of_the_same_name(home, parts_folder):
    record = {"run": "r", "dataset": f"folder:{parts_folder}", "stages": {}}
    files.save_json(paths.RunPaths("r").run_json, record)
    for other in ("elpv", f"folder:{parts_folder / 'good'}"):
        with pytest.raises(SettingsError, match=f"'r' was started with --dataset folder:{home}"):
            prepare("01_data_split", {"RUN": "r", "DATASET": other})
    moved = parts_folder.rename(home / "b") / "parts"
    (home / "b").rename(home / "c")
    (home / "b").mkdir()
    (home / "c").rename(moved)
    assert prepare("01_data_split", {"RUN": "r", "DATASET": f"folder:{moved}"}).name


def test_a_broken_file_of_the_user_s_is_left_out_with_its_reason_and_blocks_no_row(home, capsys):
    run = _run()
    split = pd.DataFrame({"id": ["a", "b"], "label": [0, 1], "split": ["val", "test"]})
    run.save_split(split.assign(path=split.id))
    run.add(Model("svm"), _scores("a", "b"))
    files.save_csv(run.paths.predictions("mine"), _scores("a", "c"))
    assert [*run.models()] == ["svm"]
    assert "left out: " in (said := capsys.readouterr().out) and "mine.csv" in said
    files.save_csv(run.paths.predictions("svm"), _scores("a", "c"))
    with pytest.raises(files.ArtifactError, match=r"svm\.csv"):
        run.models()


@pytest.fixture
def planted_run(home):
    """Three models with independent errors."""
    return planted.decision_stage(planted.run_of({"svm": 1.5, "cnn": 1.4, "fbp": 1.3}))


def test_a_notebook_run_again_shows_no_model_of_a_later_one_but_the_user_s_own(planted_run):
    run, about = planted_run, Model("darts_v2", number=4)
    scores = predictions_frame(run.split, np.linspace(0, 1, len(run.split)))
    run.add(about, scores, seconds=7.0, parameters=9)
    planted.plant(run.paths, "mine", 1.0, 5)
    early = planted.decision_stage(run.paths)
    early.name = "03_finetuning"
    assert [*early.models()] == ["svm", "cnn", "fbp", "mine"]
    assert run.models()["darts_v2_4"].model == about
    assert run.record["models"]["darts_v2_4"]["costs"] == {"seconds": 7.0, "parameters": 9}
    run.add(about, scores.assign(defect_score=0.5))  # its own may change
    before = run.paths.predictions("mine").read_bytes()
    with pytest.raises(files.ArtifactError, match=r"mine\.csv has the name of a model"):
        run.add(Model("mine"), scores)
    assert run.paths.predictions("mine").read_bytes() == before


def test_a_submission_has_one_row_for_each_test_image_and_says_so_if_some_are_left_out(planted_run):
    run, scored = planted_run, planted_run.models()["fbp"]
    frame = files.load_csv(run.write_submission(scored), ("id", "defect_score"))
    pd.testing.assert_frame_equal(frame, scored.test[["id", "defect_score"]], check_exact=True)
    left_out = {"stages": {"01_data_split": {"test_left_out": 20}}}
    files.save_json(run.paths.run_json, run.record | left_out)
    assert run.write_submission(scored).name == "toy.incomplete.csv"


def test_a_row_that_could_not_be_read_again_is_not_written(home):
    run = _run()
    for name in ("../../esc", "", "a b"):
        with pytest.raises(SettingsError, match="called"):
            run.add(Model(name), _scores("x", "y"))
    with pytest.raises(SettingsError, match="from 0 to 1"):
        run.add(Model("mine"), _scores("x", "y").assign(defect_score=[0.5, 7]))
    assert not run.paths.predictions_root.exists()
