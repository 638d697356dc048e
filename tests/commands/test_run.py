"""The command line: everything that can be checked is checked before a notebook starts."""

import dataclasses
import importlib.util
import json
import os

import pandas as pd
import papermill
import pytest

from helpers.commands import executed, publish, run, showcase
from helpers.commands.plan import check_places, make_plan
from helpers.core import environment, files, paths, threads
from helpers.core.rules import SettingsError
from helpers.darts import genotypes
from helpers.runs import settings, stages
from helpers.runs.record import RunError

LONG = 300 * "a"


def _plan(*arguments):
    return make_plan(run.parser().parse_args(arguments), list(arguments))


def test_parameters_go_to_the_notebooks_that_have_them():
    plan = _plan("--preset", "smoke", "--name", "t", "-p", "SEED=3", "-p", "FBP_EPOCHS=2")
    assert plan.parameters["03_finetuning"] == {"SEED": 3, "FBP_EPOCHS": 2, "RUN": "t"}
    first = {"SEED": 3, "DATASET": "elpv", "RUN": "t", "PRESET": "smoke"}
    assert plan.parameters["01_data_split"] == first


@pytest.mark.parametrize(
    ("option", "chosen"),
    [
        ([], list(settings.STAGES)),
        (["--from", "2"], list(settings.STAGES)[1:]),
        (["--only", "03"], ["03_finetuning"]),
    ],
)
def test_a_part_of_the_series_can_be_chosen(option, chosen):
    assert _plan(*option).chosen == chosen


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "SED=1"], "no notebook has the parameter SED; did you mean SEED?"),
        (["-p", "DATASET=x"], "DATASET is given by --dataset, not by -p"),
        (["-p", "RUN=x"], "RUN is given by --name, not by -p"),
        (["-p", "SEED"], "-p SEED: write -p NAME=VALUE"),
        (["-p", "SEED=one"], "SEED='one' must be a whole number"),
        (
            ["-p", "BACKBONE=resnet81"],
            "'resnet81' is not a backbone of timm or torchvision: did you",
        ),
        (["--only", "9"], "no stage '9'"),
        (["--preset", "smoke", "--publish"], "--publish needs another preset: smoke's numbers"),
        (["--name", "../x"], "RUN='../x' must be a plain folder name"),
        (["--name", LONG], "has 300 bytes, and may have 200: choose a shorter name (--name;"),
        (["--name", 101 * "é"], "has 202 bytes, and may have 200"),
        (["--dataset", ""], "DATASET='' is not one of chips, elpv, folder, nexperia"),
        (["--dataset", "folder:"], "DATASET='folder:' has no path after the colon: folder:PATH"),
        (["--dataset", "elpv:x"], "DATASET='elpv:x': elpv has no path; write elpv, or folder:"),
        (["--dataset", "chips: "], "no path after the colon: chips:PATH, or chips alone"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_runs(arguments, message):
    with pytest.raises(SettingsError) as error:
        _plan(*arguments)
    assert message in str(error.value)


def test_each_notebook_is_started_with_the_policy_of_a_shared_machine(home, monkeypatch):
    seen = []

    def stop(*_):
        seen.append(os.environ.get("OMP_WAIT_POLICY"))
        raise RunError("enough")

    monkeypatch.setattr(run, "_run_notebook", stop)
    for policy in threads.POLICIES:
        monkeypatch.delenv(policy, raising=False)
    for busy in (100, 0):
        monkeypatch.setattr(threads.psutil, "cpu_percent", lambda seconds, busy=busy: busy)
        with pytest.raises(RunError, match="enough"):
            run.execute(_plan("--preset", "smoke"))
    assert seen == ["passive", None]


def _start(name, preset, dataset="elpv"):
    record = {"run": name, "preset": preset, "dataset": dataset, "stages": {}}
    files.save_json(paths.RunPaths(name).run_json, record)


@pytest.mark.parametrize(
    ("option", "value", "started"), [("preset", "smoke", "full"), ("dataset", "chips", "elpv")]
)
def test_later_notebooks_take_the_preset_and_data_set_of_the_run_alone(
    home, option, value, started
):
    _start("x", "full")
    message = f"run 'x' was started with --{option} {started}, not {value}: leave it out"
    with pytest.raises(SettingsError, match=message):
        _plan("--name", "x", "--only", "03", f"--{option}", value)
    assert _plan("--name", "x", "--only", "03", f"--{option}", started).preset == "full"
    assert _plan("--name", "x").preset != "full"  # 01 takes what is asked for


def test_a_folder_without_its_kind_is_told_how_to_be_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parts").mkdir()
    for typed in ("parts", f"{tmp_path}/parts"):
        with pytest.raises(SettingsError) as error:
            _plan("--dataset", typed)
        assert str(error.value).endswith(f"for the images in that folder write folder:{typed}")


def test_a_later_notebook_takes_the_run_s_own_folder_however_it_is_written(home, tmp_path):
    (tmp_path / "parts").mkdir()
    _start("x", "full", f"folder:{tmp_path}/a/../parts")
    _plan("--from", "03", "--name", "x", "--dataset", f"folder:{tmp_path}/parts")


def test_a_default_name_that_another_data_set_has_taken_is_refused(home, tmp_path):
    _start("folder-parts-smoke", "smoke", f"folder:{tmp_path}/a/parts")
    other = ["--preset", "smoke", "--dataset", f"folder:{tmp_path}/b/parts"]
    with pytest.raises(SettingsError) as error:
        _plan(*other)
    assert str(error.value) == (
        f"run 'folder-parts-smoke' was started with --dataset folder:{tmp_path}/a/parts, not "
        f"folder:{tmp_path}/b/parts, and would lose its predictions: give this one a name of its "
        "own with --name"
    )
    assert _plan(*other, "--name", "folder-parts-smoke").run == "folder-parts-smoke"
    (tmp_path / "a" / "parts").mkdir(parents=True)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert _plan(*other).run == "folder-parts-smoke"  # the same images by another way


@pytest.mark.parametrize("option", [["--only", "02"], ["--from", "06"]])
def test_a_stage_without_a_split_starts_no_kernel_and_leaves_no_folder(home, capsys, option):
    assert run.main(["--name", "x", "--preset", "smoke", *option]) == 1
    error = capsys.readouterr().err
    assert "needs the split of run 'x', which does not exist: run notebooks/01_data_split" in error
    assert "or name another run (--name; RUN in a notebook)" in error
    assert not paths.RunPaths("x").root.exists()


def test_publishing_needs_a_clone(monkeypatch):
    monkeypatch.setattr(paths, "is_clone", lambda: False)
    with pytest.raises(SettingsError, match="--publish needs a clone of the repository"):
        _plan("--preset", "quick", "--publish")


def test_outside_a_clone_everything_is_written_below_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.delenv(paths.HOME_VARIABLE, raising=False)
    assert paths.home() == paths.working_folder() == paths.project_root()
    monkeypatch.setattr(paths, "project_root", lambda: tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    assert paths.home() == paths.working_folder() == tmp_path
    assert paths.runs_root() == tmp_path / "data" / "runs"


def test_the_table_of_the_notebook_that_ran_last_is_shown(home, capsys):
    run_paths = paths.RunPaths("x")
    record = {}
    for stage, table, month in (("03_finetuning", "table2", 2), ("06_analysis", "06_table2", 1)):
        record[stage] = {"status": "done", "started": f"2026-0{month}-01 10:00:00"}
        # the test labels are hidden, so there is no test column
        frame = pd.DataFrame({"Model": [stage], "Valid Acc": ["90.0"], "p": "-"})
        frame[["run", "preset", "backbone"]] = "x", "quick", "none"
        files.save_csv(run_paths.table(table), frame)
    files.save_json(run_paths.run_json, {"run": "x", "preset": "quick", "stages": record})
    run._show_results(run_paths, None, 65.0)
    header, row = capsys.readouterr().out.splitlines()[1:3]
    assert header.split() == ["Model", "Valid", "Acc"] and row.split() == ["03_finetuning", "90.0"]
    record["01_data_split"] = {"left_out": ["scratch: 7 images"], "unreadable": ["a.png", "b.png"]}
    files.save_json(run_paths.run_json, {"run": "x", "preset": "quick", "stages": record})
    run._show_results(run_paths, None, 65.0)
    said = capsys.readouterr().out
    assert "left out: scratch: 7 images\n" in said
    assert "left out: 2 image(s) that cannot be read (a.png, ...)\n" in said


def test_paths_are_those_of_the_user_s_folder(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    genotypes.save(tmp_path / "own.json", genotypes.PUBLISHED["PDARTS"], {})
    cells = 'GENOTYPES=["DARTS_V2", "own.json", "random"]'
    plan = _plan("--dataset", "folder:parts", "-p", "SPLIT_CSV=s.csv", "-p", cells)
    assert plan.parameters["01_data_split"]["DATASET"] == f"folder:{tmp_path}/parts"
    assert plan.parameters["01_data_split"]["SPLIT_CSV"] == f"{tmp_path}/s.csv"
    found = plan.parameters["05_genotype_retraining"]["GENOTYPES"]
    assert found == ["DARTS_V2", f"{tmp_path}/own.json", "random"]
    assert plan.run == "folder-parts-quick"
    (tmp_path / "parts").mkdir()
    monkeypatch.chdir(tmp_path / "parts")
    assert _plan("--dataset", "folder:.", "--preset", "smoke").run == "folder-parts-smoke"


def test_a_time_budget_holds_for_all_notebooks_together(monkeypatch):
    monkeypatch.setattr(run.time, "monotonic", lambda: 1000.0)
    plan = _plan("--name", "t", "-p", "TIME_BUDGET_MIN=30")
    assert run._remaining(plan, "03_finetuning", started_s=400.0) == {"TIME_BUDGET_MIN": 20.0}
    assert run._remaining(plan, "02_features_baselines", started_s=400.0) == {}
    assert run._remaining(_plan("--name", "t"), "03_finetuning", started_s=400.0) == {}
    with pytest.raises(run.RunOutOfTime) as error:
        run._remaining(plan, "02_features_baselines", started_s=-1000.0)
    assert str(error.value) == (
        "the time budget is used up before 02_features_baselines\n"
        "To continue: python -m helpers.run --name t -p TIME_BUDGET_MIN=30"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "folder:/not/there"], "DATASET='folder:/not/there': /not/there does not"),
        (["--dataset", "folder"], "DATASET='folder' needs a path: folder:PATH"),
        (["-p", "WEIGHTS=/no.pth"], "WEIGHTS='/no.pth' is not a file"),
        (
            ["-p", "WEIGHTS=random", "-p", "BACKBONE=convnext_atto", "-p", "IMAGE_SIZE_PX=16"],
            "convnext_atto cannot take images of 16 px (",
        ),
        (["-p", "SPLIT_CSV=/no.csv"], "SPLIT_CSV='/no.csv' is not a file"),
        (["-p", "LABELS_CSV=/no.csv"], "LABELS_CSV='/no.csv' is not a file"),
        (["-p", "DISTILL=True"], "DISTILL needs teachers of all folds: start the run"),
        (["-p", "COMPARE_RUN=other"], "COMPARE_RUN='other' has no split; run notebook 01 of it"),
        (["-p", "FOLDER=/no"], "FOLDER='/no' is not a folder"),
        (["--dataset", LONG], f"DATASET='{LONG}' is not one of chips, elpv"),
        (["-p", "MODEL=fpb"], "MODEL='fpb' is not one of lr_on_brightness, lda, lda_on_fbp"),
    ],
)
def test_missing_files_are_refused_before_a_run_is_started(home, capsys, arguments, message):
    assert run.main([*arguments, "--preset", "smoke", "--name", "t"]) == 1
    assert f"error: {message}" in capsys.readouterr().err
    assert not paths.RunPaths("t").root.exists()


