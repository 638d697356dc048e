"""An exported network gives this package's scores, without this package."""

import base64
import dataclasses
import io
import itertools
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import helpers
from helpers.commands.predict import NOT_PASSED, UNREADABLE
from helpers.core import files
from helpers.core.errors import UserError
from helpers.datasets import decoding
from helpers.decisions import lot_offset
from helpers.decisions.decision import apply_temperature
from helpers.deploy import export, predictor
from helpers.deploy.description import NAME, sealed
from helpers.deploy.measures import counted
from helpers.models import backbones
from helpers.training.patchcore import MemoryBank, network_of, patch_features
from tests.datasets.test_cache import TURNED
from tests.datasets.test_decoding import deep_noise, write_deep_png
from tests.deploy_run import save_described, small_models

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, export.NEEDED)), reason=f"an export needs {', '.join(export.NEEDED)}"
)
# as a user's process: `helpers` cannot be imported
ALONE = (
    "import runpy, sys; sys.modules['helpers'] = None; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module('example', run_name='__main__', alter_sys=False)"
)


def test_probabilities_of_sure_scores_are_not_rounded_and_what_is_no_number_is_rejected():
    (model,) = small_models(1)
    model.head.weight.data.zero_()
    images = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    for logit in (-30.0, 20.0, 30.0):
        model.head.bias.data = torch.tensor([0.0, logit])
        with torch.no_grad():
            _, probability, _ = export.ExportedNetwork([model], 1, 10.0, (0.5, 0.5))(images)
        score = torch.tensor([0.0, logit], dtype=torch.float64).softmax(0)[1:].numpy()
        np.testing.assert_allclose(probability, apply_temperature(score, 10.0), rtol=1e-3)
    model.head.bias.data.fill_(torch.nan)
    assert export.ExportedNetwork([model], 1, 1.0, (0.5, 0.5))(images)[2].tolist() == [2]


buffer = io.BytesIO()
Image.fromarray(np.tri(20, dtype=bool)).save(buffer, "PNG")
MASK_OF_3 = decoding.MASK + base64.b64encode(buffer.getvalue()).decode()
CASES = [
    ("derived", 1, 1.7, {"full_scale_bits": 10}),
    ("cnn", 3, None, {"fit": "pad", "views": 1}),
    ("cnn", 3, 1.7, {"mask": MASK_OF_3}),  # the others have another size
]


