"""The command line: everything that can be checked is checked before a notebook starts."""

import importlib.util

import pytest

from helpers.commands import cli, kernel, run
from helpers.core import files, paths
from helpers.core.rules import SettingsError
from helpers.darts import genotypes
from helpers.runs import settings


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
        (["-p", "DATASET=x"], "--dataset"),
        (["-p", "RUN=x"], "--name"),
        (["-p", "BACKBONE=resnet81"], "'resnet81'"),
        (["--only", "9"], "'9'"),
        (["--name", "../x"], "RUN='../x'"),
        (["--dataset", "parts"], "DATASET='parts'"),
        (["-p", 'GENOTYPES=["a/x.json", "b/x.json"]'], "'cell_x'"),
        (["-p", "GENOTYPES=random", "-p", "RANDOM_CELLS=0"], "RANDOM_CELLS=0"),
        (["--dataset", "folder:/not/there"], "/not/there"),
        (["-p", "WEIGHTS=/no.pth"], "WEIGHTS='/no.pth'"),
        (["-p", "WEIGHTS=random", "-p", "BACKBONE=convnext_atto", "-p", "IMAGE_SIZE_PX=16"], "16"),
        (["-p", "SPLIT_CSV=/no.csv"], "SPLIT_CSV='/no.csv'"),
        (["-p", "FOLDER=/no"], "FOLDER='/no'"),
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