MODELS = "lda, SVM on FBP features, pdarts, darts_searched, random_cell_1, cell_my_own, stacking"
MODELS += ", FBP (EfficientNet-Lite2), lda_efficientnet_lite2_finetuned, cell_my_own_distilled"


@pytest.mark.parametrize("model", ["", "FBP, 3 seeds averaged", *MODELS.split(", ")])
def test_every_model_that_a_run_may_have_can_be_looked_at(home, tmp_path, model):
    cell = tmp_path / "My-own.json"
    genotypes.save(cell, genotypes.PUBLISHED["PDARTS"], {})
    given = ["-p", f"GENOTYPES={json.dumps([str(cell), 'random'])}", "-p", "RANDOM_CELLS=2"]
    given += ["-p", 'BACKBONE=["efficientnet_lite0", "efficientnet_lite2"]']
    check_places(_plan("--preset", "smoke", "--name", "t", *given, "-p", f"MODEL={model}"))


def test_a_model_of_one_s_own_must_be_there_if_06_runs(home, capsys):
    own = ["--preset", "smoke", "--name", "t", "-p", "MODEL=mine"]
    check_places(_plan(*own, "--only", "02"))
    assert "-p MODEL changes nothing in this call: it is a setting of" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="MODEL='mine' is not one of"):
        check_places(_plan(*own))
    files.write_bytes(paths.RunPaths("t").predictions("mine"), b"")
    check_places(_plan(*own))


