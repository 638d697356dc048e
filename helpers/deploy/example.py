"""Write the example beside an exported model; it needs only the runtime, Pillow and NumPy.

How it reads an image is this package's own code, so that both read the same pixels, and refuse the
same files.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from helpers.datasets import cache

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
    "CAMERA_BITS",
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
)
_PROGRAM = '''\
"""Score images: python example.py part.png ...

It needs PACKAGE, pillow and numpy.
"""

from __future__ import annotations

import contextlib
import csv
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
            picture = read_image(Path(file), facts["full_scale_bits"] or 8)
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


def example_of(to: str) -> str:
    """Return the program that scores image files with a model exported to the format `to`."""
    package, load, call = RUNTIMES[to]
    constants = [f"{name} = {getattr(cache, name)!r}" for name in CONSTANTS]
    constants.append("DECODE_ERRORS = (Exception,)")
    sources = ["\n".join(constants), *[inspect.getsource(function) for function in FUNCTIONS]]
    program = _PROGRAM
    parts = {
        "PACKAGE": package,
        "LOAD": load,
        "CALL": call,
        "DECODING": "\n\n\n".join(sources).strip(),
    }
    for name, text in parts.items():
        program = program.replace(name, text)
    return program
