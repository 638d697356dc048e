"""Write the example beside an exported model; it needs only the runtime, Pillow and NumPy."""

from __future__ import annotations

from helpers.deploy.description import Description

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
_PROGRAM = '''\
"""Score images: python example.py part.png ...

It needs PACKAGE, pillow and numpy.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import PACKAGE
from PIL import Image, ImageOps

folder = Path(__file__).parent
facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
size, full = facts["image_size_px"], 2 ** (facts["full_scale_bits"] or 8) - 1
LOAD
table = csv.writer(sys.stdout)
table.writerow(["file", "score", "probability", "verdict"])
for file in sys.argv[1:]:
    try:
        with open(file, "rb") as stream:  # by its path Pillow misreads turned TIFF files
            image = Image.open(stream)
            image.load()
    except Exception as error:  # a damaged file raises one of many kinds
        table.writerow([file, "", "", f"cannot be read: {error}"])
        continue
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):  # more than 8 bits
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= full):  # or NaN
            table.writerow([file, "", "", "outside the range of the training's images"])
            continue
        image = Image.fromarray((values * (255 / full)).round().astype(np.uint8))
    if image.has_transparency_data:  # on white
        above, image = image.convert("RGBA"), Image.new("RGB", image.size, "white")
        if above.getextrema()[3][1]:  # some programs leave all alpha at 0
            image.paste(above, mask=above)
        else:
            image = above
    image = image.convert("RGB")
RESIZE
    outputs = CALL
    score, probability, verdict = (value[0].item() for value in outputs)
    row = [file, f"{score:.9g}", f"{probability:.9g}", facts["verdicts"][verdict]]
    table.writerow(row)
'''
_SQUASH = """\
    pixels = np.array(image.resize((size, size), Image.Resampling.BILINEAR))[None]"""
_PAD = """\
    whole, scale = np.asarray(image), size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    edge = np.concatenate([whole[0], whole[-1], whole[:, 0], whole[:, -1]])
    pixels = np.empty((1, size, size, 3), np.uint8)
    pixels[:] = edge.mean(axis=0).round()
    left, top = (size - width) // 2, (size - height) // 2
    small = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels[0, top : top + height, left : left + width] = np.asarray(small)"""


def example_of(description: Description, to: str) -> str:
    """Return the program that scores image files with a model exported to the format `to`."""
    package, load, call = RUNTIMES[to]
    resize = _PAD if description.fit == "pad" else _SQUASH
    parts = {"PACKAGE": package, "LOAD": load, "RESIZE": resize, "CALL": call}
    program = _PROGRAM
    for name, text in parts.items():
        program = program.replace(name, text)
    return program
