"""The command that exports a model: what it writes, its check, and its errors."""

import pytest

from helpers.commands import cli
from helpers.core import files
from helpers.deploy import export
from helpers.deploy.description import NAME


def test_a_model_is_written_and_checked_on_images(described_run, described, tmp_path, capsys):
    for package in export.NEEDED:
        pytest.importorskip(package, reason=f"an export needs {package}")
    images = sorted(map(str, (described_run / "parts" / "bad").iterdir()))[:3]
    images += ["gone.png", str(tmp_path)]  # these cannot be compared
    out, path = tmp_path / "line", described.trainings("net") / NAME
    files.save_json(path, files.load_json(path) | {"precision": "bf16"})
    arguments = ["--model", "t", "--out", str(out), "--check", *images]
    assert cli.start("export", arguments) == 1
    said, told = capsys.readouterr()
    assert f"{out}: decoding.py, example.py, measures.py, model.json, model.onnx\n" in said
    assert "chosen in bf16" in said
    assert "largest difference of 3 scores: " in said and "2 of the images" in told
    assert cli.start("export", arguments) == 1
    assert "line exists already: give a new folder" in capsys.readouterr().err
