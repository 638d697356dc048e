"""Kaggle, by a stand-in: a checked submission, the prepared series, and what runs on Kaggle."""

import ast
import importlib.metadata
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from helpers.commands import cli, kaggle
from helpers.core import files, paths
from helpers.core.errors import UserError
from helpers.models import weights
from tests.kaggle_server import KEY, USER, KaggleServer

REF = "tester/good-bad-series"
GOOD = "id,defect_score\nb,0.1\na,0.9\nc,0\n"
CHECK = ["check", "-f", "x.csv"]
PREPARE = ["prepare", "--owner", USER]
FOLDER = Path("data/kaggle/good-bad-series")


def main(arguments):
    return cli.main(["kaggle", *arguments])


@pytest.fixture(scope="module")
def user_home(tmp_path_factory):
    """One home for all tests: the client reads its folder once, when it is imported."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch, user_home, tmp_path, tmp_path_factory):
    """Dummy credentials, an empty home, and no connection but to the loopback address."""
    for name in list(os.environ):
        if name.startswith("KAGGLE") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(user_home))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(user_home / "kaggle"))
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    # where the client notes uploads that it may resume: at the server of an earlier test
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("uploads")))
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    connect = socket.socket.connect

    def only_loopback(self, address):
        assert address[0] in ("127.0.0.1", "::1", "localhost"), f"a test wants to reach {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_loopback)


@pytest.fixture
def server(monkeypatch):
    from kagglesdk.kaggle_env import KaggleEnv, _env_to_endpoint

    monkeypatch.setattr("time.sleep", lambda _: None)
    with KaggleServer() as running:
        monkeypatch.setitem(_env_to_endpoint, KaggleEnv.PROD, running.url)
        yield running


@pytest.fixture
def official(server, monkeypatch, capfd):
    """Return a function that gives a printed command to the official client."""

    def run(line):
        from kaggle import cli as client

        monkeypatch.setattr(sys, "argv", shlex.split(line))
        client.main()
        return capfd.readouterr().out

    return run


def said_by(command, capfd, code=0):
    """Run the command line, which ends with a code; return what it prints, or its error."""
    capfd.readouterr()
    assert main(command) == code
    said = capfd.readouterr()
    return said.err if code else said.out


@pytest.fixture
def csv(tmp_path):
    sample = tmp_path / "data" / "raw" / kaggle.COMPETITION / "sample_submission.csv"
    files.write_bytes(sample, b"id,defect_score\na,0.5\nb,0.5\nc,0.5\n")
    path = tmp_path / "x.csv"
    path.write_text(GOOD)
    return path


def test_a_good_csv_is_answered_by_the_command_that_submits_it(official, server, csv, capfd):
    said = said_by(CHECK, capfd)
    assert server.requests == [] and said.startswith("ok; ")
    assert "0.98765" in official(said.splitlines()[1])
    assert list(server.uploads.values()) == [GOOD.encode()]
    (created,) = server.sent("CreateSubmission")
    assert created["competitionName"] == kaggle.COMPETITION


def test_a_bad_csv_and_a_missing_sample_are_named(csv, capfd):
    csv.write_text("id,defect_score\na,0\nb,0\n")
    assert "'c'" in said_by(CHECK, capfd, code=1)
    csv.write_text(GOOD)
    (sample,) = Path("data").rglob("*.csv")
    sample.rename("sample.csv")
    assert "kaggle competitions download" in said_by(CHECK, capfd, code=1)
    assert main([*CHECK, "--sample", "sample.csv"]) == 0


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Wheels of one byte; ResNet-18's weights are in the cache."""

    def pack(names, folder):
        for name in (kaggle.DISTRIBUTION, *names):
            (folder / f"{name}.whl").write_text("x")

    monkeypatch.setattr(kaggle, "pack", pack)
    (tmp_path / "resnet18.pth").write_bytes(b"weights")
    monkeypatch.setattr(weights, "local_files", lambda backbone: [tmp_path / "resnet18.pth"])


def _prepared():
    """Return the metadata of the notebook, its two cells, and the arguments of helpers.run."""
    metadata = files.load_json(FOLDER / "notebook" / "kernel-metadata.json")
    cells = files.load_json(FOLDER / "notebook" / metadata["code_file"])["cells"]
    install, run = ("".join(cell["source"]) for cell in cells)
    (command,) = (one.value for one in ast.parse(run).body if ast.unparse(one)[:7] == "command")
    return metadata, (install, run), ast.literal_eval(command.elts[-1].value)


