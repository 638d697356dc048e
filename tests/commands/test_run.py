"""The command line: everything that can be checked is checked before a notebook starts."""

import importlib.util
import re

import pandas as pd
import pytest

from helpers.commands import cli, kernel, run
from helpers.core import files, paths
from helpers.core.rules import SettingsError
from helpers.darts import genotypes
from helpers.runs import settings
from helpers.runs.record import edit_run


def _plan(*arguments):
    return run.make_plan(list(arguments))


def _main(*arguments):
    return cli.start("run", arguments)


def _start(name, preset, dataset="elpv"):
    record = {"run": name, "preset": preset, "dataset": dataset, "stages": {}}
    files.save_json(paths.RunPaths(name).run_json, record)


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
def test_a_part_of_the_series_can_be_chosen(option, chosen, capsys):
    assert _plan(*option, "-p", "MODEL=mine").chosen == chosen
    assert ("-p MODEL changes nothing" in capsys.readouterr().err) == (len(chosen) == 1)


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (["-p", "SED=1"], "SED; did you mean SEED?"),
        (["-p", "RUN=x"], "--name"),
        (["-p", "BACKBONE=resnet81"], "'resnet81'"),
        (["--name", "../x"], "RUN='../x'"),
        (["--dataset", "parts"], "DATASET='parts'"),
        (["-p", 'GENOTYPES=["a/x.json", "b/x.json"]'], "'cell_x'"),
        (["--dataset", "folder:/not/there"], "/not/there"),
        (["-p", "WEIGHTS=/no.pth"], "WEIGHTS='/no.pth'"),
        (["-p", "WEIGHTS=random", "-p", "BACKBONE=convnext_atto", "-p", "IMAGE_SIZE_PX=16"], "16"),
        (["-p", "SPLIT_CSV=/no.csv"], "SPLIT_CSV='/no.csv'"),
        (["-p", "EXPORT=onnx"], "pip install"),
        (["--only", "02"], "run 'elpv-smoke'"),
        (["--from", "06"], "01_data_split"),
    ],
)
def test_what_is_wrong_or_missing_is_named_before_a_run_is_started(
    home, tmp_path, monkeypatch, capsys, arguments, culprit
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parts").mkdir()
    for cell in ("a/x", "b/x"):
        files.save_json(tmp_path / f"{cell}.json", genotypes.to_json(genotypes.PUBLISHED["PDARTS"]))
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "onnx" else found(n))
    assert _main("--preset", "smoke", *arguments) == 1
    assert culprit in capsys.readouterr().err
    assert not paths.runs_root().exists()


@pytest.mark.parametrize(
    ("option", "value", "started"), [("preset", "smoke", "full"), ("dataset", "chips", "elpv")]
)
def test_later_notebooks_take_the_preset_and_data_set_of_the_run_alone(
    home, option, value, started
):
    _start("x", "full")
    with pytest.raises(SettingsError, match=f"--{option} {started}"):
        _plan("--name", "x", "--only", "03", f"--{option}", value)
    assert _plan("--name", "x", "--only", "03", f"--{option}", started).preset == "full"
    _start("x", "smoke", f"folder:{paths.home()}")
    kept = _plan("--name", "x")  # 01 alone can take another, and does if it is asked for
    assert (kept.preset, kept.parameters["01_data_split"]["DATASET"][:7]) == ("smoke", "folder:")
    assert _plan("--name", "x", "--preset", "full").preset == "full"


def test_outside_a_clone_everything_is_written_below_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.delenv(paths.HOME_VARIABLE, raising=False)
    assert paths.home() == paths.working_folder() == paths.project_root()
    monkeypatch.setattr(paths, "project_root", lambda: tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    assert paths.home() == paths.working_folder() == tmp_path
    assert paths.runs_root() == tmp_path / "data" / "runs"


def test_paths_are_those_of_the_user_s_folder(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.save_json(tmp_path / "mine.json", genotypes.to_json(genotypes.PUBLISHED["PDARTS"]))
    cells = 'GENOTYPES=["DARTS_V2", "mine.json", "random"]'
    plan = _plan("--dataset", "folder:parts", "-p", "SPLIT_CSV=s.csv", "-p", cells)
    assert plan.parameters["01_data_split"]["DATASET"] == f"folder:{tmp_path}/parts"
    assert plan.parameters["01_data_split"]["SPLIT_CSV"] == f"{tmp_path}/s.csv"
    given = plan.parameters["05_genotype_retraining"]["GENOTYPES"]
    assert given == ["DARTS_V2", f"{tmp_path}/mine.json", "random"]
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
    a_moment = run._remaining(plan, "03_finetuning", started_s=-799.999)  # 0 would be no limit
    assert a_moment == {"TIME_BUDGET_MIN": 0.001}
    with pytest.raises(kernel.RunOutOfTime, match=r"run --name t -p TIME_BUDGET_MIN=30"):
        run._remaining(plan, "02_features_baselines", started_s=-1000.0)


def test_the_end_shows_what_the_notebooks_found_and_where_everything_is(described, capsys):
    with edit_run(described) as record:
        first = record["stages"]["01_data_split"]
        first["findings"] = [{"what": "AUC of brightness", "estimate": 0.751}]
        first |= {"left_out": ["scratch: 7 images"], "unreadable": ["a.png", "b.png"]}
    files.write_bytes(described.submission, b"")
    run._show_results(described, 65.0, _plan("--name", "t", "--only", "01"))
    out = capsys.readouterr().out
    assert "left out: scratch: 7 images\n" in out and "2 image(s)" in out and "(a.png, ...)" in out
    assert re.search(r"What the notebooks found\n01 +AUC of brightness +75.1 %\n", out)
    assert out.endswith(
        f"submission: {described.submission}\n"
        f"model: {described.root}/checkpoints/net (python -m helpers.predict IMAGE --model t/net)\n"
        f"run folder: {described.root}\ntotal: 65 s\n"
    )
    (described.root / "checkpoints" / "other").mkdir()  # asked for, though it is not the best
    run._show_results(described, 65.0, _plan("--name", "t", "--only", "07", "-p", "MODEL=other"))
    assert f"model: {described.root}/checkpoints/other (" in capsys.readouterr().out


def test_the_split_is_told_after_01_and_the_first_table_after_02(home, monkeypatch, capsys):
    run_paths = paths.RunPaths("x")

    def pretend(source, *_):
        if (stage := source.stem) in run.TABLES:
            frame = pd.DataFrame({"Model": [f"best of {stage[:2]}"], "Valid Acc": ["90.0"]})
            frame[["run", "preset", "backbone"]] = run_paths.name, "quick", "none"
            files.save_csv(run_paths.table(run.TABLES[stage]), frame)
            with edit_run(run_paths) as record:
                started = f"2026-01-01 10:0{len(record.get('stages', {}))}:00"
                record.setdefault("stages", {})[stage] = {"status": "done", "started": started}

    with edit_run(run_paths) as record:
        record["stages"] = {settings.FIRST: {"report": "SPLIT=groups: few", "caveats": "drawn"}}
    monkeypatch.setattr(kernel, "run_notebook", pretend)
    assert _main("--preset", "quick", "--name", "x") == 0
    out = capsys.readouterr().out
    assert re.findall(r"best of (\d+)", out) == ["02", "06"]
    assert re.search(r"01_data_split: done in 0 s\nSPLIT=groups: few\ndrawn\n\[2/", out)