def test_distillation_in_a_run_that_was_split_without_folds_is_refused(home):
    record = {"stages": {"01_data_split": {"settings": {"cross_fit": 0}}}}
    files.save_json(paths.RunPaths("t").root / "run.json", record)
    plan = _plan("--name", "t", "--from", "02", "-p", "DISTILL=True")
    with pytest.raises(SettingsError, match="start the run with CROSS_FIT=5"):
        check_places(plan)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('GENOTYPES=["a/x.json", "b/x.json"]', "two cells would both be called 'cell_x': name"),
        ("GENOTYPES=random", "GENOTYPES=random with RANDOM_CELLS=0: no cell is left to train"),
    ],
)
def test_cells_that_notebook_05_would_refuse_are_refused_before_01(
    home, tmp_path, monkeypatch, given, message
):
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        genotypes.save(tmp_path / folder / "x.json", genotypes.PUBLISHED["PDARTS"], {})
    with pytest.raises(genotypes.GenotypeError, match=message):
        _plan("--preset", "smoke", "-p", given, "-p", "RANDOM_CELLS=0")


def test_a_package_that_the_export_needs_is_missed_before_01(home, monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "onnx" else found(n))
    assert run.main(["--preset", "smoke", "--name", "t", "-p", "EXPORT=onnx"]) == 1
    assert "error: the format onnx needs the package onnx: pip inst" in capsys.readouterr().err
    assert not paths.RunPaths("t").root.exists()


