"""The example beside an exported model: it needs the runtime, Pillow and NumPy alone."""

from __future__ import annotations

from helpers.deploy.description import Description

# of each format: the package to import, how the model is loaded, and what gives its two outputs
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
        'network = torch.export.load(folder / facts["file"]).module()',
        "network(torch.from_numpy(pixels))",
    ),
}
_START = '''\
"""Score images: python example.py part.png ...

It needs {package}, pillow and numpy.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import {package}
from PIL import Image, ImageOps

folder = Path(__file__).parent
facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
size = facts["image_size_px"]
{load}
table = csv.writer(sys.stdout)
table.writerow(["file", "score", "probability", "verdict"])
for file in sys.argv[1:]:
    image = ImageOps.exif_transpose(Image.open(file))
'''
_DEEP = """\
    if image.mode.startswith("I"):  # more than 8 bits
        values = np.asarray(image) * (255 / (2 ** facts["full_scale_bits"] - 1))
        if values.max() > 255:
            sys.exit(f"{file}: brighter than the images of the training")
        image = Image.fromarray(values.round().astype(np.uint8))
"""
_MODE = """\
    if image.mode not in ("1", "L", "P", "RGB") or image.has_transparency_data:
        sys.exit(f"{{file}}: neither gray nor RGB")
    image = image.convert("{mode}")
"""
_SQUASH = """\
    pixels = np.array(image.resize((size, size), Image.Resampling.BILINEAR))
"""
_PAD = """\
    whole, scale = np.asarray(image), size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    edge = np.concatenate([whole[0], whole[-1], whole[:, 0], whole[:, -1]])
    pixels = np.empty((size, size, *whole.shape[2:]), np.uint8)
    pixels[:] = edge.mean(axis=0).round()
    left, top = (size - width) // 2, (size - height) // 2
    small = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels[top : top + height, left : left + width] = np.asarray(small)
"""
_END = """\
    pixels = pixels.reshape(1, size, size, facts["channels"])
    score, probability = (float(value[0]) for value in {call})
    verdict = "pass" if score < facts["pass_below"] else "look again"
    verdict = "reject" if score >= facts["reject_from"] else verdict
    table.writerow([file, f"{{score:.9g}}", f"{{probability:.9g}}", verdict])
"""


def example_of(description: Description, to: str) -> str:
    """Return the program that scores image files with a model exported to the format `to`."""
    package, load, call = RUNTIMES[to]
    parts = [
        _START.replace("{package}", package).replace("{load}", load),
        _DEEP if description.full_scale_bits else "",
        _MODE.format(mode="L" if description.channels == 1 else "RGB"),
        _PAD if description.fit == "pad" else _SQUASH,
        _END.format(call=call),
    ]
    return "".join(parts)
