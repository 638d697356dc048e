"""Judge images: python example.py [--shift X] part.png ...

It needs onnxruntime, pillow and numpy, and prints a CSV: the column `warning` says how an image is
not like the training images; such an image does not pass. It returns 0 if all images pass, 3 if
some do not, 4 if some cannot be read, and 1 or 2 after an error. OpenVINO reads model.onnx too:
openvino.Core().compile_model("model.onnx", "CPU"), with the hint INFERENCE_PRECISION_HINT "f32",
because bf16 would change the scores.

`--shift X` moves the logits of the scores, as a few labelled parts of these images' lot say
(`helpers.predict --known` prints X). A part then passes, or is rejected, if both scores say so.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from pathlib import Path

import numpy as np

from helpers.datasets.decoding import read_image, resize
from helpers.deploy.measures import counted, measure, unlike

LOOK_AGAIN = 1  # a place in `verdicts`: pass, look again, reject


def moved(score: float, shift: float) -> float:
    """Return a score with `shift` added to its logit."""
    return 1 / (1 + (1 / score - 1) * math.exp(-shift)) if score else score


def main(folder: Path, arguments: list[str]) -> int:
    """Print a row for each image file, with the model in a folder; return the exit code."""
    import onnxruntime

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*")
    parser.add_argument("--shift", type=float, default=0.0)
    options = parser.parse_args(arguments)
    files, shift = options.files, options.shift
    facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    temperature = facts["temperature"] or 1  # None: there is no probability
    on_cpu = ["CPUExecutionProvider"]
    network = onnxruntime.InferenceSession(folder / facts["file"], providers=on_cpu)
    table, warnings, passed = csv.writer(sys.stdout), [], 0
    table.writerow(["file", "score", "probability", "verdict", "warning"])
    for file in files:
        try:
            picture = read_image(Path(file), facts["full_scale_bits"] or 8, facts["mask"])
        except Exception as error:  # a damaged file raises one of many kinds
            table.writerow([file, "", "", f"cannot be read: {error}", ""])
            continue
        image = resize(picture.pixels, facts["image_size_px"], facts["fit"])
        colour = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
        outputs = network.run(None, {"pixels": np.ascontiguousarray(colour[None])})
        score, probability, verdict = (value[0].item() for value in outputs)
        if shift:
            score, probability = moved(score, shift), moved(probability, shift / temperature)
            after = (score >= facts["pass_below"]) + (score >= facts["reject_from"])
            verdict = verdict if after == verdict else LOOK_AGAIN
        known = "" if np.isnan(probability) else f"{probability:.9g}"
        measured = measure(image, *picture.pixels.shape[1::-1])
        warnings += [", ".join(unlike(measured, facts["training_ranges"]))]
        verdict = max(verdict, LOOK_AGAIN) if warnings[-1] else verdict
        table.writerow([file, f"{score:.9g}", known, facts["verdicts"][verdict], warnings[-1]])
        passed += verdict == 0
    if line := counted(warnings):
        print(line, file=sys.stderr)
    return 4 if len(warnings) < len(files) else 0 if passed == len(files) else 3


if __name__ == "__main__":
    raise SystemExit(main(Path(__file__).parent, sys.argv[1:]))