def test_a_notebook_that_is_interrupted_ends_with_the_exit_code_of_ctrl_c(
    home, monkeypatch, capsys
):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(papermill, "execute_notebook", stopped)
    assert run.main(["--preset", "smoke", "--name", "t"]) == 130
    said = capsys.readouterr().err
    assert "01_data_split.ipynb: interrupted\n" in said and "To continue once it is" in said


def test_a_genotype_whose_model_would_have_too_long_a_name_is_refused(home, tmp_path, capsys):
    cell = tmp_path / f"{230 * 'a'}.json"
    cell.write_text("{}")
    assert run.main(["--preset", "smoke", "-p", f"GENOTYPES={cell}"]) == 1
    assert (
        "which may have at most 200 letters and not end in '_distilled': rename it"
        in capsys.readouterr().err
    )


def test_braces_in_a_run_s_name_are_taken_as_they_are(home, monkeypatch):
    monkeypatch.setattr(papermill.execute, "load_notebook_node", _stop)
    seen = []
    monkeypatch.setattr(papermill.execute, "get_pretty_path", lambda path: seen.append(path) or "")
    source, target = paths.notebooks_root() / "01_data_split.ipynb", home / "a{b}{" / "01.ipynb"
    with pytest.raises(run.RunError, match="stopped here"):
        run._run_notebook(source, target, _plan("--name", "a{b}{"), {}, "01_data_split")
    assert seen[:2] == [str(source), str(target)]


def _stop(*_):
    raise OSError("stopped here")


def test_another_preset_runs_01_again_even_if_its_settings_are_the_same(home, monkeypatch):
    ran = []
    monkeypatch.setattr(stages, "is_current", lambda *_: True)
    monkeypatch.setattr(stages, "record_notebook", lambda *_: None)
    monkeypatch.setattr(run, "_run_notebook", lambda *given: ran.append(given[3]["PRESET"]))
    monkeypatch.setattr(run, "_show_results", lambda *_: None)
    _start("t", "quick")
    for preset in ("quick", "full"):
        run.execute(_plan("--name", "t", "--only", "01", "--preset", preset))
    assert ran == ["full"]


def test_publishing_runs_notebooks_of_other_code_again(home, monkeypatch):
    plan = dataclasses.replace(_plan("--name", "t", "--only", "01"), publish=True)
    (stage,) = plan.chosen
    ran = []
    monkeypatch.setattr(executed, "has_copy", lambda *_: True)
    monkeypatch.setattr(stages, "is_current", lambda *_: True)
    monkeypatch.setattr(stages, "record_notebook", lambda *_: None)
    monkeypatch.setattr(run, "_run_notebook", lambda *given: ran.append(given[-1]))
    monkeypatch.setattr(run, "_show_results", lambda *_: None)
    monkeypatch.setattr(publish, "publish", lambda _: [])
    monkeypatch.setattr(showcase, "write_pictures", lambda *_: [])
    monkeypatch.setattr(environment, "is_present_code", lambda commit: commit == "abc1234")
    for commit in ("abc1234", "0000000"):
        with stages.edit_run(paths.RunPaths("t")) as record:
            record["stages"] = {stage: {"commit": commit}}
        run.execute(plan)
    assert ran == [stage]
