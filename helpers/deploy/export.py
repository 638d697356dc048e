"""Export a trained model as an ONNX file, which ONNX Runtime and OpenVINO run without this package.

Normalisation, symmetries, softmax, the mean over the trainings, temperature and thresholds are
inside. The metadata of the file repeat model.json. example.py beside it needs only onnxruntime,
Pillow and NumPy; it reads and measures images with copies of this package's decoding.py and
measures.py, so that both see the same pixels and give the same warnings.
"""

import dataclasses
import importlib.util
import io
import math
import shutil
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

import helpers
from helpers.core import files
from helpers.core.errors import UserError
from helpers.datasets import decoding
from helpers.decisions.decision import NEAREST_TO_CERTAIN
from helpers.deploy import measures
from helpers.deploy.description import NAME, VERDICTS
from helpers.deploy.predictor import Opened, TrainedModel
from helpers.models.backbones import Network
from helpers.training.batches import normalise, symmetry

FILE = "model.onnx"
NEEDED = ("onnx", "onnxscript", "onnxruntime")  # the last one runs the example
TOLERANCE = 1e-4  # of scores, between an exported model and this package


class ExportedNetwork(nn.Module):
    """Map pixels (N, S, S, 3) uint8 to scores and probabilities (N,) float32, verdicts (N,) int32.

    A verdict is an index of `VERDICTS`: 0 to pass (the score is below the first threshold), 2 to
    reject (it reaches the second threshold, or is NaN).
    """

    def __init__(
        self,
        models: Sequence[Network],
        views: int,
        temperature: float,
        thresholds: tuple[float, float],
    ) -> None:
        super().__init__()
        self.spec = models[0].spec
        self.models = nn.ModuleList(model.eval().requires_grad_(False) for model in models)
        self.views, self.temperature, self.thresholds = views, temperature, thresholds

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mean scores over networks and views, their probabilities and verdicts."""
        x = normalise(images.permute(0, 3, 1, 2).float() / 255, self.spec)
        x = torch.cat([symmetry(x, k) for k in range(self.views)])
        each = [model(x).softmax(dim=1).unflatten(0, (self.views, -1)) for model in self.models]
        classes = torch.cat(each).mean(dim=0)  # (N, K)
        bad, good = classes[:, 1:].sum(dim=1), classes[:, 0]
        # Both are exact near 0. The logit of a score near 1 would be rounded in float32.
        logit = bad.clamp(min=NEAREST_TO_CERTAIN).log() - good.clamp(min=NEAREST_TO_CERTAIN).log()
        pass_below, reject_from = self.thresholds
        verdict = len(VERDICTS) - 1 - (bad < pass_below).int() - (bad < reject_from).int()
        return bad, torch.sigmoid(logit / self.temperature), verdict


def check_packages() -> None:
    """Raise UserError if a package that an export needs is not installed."""
    if lacking := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        way_out = f"pip install {' '.join(NEEDED)}"
        raise UserError(f"an export needs the package {lacking[0]}: {way_out}")


def export_model(opened: Opened, out: Path) -> None:
    """Write network, model.json and example.py into the new folder `out`, all or nothing."""
    check_packages()
    if opened.description is None:
        raise UserError(opened.remark)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"--out {out} exists already: give a new folder")
    description = opened.description
    thresholds = description.pass_below, description.reject_from
    temperature = description.temperature or math.nan  # then there is no probability
    network = ExportedNetwork(opened.models, description.views, temperature, thresholds).eval()
    shape = (description.image_size_px, description.image_size_px, 3)
    facts = dataclasses.asdict(description) | {
        "file": FILE,
        "input": f"pixels: uint8 (N, {', '.join(map(str, shape))})",
        "outputs": "score, probability: float32 (N,); verdict: int32 (N,), a place in verdicts",
        "verdicts": VERDICTS,
        "version": helpers.__version__,
    }
    with files.atomic_folder(out) as partial:
        try:
            _write(network, shape, partial / FILE, facts)
        except Exception as error:  # torch and onnxscript raise many kinds
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"{description.title} cannot be exported: {reason}") from error
        copied = {Path(str(module.__file__)): module.__name__ for module in (decoding, measures)}
        for program in (Path(__file__).with_name("example.py"), *copied):
            text = program.read_text(encoding="utf-8")
            for file, name in copied.items():
                text = text.replace(name, file.stem)
            (partial / program.name).write_text(text, encoding="utf-8")
        files.save_json(partial / NAME, facts)


def _write(
    network: ExportedNetwork, shape: Sequence[int], path: Path, facts: dict[str, object]
) -> None:
    pixels = torch.zeros(2, *shape, dtype=torch.uint8)  # one image would make N a constant
    with warnings.catch_warnings(), torch.no_grad():  # of tracing: sizes are constant, as intended
        warnings.simplefilter("ignore")
        number = {"images": {0: torch.export.Dim("images", min=1)}}
        program = torch.onnx.export(
            torch.export.export(network, (pixels,), dynamic_shapes=number),
            input_names=["pixels"],
            output_names=["score", "probability", "verdict"],
            dynamo=True,
            verbose=False,
        )
    assert program  # as it is not written yet
    program.model.metadata_props.update({name: str(value) for name, value in facts.items()})
    program.save(path, external_data=False)


def check_exported(folder: Path, images: Sequence[str], opened: Opened) -> tuple[int, float]:
    """Compare the answers of an export's example.py, in a process of its own, with this package's.

    The package computes in float32, as the export does. Return the number of images that both can
    read, and the largest difference of their scores and probabilities. If this is above `TOLERANCE`
    or a verdict is wrong for its score, the folder is removed.
    """
    command = [sys.executable, str(folder / "example.py"), *images]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    exported = pd.read_csv(io.StringIO(done.stdout or "file"), dtype={"warning": str})
    if len(exported) != len(images):  # its exit code tells of images
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"{folder / 'example.py'} stopped: {lines[-1]}")
    facts, description = dataclasses.replace(opened.facts, precision="no"), opened.description
    expected = TrainedModel(opened._replace(facts=facts), torch.device("cpu")).predict(images)
    is_read = expected.score.notna()
    if (by_one := exported.score.notna() != is_read).any():
        which = expected.file[by_one].iloc[0]
        raise UserError(f"only the export or only this package reads {which}")
    if not is_read.any():
        raise UserError(f"{folder} is not checked: no image can be read ({expected.reason[0]})")
    columns = ["score", "probability"]
    difference = float((exported[columns] - expected[columns]).abs().max(axis=None))
    assert description  # without thresholds nothing was exported
    # a score at a threshold may be rounded to its other side
    edges = (-TOLERANCE, 0, TOLERANCE)
    near = [description.verdicts(exported.score + d, expected.warning) for d in edges]
    right = np.any([exported.verdict == verdicts for verdicts in near], axis=0)
    wrong = is_read & ~(right & (exported.warning.fillna("") == expected.warning))
    if difference > TOLERANCE or wrong.any():
        shutil.rmtree(folder)
        raise UserError(
            f"the exported model gives other scores (by up to {difference:.1e}), verdicts or "
            f"warnings: {folder} is removed"
        )
    return int(is_read.sum()), difference
