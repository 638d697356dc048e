"""Export a trained model as one file that OpenVINO, ONNX Runtime or torch run without this package.

The exported network takes the RGB pixels of images that have been resized, and gives score,
probability of bad and verdict: normalisation, symmetries, softmax, the mean over the trainings,
temperature and thresholds are inside. example.py beside it needs only the runtime, Pillow and
NumPy; it reads images with a copy of this package's code, so that both read the same pixels.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import io
import math
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

import pandas as pd
import torch
from torch import Tensor, nn

from helpers.core import files
from helpers.core.errors import UserError
from helpers.datasets import cache, region
from helpers.decisions.calibration import NEAREST_TO_CERTAIN
from helpers.deploy.description import NAME, VERDICTS
from helpers.deploy.predictor import Opened, TrainedModel
from helpers.models.compiled import import_openvino
from helpers.models.spec import Network
from helpers.training.batches import normalise, symmetry

Format = Literal["openvino", "onnx", "torch"]
FORMATS: tuple[Format, ...] = get_args(Format)
FILES = {"openvino": "model.xml", "onnx": "model.onnx", "torch": "model.pt2"}
NEEDED = {"openvino": ("openvino",), "onnx": ("onnx", "onnxscript"), "torch": ()}
TOLERANCE = 1e-4  # of scores, between an exported model and this package
# by format: the package to import, how to load the model, and how to get its three outputs
RUNTIMES = {
    "openvino": (
        "openvino",
        """options = {"INFERENCE_PRECISION_HINT": "f32"}  # bf16 would change the scores
network = openvino.Core().compile_model(folder / facts["file"], "CPU", options)""",
        "network(pixels).to_tuple()",
    ),
    "onnx": (
        "onnxruntime",
        """providers = ["CPUExecutionProvider"]
network = onnxruntime.InferenceSession(folder / facts["file"], providers=providers)""",
        'network.run(None, {"pixels": pixels})',
    ),
    "torch": (
        "torch",
        """# torch's format can run code when it is loaded: load only files that you trust
network = torch.export.load(folder / facts["file"]).module()""",
        "network(torch.from_numpy(pixels))",
    ),
}
CONSTANTS = [
    *("FORMATS", "BITS_PER_SAMPLE", "PHOTOMETRIC", "WHITE_IS_ZERO", "WAY_OUT"),
    *("CAMERA_BITS", "MASK"),
]
FUNCTIONS: tuple[Callable, ...] = (
    cache.BitsFound,
    cache.Picture,
    cache.bits_for,
    cache.read_image,
    cache.picture_of,
    cache._opened,
    cache.refuse_what_pillow_changes,
    cache._is_deep,
    cache.resize,
    region.marked_by,
    region.window,
    region.cut,
)
_PROGRAM = '''\
"""Score images: python example.py part.png ...

It needs PACKAGE, pillow and numpy.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import functools
import io
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PACKAGE
from PIL import Image, ImageOps

folder = Path(__file__).parent
facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
LOAD


def main():
    table = csv.writer(sys.stdout)
    table.writerow(["file", "score", "probability", "verdict"])
    for file in sys.argv[1:]:
        try:
            picture = read_image(Path(file), facts["full_scale_bits"] or 8, facts["region"])
        except Exception as error:  # a damaged file raises one of many kinds
            table.writerow([file, "", "", f"cannot be read: {error}"])
            continue
        image = resize(picture.pixels, facts["image_size_px"], facts["fit"])
        colour = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
        pixels = np.ascontiguousarray(colour[None])
        outputs = CALL
        score, probability, verdict = (value[0].item() for value in outputs)
        row = [file, f"{score:.9g}", f"{probability:.9g}", facts["verdicts"][verdict]]
        table.writerow(row)


# how the images of the training were read

DECODING


if __name__ == "__main__":
    main()