def test_the_official_client_takes_both_folders(small, official, server, capfd):
    lines = said_by([*PREPARE, "--dataset", "me/weights"], capfd).splitlines()
    for line in lines:
        if line.startswith("kaggle "):
            official(line)
    wheels = [f"{name}.whl" for name in (kaggle.DISTRIBUTION, *kaggle.BACKBONES)]
    assert sorted(server.datasets[f"{REF}-files"]) == sorted([*wheels, "resnet18.pth"])
    assert server.sent("CreateDataset")[0]["isPrivate"] is True
    (sent,) = server.sent("SaveKernel")
    assert sent["slug"] == REF and sent["newTitle"] == "Good Bad Series"
    assert sent.get("enableInternet", False) is False and sent["enableGpu"] is True
    assert sent["machineShape"] == kaggle.MACHINE and sent["isPrivate"] is True
    assert sent["datasetDataSources"] == [f"{REF}-files", "me/weights"]
    assert sent["competitionDataSources"] == [kaggle.COMPETITION]
    _, (install, run), arguments = _prepared()
    assert f"/kaggle/input/datasets/{REF}-files" in install
    compile(install, "first cell", "exec")
    assert arguments == [*kaggle.DEFAULTS] and "'nexperia-full'" in run


def test_the_run_s_options_come_after_the_defaults_and_are_taken(small):
    given = ["--dataset", "folder:/kaggle/input/my parts", "--name", "mine"]
    given += ["-p", "TIME_BUDGET_MIN=0", "-p", 'GENOTYPES=["/kaggle/input/cell.json", "random"]']
    assert main([*PREPARE, f"--run={shlex.join(given)}"]) == 0
    metadata, (_, run), arguments = _prepared()
    # a time budget that is given leaves the default one out
    assert arguments == [*kaggle.DEFAULTS[:-2], *given] and "'mine'" in run
    assert not metadata["competition_sources"]


def test_elpv_s_images_go_along_and_what_an_earlier_call_has_prepared_is_replaced(small):
    for data, goes_along in (("elpv", True), ("chips", False)):
        assert main([*PREPARE, f"--run=--dataset {data}"]) == 0
        assert (FOLDER / "files" / "elpv-dataset.whl").exists() is goes_along
        assert not _prepared()[0]["competition_sources"]


def test_a_run_of_this_machine_says_nothing_about_one_on_kaggle():
    plan = kaggle.plan_run(["--dataset", "folder:/kaggle/input/csv1"])
    record = {"run": plan.run, "preset": "full", "dataset": "folder:/home/me/csv1", "stages": {}}
    files.save_json(paths.RunPaths(plan.run).run_json, record)
    assert kaggle.plan_run(["--dataset", "folder:/kaggle/input/csv1"]).run == plan.run


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        (["--run=-p SED=1"], "sed"),
        (["--run=-p GENOTYPES=/home/own.json"], "/home/own.json"),
        (["--run=--dataset folder:parts"], "/parts"),
        (["--owner", "Jane Doe"], "jane doe"),
    ],
)
def test_what_cannot_work_is_named_and_nothing_is_written(small, capfd, options, culprit):
    assert culprit in said_by([*PREPARE, *options], capfd, code=1).lower()
    assert not Path("data/kaggle").exists()


@pytest.mark.parametrize(("is_clone", "helpers"), [(True, None), (False, "good-bad-helpers @ x")])
def test_pip_makes_the_wheels_of_the_clone_or_of_what_was_installed(
    monkeypatch, tmp_path, is_clone, helpers
):
    made = []

    def run(command, **_):
        made.append(command)
        said = f"numpy==2.0\n{helpers}\n"
        return subprocess.CompletedProcess(command, int("broken==1" in command), said)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1")
    monkeypatch.setattr(paths, "is_clone", lambda: is_clone)
    kaggle.pack(["elpv-dataset"], tmp_path)
    wanted = ["elpv-dataset==1", helpers or str(paths.project_root())]
    assert made[-1][-4:] == ["-w", str(tmp_path), *wanted]
    with pytest.raises(UserError, match="broken"):
        kaggle.pack(["broken"], tmp_path)


@pytest.mark.parametrize("code", [0, 75, 1])
def test_the_second_cell_shows_the_output_and_fails_with_the_run(small, tmp_path, code):
    stub = f"import sys\nprint(sys.argv[1:], '█', flush=True)\nsys.exit({code})\n"
    files.write_bytes(tmp_path / "helpers" / "run.py", stub.encode())
    files.write_bytes(tmp_path / "submissions" / "mine.csv", b"id,defect_score\na,0.5\n")
    assert main([*PREPARE, "--run=--name mine"]) == 0
    _, (_, run), arguments = _prepared()
    cell = f"import subprocess, sys\nfrom pathlib import Path\n{run}"  # the first cell imports them
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", cell]
    done = subprocess.run(command, capture_output=True, env=environment, cwd=tmp_path, check=False)
    assert done.stdout.decode() == f"{arguments} █\n"
    assert done.returncode == (code == 1) and (b"exit code 1" in done.stderr) == (code == 1)
    assert (tmp_path / "submission.csv").read_bytes() == b"id,defect_score\na,0.5\n"
