"""Stages and steps: what is done is not done again, and what changed is."""

import pandas as pd
import pytest

from helpers import datasets
from helpers.core import files, paths
from helpers.datasets import cache
from helpers.datasets import settings as datasets_settings
from helpers.runs import record as run_record
from helpers.runs import settings as runs_settings
from helpers.runs import stages


def _stage(run="r", name="02_features_baselines"):
    settings = runs_settings.BaselineSettings()
    return stages.Stage(name, paths.RunPaths(run), "quick", settings, "key")


def _do(stage, inputs, content="x"):
    path = stage.paths.root / "out.txt"
    done = []

    def work(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(content)
        done.append(out)

    stage.once("work", inputs, work, out=path)
    return bool(done)


def test_a_step_is_done_once_for_equal_inputs(home):
    stage = _stage()
    assert _do(stage, {"a": 1}) is True
    assert _do(stage, {"a": 1}) is False
    assert _do(stage, {"a": 2}) is True


def test_a_step_whose_file_was_damaged_is_done_again(home):
    stage = _stage()
    _do(stage, {"a": 1})
    (stage.paths.root / "out.txt").write_text("damaged")
    assert _do(stage, {"a": 1}) is True


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
def test_a_run_name_that_is_no_plain_folder_is_refused(home, name):
    with pytest.raises(runs_settings.SettingsError, match="must be a plain folder name"):
        stages.begin("01_data_split", {"RUN": name, "PRESET": "smoke"})


def test_a_misspelt_parameter_of_a_notebook_is_an_error_with_the_nearest_name(home):
    with pytest.raises(
        runs_settings.SettingsError, match="VAL_PER_CLAS; did you mean VAL_PER_CLASS"
    ):
        stages.begin("01_data_split", {"PRESET": "smoke", "VAL_PER_CLAS": 3})


def test_the_key_of_a_stage_changes_with_its_settings_and_with_earlier_stages():
    run = {"stages": {"01_data_split": {"key": "a"}}}
    settings = runs_settings.BaselineSettings()
    key = stages.stage_key("02_features_baselines", settings, run)
    assert key == stages.stage_key("02_features_baselines", settings, run)
    other = runs_settings.BaselineSettings(trees=7)
    assert key != stages.stage_key("02_features_baselines", other, run)
    run["stages"]["01_data_split"]["key"] = "b"
    assert key != stages.stage_key("02_features_baselines", settings, run)


def test_a_split_csv_that_is_not_there_is_named(home):
    settings = datasets_settings.SplitSettings(split_csv="/no/such.csv")
    with pytest.raises(
        runs_settings.SettingsError, match=r"SPLIT_CSV='/no/such.csv' is not a file"
    ):
        stages.stage_key("01_data_split", settings, {})


def _key(name, **given):
    return stages.stage_key(name, runs_settings.resolve(name, "quick", given), {"stages": {}})


@pytest.mark.parametrize("name", ["02_features_baselines", "03_finetuning"])
def test_the_key_changes_with_the_content_of_the_weights_file(tmp_path, name):
    file = tmp_path / "w.pth"
    file.write_bytes(b"first")
    first = _key(name, weights=str(file))
    assert _key(name, weights=str(file)) == first
    file.write_bytes(b"other")
    assert _key(name, weights=str(file)) != first


def test_a_weights_file_that_is_not_there_is_named():
    with pytest.raises(runs_settings.SettingsError, match=r"WEIGHTS='/no/such.pth' is not a file"):
        _key("02_features_baselines", weights="/no/such.pth")


def test_the_key_changes_with_the_content_of_a_genotype_file_but_not_of_one_named_as_a_cell(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    mine, shadow = tmp_path / "mine.json", tmp_path / "DARTS_V2"
    mine.write_text("first")
    names = ["DARTS_V2", "random", "searched", "mine.json"]
    first = _key("05_genotype_retraining", genotypes=names)
    shadow.write_text("never read: the published cell has this name")
    assert _key("05_genotype_retraining", genotypes=names) == first
    mine.write_text("other")
    assert _key("05_genotype_retraining", genotypes=names) != first


@pytest.mark.parametrize("name", list(runs_settings.STAGES)[1:5])
def test_without_files_in_the_settings_the_key_is_of_settings_and_earlier_stages_alone(name):
    # so that runs finished before the files' content counted stay up to date
    settings = runs_settings.resolve(name, "quick", {})
    order = list(runs_settings.STAGES)
    earlier = {stage: f"key of {stage}" for stage in order[: order.index(name)]}
    run = {"stages": {stage: {"key": key} for stage, key in earlier.items()}}
    content = {"settings": runs_settings.decisive(settings), "earlier": earlier}
    assert stages.stage_key(name, settings, run) == files.fingerprint(content)


def test_the_key_of_the_first_stage_keeps_its_form(parts_folder):
    settings = runs_settings.resolve(
        "01_data_split", "quick", {"dataset": f"folder:{parts_folder}"}
    )
    table = datasets.load(settings).table
    labels = table.drop(columns="path").astype(str).to_numpy()
    content = {"settings": runs_settings.decisive(settings), "earlier": {}, "split_csv": None}
    content["images"] = [cache.source_key(table), files.fingerprint(labels)]
    assert stages.stage_key("01_data_split", settings, {}) == files.fingerprint(content)


def test_a_new_split_takes_the_predictions_of_the_old_one_away_but_not_a_user_s(home):
    stage = _stage()
    written, own = stage.paths.predictions("svm"), stage.paths.predictions("mine")
    first = pd.DataFrame({"id": ["a", "b"], "split": ["val", "test"]})
    stage.save_split(first)
    stage.once("svm", {}, lambda file: files.save_csv(file, first), file=written)
    files.save_csv(own, first)
    stage.save_split(first)
    assert written.is_file()
    stage.save_split(first.iloc[::-1])
    assert not written.is_file() and own.is_file()


def test_a_run_of_before_the_split_was_on_record_loses_its_predictions_to_a_new_split_too(home):
    # the split on the disk was taken for the one on record, which a damaged one is not
    stage = _stage("r", "01_data_split")
    first = pd.DataFrame({"id": ["a", "b"], "split": ["val", "test"]})
    written = stage.paths.predictions("svm")
    stage.save_split(first)
    stage.once("svm", {}, lambda file: files.save_csv(file, first), file=written)
    record = stages.load_run(stage.paths)
    outputs = {"split.csv": record.pop("split")}
    files.save_json(
        stage.paths.run_json, record | {"stages": {"01_data_split": {"outputs": outputs}}}
    )
    stage.paths.split_csv.write_text("damaged")
    begun = stages.begin("01_data_split", {"RUN": "r", "MAX_IMAGES": 50, "PRESET": "smoke"})
    begun.save_split(first)
    assert written.is_file()
    begun.save_split(first.iloc[::-1])
    assert not written.exists()


def test_a_record_that_lacks_what_notebooks_do_without_is_taken_as_it_is(home):
    run_paths = paths.RunPaths("r")
    done = {"status": "done", "key": "k"}
    files.save_json(run_paths.run_json, {"stages": {"01_data_split": done}})
    stage = stages.open_stage("06_analysis", {"RUN": "r"})
    assert stage.key == stages.stage_key("06_analysis", stage.settings, stages.load_run(run_paths))
    assert run_record.time_table(run_paths).stage.tolist() == ["01_data_split"]


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"seconds": "long"}, "seconds is 'long'"),
        ({"peak_memory_mb": None}, "peak_memory_mb is None"),
        ({"images_per_s": {"decode": "fast"}}, "images_per_s is {'decode': 'fast'}"),
        ({"reused": 3}, "reused is 3"),
        ({"device": []}, "device is []"),
    ],
)
def test_a_record_with_facts_of_another_kind_is_refused(home, facts, problem):
    run_paths = paths.RunPaths("r")
    done = {"status": "done", "key": "k"} | facts
    files.save_json(run_paths.run_json, {"stages": {"01_data_split": done}})
    with pytest.raises(files.ArtifactError) as error:
        run_record.time_table(run_paths)
    assert str(error.value) == (
        f"{run_paths.run_json} is damaged (stages: 01_data_split: {problem}); delete it and run "
        "again"
    )


def test_the_time_table_shows_each_finished_stage_with_its_rates(home):
    stage = stages.begin("01_data_split", {"RUN": "r", "MAX_IMAGES": 50, "PRESET": "smoke"})
    stage.rate("decode", 812.34)
    stage.rate("nothing", None)
    stage.finish()
    table = run_record.time_table(stage.paths)
    assert table.stage.tolist() == ["01_data_split"]
    assert table["images/s"].tolist() == ["decode 812"]
    assert (table["peak memory (MB)"] > 50).all() and (table.seconds >= 0).all()
    stages.begin("01_data_split", {"RUN": "r", "MAX_IMAGES": 60, "PRESET": "smoke"})
    assert run_record.time_table(stage.paths).empty  # begun anew, not finished


def test_after_the_deadline_no_step_is_begun_but_what_is_done_is_found(home):
    settings = runs_settings.SearchSettings(time_budget_min=1.0)
    stage = stages.Stage("04_darts_search", paths.RunPaths("r"), "quick", settings, "key")
    assert _do(stage, {"a": 1}) is True
    stage.started_s -= 61
    assert _do(stage, {"a": 1}) is False
    with pytest.raises(stages.OutOfTime, match="work: the time budget is used up; what is done"):
        _do(stage, {"a": 2})