'''


class ExportError(UserError):
    """A model cannot be exported; the message names the culprit and the way out."""


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


def check_format(to: Format) -> None:
    """Raise ExportError if a package that the format needs is not installed."""
    for package in NEEDED[to]:
        if importlib.util.find_spec(package) is None:
            packages = [*NEEDED[to], *(["onnxruntime"] if to == "onnx" else [])]  # to run it too
            raise ExportError(
                f"the format {to} needs the package {package}: pip install {' '.join(packages)}, "
                "or take the format torch"
            )


def export_model(opened: Opened, to: Format, out: Path) -> None:
    """Write network, model.json and example.py into the new folder `out`, all or nothing.

    Raises:
        ExportError: `out` exists, a package or the thresholds are missing, or conversion fails.
        ArtifactError: the folder cannot be written.
    """
    check_format(to)
    if opened.description is None:
        raise ExportError(opened.remark)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ExportError(f"--out {out} exists already: give a new folder")
    description = opened.description
    thresholds = description.pass_below, description.reject_from
    temperature = description.temperature or math.nan  # then there is no probability
    network = ExportedNetwork(opened.models, description.views, temperature, thresholds).eval()
    shape = (description.image_size_px, description.image_size_px, 3)
    facts = dataclasses.asdict(description) | {
        "format": to,
        "file": FILES[to],
        "input": f"pixels: uint8 (N, {', '.join(map(str, shape))})",
        "outputs": "score, probability: float32 (N,); verdict: int32 (N,), a place in verdicts",
        "verdicts": VERDICTS,
    }
    with files.atomic_folder(out) as partial:
        try:
            _write(network, shape, to, partial / FILES[to])
        except Exception as error:  # each converter has its own
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            others = " or ".join(f"--to {name}" for name in FORMATS if name != to)
            raise ExportError(
                f"{description.title} cannot be written for {to} ({reason}): try {others}"
            ) from error
        (partial / "example.py").write_text(example_of(to), encoding="utf-8")
        files.save_json(partial / NAME, facts)


def _write(network: ExportedNetwork, shape: Sequence[int], to: Format, path: Path) -> None:
    example = torch.zeros(2, *shape, dtype=torch.uint8)  # one image would make N a constant
    with warnings.catch_warnings(), torch.no_grad():  # of tracing: sizes are constant, as intended
        warnings.simplefilter("ignore")
        if to == "openvino":
            openvino = import_openvino()
            model = openvino.convert_model(network, example_input=example, input=[-1, *shape])
            openvino.save_model(model, path, compress_to_fp16=False)
            return
        number = {"images": {0: torch.export.Dim("images", min=1)}}
        program = torch.export.export(network, (example,), dynamic_shapes=number)
        if to == "torch":
            torch.export.save(program, path)
            return
        torch.onnx.export(
            program,
            f=path,
            input_names=["pixels"],
            output_names=["score", "probability", "verdict"],
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def example_of(to: str) -> str:
    """Return the program that scores image files with a model exported to the format `to`."""
    package, load, call = RUNTIMES[to]
    constants = [f"{name} = {getattr(cache, name, region.MASK)!r}" for name in CONSTANTS]
    sources = ["\n".join(constants), *[inspect.getsource(function) for function in FUNCTIONS]]
    program = _PROGRAM.replace("PACKAGE", package).replace("LOAD", load).replace("CALL", call)
    return program.replace("DECODING", "\n\n\n".join(sources).strip())


def check_exported(folder: Path, images: Sequence[str], opened: Opened) -> tuple[int, float]:
    """Compare what an export's example.py answers, in a process of its own, with this package.

    The package computes in float32, as the export does. Return the number of images that both can
    read, and the largest difference of their scores and probabilities.

    Raises:
        ExportError: the example fails, only one of both reads an image, or none can be read. Or a
            difference is above `TOLERANCE` or a verdict wrong for its score: the folder is removed.
    """
    command = [sys.executable, str(folder / "example.py"), *images]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ExportError(f"{folder / 'example.py'} stopped: {lines[-1]}")
    exported = pd.read_csv(io.StringIO(done.stdout))
    facts = dataclasses.replace(opened.facts, precision="no")
    expected = TrainedModel(opened._replace(facts=facts), torch.device("cpu")).predict(images)
    is_read = expected.score.notna()
    if (by_one := exported.score.notna() != is_read).any():
        raise ExportError(
            f"only the export or only this package reads {expected.file[by_one].iloc[0]}"
        )
    if not is_read.any():
        raise ExportError(f"{folder} is not checked: no image can be read ({expected.reason[0]})")
    exported, expected = exported[is_read], expected[is_read]
    columns = ["score", "probability"]
    difference = float((exported[columns] - expected[columns]).abs().max(axis=None))
    description = opened.description
    assert description  # without thresholds nothing was exported
    wrong = exported.verdict.to_numpy() != description.verdicts(exported.score)
    # a score at a threshold may be rounded to its other side
    low, high = (description.verdicts(exported.score + d) for d in (-TOLERANCE, TOLERANCE))
    if difference > TOLERANCE or (wrong & (low == high)).any():
        shutil.rmtree(folder)
        raise ExportError(
            f"the exported model gives other scores (by up to {difference:.1e}) or verdicts: "
            f"{folder} is removed"
        )
    return len(exported), difference