def write_images(folder):
    """Write images of several kinds; the names of those that no reader accepts start with x."""
    rng = np.random.default_rng(0)
    shapes = [(32, 32), (40, 90, 3), (70, 33, 4), (20, 20, 2)]  # gray, colour, both transparent
    for number, shape in enumerate(shapes):
        values = rng.integers(0, 256 // (1 + number), shape, dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{number}.png")
    Image.fromarray(values[:9, :, 0].copy()).save(folder / "turned.tif", exif=TURNED)
    Image.fromarray(rng.integers(0, 1024, (30, 50), dtype=np.uint16)).save(folder / "deep.png")
    Image.fromarray(np.full((9, 9), 4999, np.uint16)).save(folder / "x_bright.png")
    write_deep_png(folder / "x_colour16.png", deep_noise(9, 9, 3))
    (folder / "x_damaged.png").write_bytes((folder / "1.png").read_bytes()[:99])
    return sorted(map(str, folder.glob("*.*")))


@pytest.mark.parametrize(("kind", "channels", "temperature", "facts"), CASES)
def test_the_example_reads_and_scores_images_alone_as_the_package_does(
    tmp_path, kind, channels, temperature, facts
):
    import onnx

    opened = save_described(tmp_path / "net", small_models(2, kind, channels), **facts)
    between = {"pass_below": 0.487, "reject_from": 0.492}  # scores of the images
    about = sealed(dataclasses.replace(opened.description, temperature=temperature, **between))
    opened = opened._replace(description=about)
    (tmp_path / "images").mkdir()
    images = write_images(tmp_path / "images")
    export.export_model(opened, tmp_path / "line")
    command = [sys.executable, "-c", ALONE, str(tmp_path / "line")]
    asked = [*images, "gone.png"]
    done = subprocess.run([*command, *asked], capture_output=True, text=True, check=False)
    assert done.returncode == UNREADABLE, done.stderr
    assert "nan" not in done.stdout  # also if there are no probabilities
    found = pd.read_csv(io.StringIO(done.stdout))
    expected = predictor.TrainedModel(opened).predict(asked)
    columns = ["score", "probability"]
    np.testing.assert_allclose(found[columns], expected[columns], rtol=0, atol=1e-5)
    is_read = expected.score.notna()
    refused = {os.path.basename(file)[0] for file in expected.file[~is_read]}
    if "mask" in facts:
        assert is_read.sum() == 1
    else:
        assert is_read.sum() == 5 + ("full_scale_bits" in facts) and refused <= {"x", "g", "d"}
        assert np.ptp(expected.score[is_read]) > 1e-3
    assert found.verdict[is_read].tolist() == expected.verdict[is_read].tolist()
    assert found.verdict[~is_read].str.startswith("cannot be read: ").all()
    assert found.warning.fillna("").tolist() == expected.warning.tolist()
    assert done.stderr == f"{counted(expected.warning[is_read])}\n" and expected.warning.any()
    assert found.file.tolist() == asked
    assert dataclasses.asdict(about).items() <= files.load_json(tmp_path / "line" / NAME).items()
    told = onnx.load(tmp_path / "line" / export.FILE).metadata_props
    told = {entry.key: entry.value for entry in told}
    assert (float(told["pass_below"]), told["seal"]) == (about.pass_below, about.digest)
    assert (told["image_size_px"], told["version"]) == ("32", helpers.__version__)
    if temperature and "mask" not in facts:  # labelled parts of the lot have moved its scores
        readable = expected[is_read]
        asked = [*command, "--shift", "0.02", *readable.file]
        moved = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
        moved = pd.read_csv(io.StringIO(moved))
        score = lot_offset.moved(readable.score, np.full(len(readable), 0.02))
        probability = apply_temperature(score, temperature)
        np.testing.assert_allclose(moved[columns], np.transpose([score, probability]), atol=1e-5)
        after = about.verdicts(score, readable.warning)
        kept = np.where(after == readable.verdict, after, "look again")
        assert moved.verdict.tolist() == kept.tolist()
    for verdict, code in (("pass", 0), ("look again|reject", NOT_PASSED)):
        some = expected.file[expected.verdict.str.fullmatch(verdict)]
        done = subprocess.run([*command, *some], check=False)
        assert done.returncode == code * (len(some) > 0)


def test_patchcore_is_exported_for_any_number_of_images(tmp_path):
    import onnxruntime

    backbone = backbones.build(backbones.spec_of("test_resnet", 2, 64)).eval()
    pixels = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        features = patch_features(backbone, torch.randn(1, 3, 64, 64))
        bank = MemoryBank(features.flatten(2)[0].t()[:64], usual=3.0)
        own = export.ExportedNetwork([network_of(backbone, bank)], 1, 1.0, (0.5, 0.5)).eval()
        export._write(own, (64, 64, 3), tmp_path / "model.onnx", {})
        again = onnxruntime.InferenceSession(tmp_path / "model.onnx")
        runs = [lambda images: again.run(None, {"pixels": images})]
        if find_spec("openvino"):  # reads the same file
            import openvino

            precise = {"INFERENCE_PRECISION_HINT": "f32"}
            network = openvino.Core().compile_model(tmp_path / "model.onnx", "CPU", precise)
            runs.append(lambda images: network(images).to_tuple())
        for run, count in itertools.product(runs, (1, 3)):
            images = pixels[:count]
            for found, expected in zip(run(images.numpy()), own(images), strict=True):
                np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_the_check_runs_the_example_and_counts_what_both_read(tmp_path):
    opened, line = save_described(tmp_path / "net", small_models()), tmp_path / "line"
    Image.fromarray(np.full((20, 20), 99, np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    pair = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    answer = predictor.TrainedModel(opened).predict(pair[0])
    score, probability, verdict, warning = answer.iloc[0, 1:5]
    assert warning == ""

    def check(*rows, images=pair):
        text = "\\n".join(["file,score,probability,verdict,warning", *rows])
        line.mkdir(exist_ok=True)
        (line / "example.py").write_text(f"print('{text}')")
        return export.check_exported(line, images, opened)

    right, unread = f"a,{score},{probability},{verdict},", "b,,,cannot be read,"
    compared, difference = check(right, unread)
    assert compared == 1 and difference < 1e-6
    other = "pass" if verdict == "reject" else "reject"
    for rows, images, culprit in (
        ((f"a,{score + 0.25},{probability},{verdict},", unread), pair, "line is removed"),
        ((f"a,{score},{probability},{other},", unread), pair, "line is removed"),
        ((f"{right}darker", unread), pair, "line is removed"),
        ((right, right), pair, "b.png"),
        ((right,), pair, r"example\.py stopped"),
        ((unread,), pair[1:], "not checked"),
    ):
        with pytest.raises(UserError, match=culprit):
            check(*rows, images=images)
        assert line.exists() == ("removed" not in culprit)


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    opened = save_described(tmp_path / "net", small_models(1))
    out = tmp_path / "line"
    with pytest.raises(UserError, match="no verdicts"):
        export.export_model(opened._replace(description=None, remark="no verdicts"), out)
    with monkeypatch.context() as patch:
        patch.setattr(export.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(UserError, match="package onnx: pip install"):
            export.export_model(opened, out)
    monkeypatch.setattr(export, "_write", lambda *given: given[2].write_text("half") and 1 / 0)
    with pytest.raises(UserError, match=r"cannot be exported: division by zero"):
        export.export_model(opened, out)
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
