"""The doctor's lines in each of their states, the exit code, and no network."""

import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from helpers.commands import doctor
from helpers.core import devices, paths
from helpers.models import weights


def test_packages_are_compared_with_the_declared_versions(monkeypatch):
    assert doctor.packages()[0] == "ok"
    listed = ["timm>=999", "nothere>=1", "torch>=1", "ray>=999; extra == 'ray'"]
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: listed)
    state, text = doctor.packages()
    assert state == doctor.PROBLEM and text.endswith("pip install 'timm>=999' 'nothere>=1'")


def test_without_any_package_the_way_to_install_them_is_shown():
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in sys.stdlib_module_names | {"helpers"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from helpers.commands.cli import start
sys.exit(start("doctor", []))
"""
    command = [sys.executable, "-c", code]
    root = paths.project_root()
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "pip install -r requirements.txt" in done.stdout
    assert done.stdout.endswith("1 problem(s)\n")


@pytest.mark.parametrize(("failure", "state"), [("", "ok"), ("no kernel image", "note")])
def test_the_device_is_named_and_a_gpu_that_does_not_compute(monkeypatch, failure, state):
    monkeypatch.setattr(devices, "gpu_kind", lambda: "cuda" if failure else "")
    monkeypatch.setattr(devices, "failure", lambda kind: failure)
    monkeypatch.setattr(devices, "device_name", lambda device: "CHIP")
    said, text = doctor.device()
    assert said == state and "CHIP" in text and failure in text


def test_weights_are_looked_for_where_the_run_looks(home, monkeypatch):
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(paths, "KAGGLE_INPUT", home / "input")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(home / "hub"))
    assert doctor.weights() == ("ok", "efficientnet_lite0")  # it is in its package
    file = home / "input" / "models" / "resnet18.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    assert doctor.weights() == ("ok", "resnet18, efficientnet_lite0")
    monkeypatch.setattr(weights, "local_files", lambda name: [])
    assert doctor.weights()[0] == "note"  # a download may work


@pytest.mark.parametrize(("memory_gb", "disk_gb"), [(1.9, 10), (10, 1.9), (10, 10)])
def test_a_run_needs_memory_and_disk(home, monkeypatch, memory_gb, disk_gb):
    room = SimpleNamespace(free=disk_gb * 1e9, available=memory_gb * 1e9)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: room)
    monkeypatch.setattr("psutil.virtual_memory", lambda: room)
    assert doctor.space()[0] == ("ok" if memory_gb == disk_gb else "note")
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    state, text = doctor.space()
    assert state == doctor.PROBLEM and paths.HOME_VARIABLE in text


def test_a_machine_that_can_do_the_run_is_ready(home, monkeypatch, capsys):
    monkeypatch.setattr(socket.socket, "connect", None)
    monkeypatch.setattr(socket, "getaddrinfo", None)
    assert doctor.main([]) == 0
    out = capsys.readouterr().out
    assert out.endswith("\nready\n")
    names = " ".join(line.split()[1] for line in out.splitlines()[:-2])
    assert names == "packages space device weights"
