"""The command that exports a model: what it writes, its check, and its errors."""

import pytest

from helpers.commands import cli
from helpers.core import files
from helpers.deploy import export
from helpers.deploy.description import NAME


def test_a_model_is_written_and_checked_on_images(described_run, described, tmp_path, capsys):
    pytest.importorskip("openvino", reason="OpenVINO is optional")
    images = sorted(map(str, (described_run / "parts" / "bad").iterdir()))[:3]
    images += ["gone.png", str(tmp_path)]  # these cannot be compared
    out = tmp_path / "line"
    arguments = ["--model", "t", "--to", "openvino", "--out", str(out), "--check", *images]
    assert cli.start("export", arguments) == 1
    said, told = capsys.readouterr()
    assert f"{out}: example.py, model.bin, model.json, model.xml\n" in said
    assert "largest difference of 3 scores: " in said and "2 of the images" in told
    assert files.load_json(out / NAME)["format"] == "openvino"
    assert cli.start("export", arguments) == 1
    assert "line exists already: give a new folder" in capsys.readouterr().err


def test_scores_of_another_precision_are_told(described, tmp_path, monkeypatch, capsys):
    path = described.trainings("net") / NAME
    files.save_json(path, files.load_json(path) | {"precision": "bf16"})
    monkeypatch.setattr(export, "_write", lambda *given: given[3].write_text(""))
    assert (
        cli.start("export", ["--model", "t", "--to", "torch", "--out", str(tmp_path / "line")]) == 0
    )
    assert "were computed in bf16; the export computes in float32" in capsys.readouterr().out
