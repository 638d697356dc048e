"""Stages and steps: what is done is not done again, and what changed is."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt

from helpers.core import files, paths, style
from helpers.core.errors import OutOfTime
from helpers.core.rules import SettingsError
from helpers.darts.settings import SearchSettings
from helpers.datasets.settings import SplitSettings
from helpers.runs import stages
from helpers.runs.record import edit_run
from helpers.training.settings import BaselineSettings
from tests.conftest import split_of


def _stage(run="r", name="02_features_baselines"):
    return stages.Stage(name, paths.RunPaths(run), "quick", BaselineSettings(), "key")


def _do(stage, inputs, content="x"):
    path = stage.paths.root / "out.txt"
    done = []

    def work(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(content)
        done.append(out)

    stage.once("work", inputs, work, out=path)
    return bool(done)


def test_a_step_is_done_once_for_equal_inputs_and_again_if_its_file_was_damaged(home):
    stage = _stage()
    assert _do(stage, {"a": 1}) is True
    assert _do(stage, {"a": 1}) is False
    assert _do(stage, {"a": 2}) is True
    (stage.paths.root / "out.txt").write_text("damaged")
    assert _do(stage, {"a": 2}) is True


def test_a_step_that_an_older_version_wrote_to_another_file_is_done_again(home):
    stage = _stage()
    stage.once("work", {}, lambda out: files.write_bytes(out, b"1"), out=stage.paths.root / "a")
    stage.once("work", {}, lambda out: files.write_bytes(out, b"2"), out=stage.paths.root / "b")
    assert (stage.paths.root / "b").read_bytes() == b"2"


def test_predictions_that_only_an_earlier_call_made_are_removed_and_its_trainings_stay(home):
    def write(**outputs):
        for path in outputs.values():
            files.write_bytes(path, b"1")

    first, second = _stage(), _stage()
    for stage, name in ((first, "a"), (second, "b")):
        with edit_run(stage.paths) as run:
            run.setdefault("stages", {})[stage.name] = {}
        kept = stage.paths.checkpoint(name)
        own = {"predictions": stage.paths.predictions(name), "checkpoint": kept}
        stage.once(name, {}, write, **own)
        stage.finish()
    assert not first.paths.predictions("a").exists() and first.paths.checkpoint("a").exists()
    assert first.paths.predictions("b").exists()


def test_a_step_that_fails_is_not_recorded(home):
    stage = _stage()

    def fail(out):
        raise KeyError

    with pytest.raises(KeyError):
        stage.once("work", {}, fail, out=stage.paths.root / "out.txt")
    assert stages.load_run(stage.paths) == {}


def test_the_default_run_is_named_after_data_set_and_preset():
    assert stages.default_run("elpv", "quick") == "elpv-quick"
    assert stages.default_run("folder:/some/where/parts", "smoke") == "folder-parts-smoke"


@pytest.mark.parametrize("name", ["a/b", "../up", ".hidden"])
def test_a_run_name_that_is_not_a_plain_folder_is_refused(home, name):
    with pytest.raises(SettingsError, match="must be a plain folder name"):
        stages.begin("01_data_split", {"RUN": name, "PRESET": "smoke"})


def test_a_module_with_a_short_name_is_not_a_parameter(home):
    given = {"RUN": "t", "F": torch.nn.functional}
    assert stages.open_stage("01_data_split", given).paths.name == "t"


def test_a_misspelt_parameter_of_a_notebook_is_an_error_with_the_nearest_name(home):
    with pytest.raises(SettingsError, match="VAL_PER_CLAS; did you mean VAL_PER_CLASS"):
        stages.begin("01_data_split", {"PRESET": "smoke", "VAL_PER_CLAS": 3})


def test_a_new_split_takes_predictions_and_cells_of_the_old_one_away_but_not_a_user_s(home):
    stage = _stage()
    written, own = stage.paths.predictions("svm"), stage.paths.predictions("mine")
    cell, features = stage.paths.genotype("searched"), stage.paths.features
    for name in ("fbp", "fbp_fold1", "resnet18"):
        files.write_bytes(features(name), b"1")
    first = pd.DataFrame({"id": ["a", "b"], "split": ["val", "test"]})
    stage.save_split(first)
    stage.once("svm", {}, lambda file: files.save_csv(file, first), file=written)
    stage.once("search", {}, lambda file: files.save_json(file, {}), file=cell)
    files.save_csv(own, first)
    stage.save_split(first)
    assert written.is_file() and cell.is_file() and features("fbp").is_file()
    stage.save_split(first.iloc[::-1])
    assert not written.is_file() and not cell.is_file() and own.is_file()
    # a pretrained network has seen no split
    assert [file.name for file in features("fbp").parent.iterdir()] == ["resnet18.npz"]


def test_a_new_split_leaves_a_file_that_the_user_has_put_in_the_place_of_another(home):
    stage = _stage()
    cell, first = stage.paths.genotype("searched"), pd.DataFrame({"id": ["a"], "split": ["val"]})
    stage.save_split(first)
    stage.once("search", {}, lambda file: files.save_json(file, {}), file=cell)
    files.save_json(cell, {"mine": 1})
    stage.save_split(first.assign(split="test"))
    assert cell.is_file()


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_later_stages_read_images_as_the_split_did(home, parts_folder, fit):
    stage = _stage()
    files.save_csv(stage.paths.split_csv, split_of(parts_folder))
    run = {"run": "r", "stages": {"01_data_split": {"fit": fit}}}
    files.save_json(stage.paths.run_json, run)
    assert stage.images(16).fit == fit
    run["stages"]["01_data_split"]["fit"] = "other"
    files.save_json(stage.paths.run_json, run)
    with pytest.raises(files.ArtifactError, match=r"stages\.01_data_split\.fit"):
        stage.images(16)


def test_a_later_notebook_refuses_images_that_were_overwritten_since_the_split(home, parts_folder):
    table, given = split_of(parts_folder), {"RUN": "r"}
    done = {"status": "done", "settings": {"image_size_px": 16}}
    run_paths = paths.RunPaths("r")
    files.save_json(run_paths.run_json, {"stages": {"01_data_split": done}})
    digests = stages.images_of(run_paths, table, 16).table.set_index("id").digest
    files.save_csv(run_paths.split_csv, table.assign(digest=table.id.map(digests)))
    stages.open_stage("02_features_baselines", given)
    first, other = (Path(table.path.iloc[n]) for n in (0, -1))
    first.write_bytes(other.read_bytes())
    with pytest.raises(stages.StageError, match=f"1 image.*{table.id.iloc[0]}.*01"):
        stages.open_stage("02_features_baselines", given)


def test_after_the_deadline_no_step_is_started_but_what_is_done_is_found(home):
    limited = SearchSettings(time_budget_min=1.0)
    stage = stages.Stage("04_darts_search", paths.RunPaths("r"), "quick", limited, "key")
    assert _do(stage, {"a": 1}) is True
    stage.started_s -= 61
    assert _do(stage, {"a": 1}) is False
    with pytest.raises(OutOfTime, match="work: the time budget is used up; finished work"):
        _do(stage, {"a": 2})


@pytest.mark.parametrize("preset", ["smoke", "quick"])
def test_a_saved_figure_names_run_backbone_and_images_and_warns_of_smoke(home, preset):
    stage = stages.Stage("01_data_split", paths.RunPaths("r"), preset, SplitSettings(), "key")
    figure, _ = plt.subplots()
    stage.note(backbone="resnet18")
    stage.save_figure(figure, "f", credit="Images: mine")
    assert stage.paths.figure("f").is_file()
    texts = [t.get_text() for t in figure.texts]
    assert texts == ["run r; backbone ResNet-18; Images: mine"] + [style.SMOKE_NOTE] * (
        preset == "smoke"
    )
