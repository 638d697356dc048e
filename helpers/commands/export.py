"""Export a trained model as an ONNX file, which ONNX Runtime and OpenVINO read:

    python -m helpers.export --model RUN/fbp --out line

writes the network with its preprocessing, model.json with thresholds and licences, and example.py,
which scores images without this package. `--check IMAGE...` compares the scores of both.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from helpers.commands import cli
from helpers.deploy import export
from helpers.runs.opened import open_model


def main(arguments: Sequence[str] | None = None) -> int:
    """Export the model, check it if images are given; return 1 if one cannot be read, else 0."""
    parser = cli.parser_of("export", __doc__)
    add = parser.add_argument
    add("--model", required=True, help="RUN or RUN/MODEL in data/runs, or a model's folder")
    add("--out", type=Path, required=True, metavar="FOLDER", help="a new folder")
    add("--check", nargs="+", metavar="IMAGE", default=[], help="compare the scores of images")
    options = parser.parse_args(arguments)
    opened = open_model(options.model)
    export.export_model(opened, options.out)
    print(f"{options.out}: {', '.join(sorted(path.name for path in options.out.iterdir()))}")
    if opened.description and (used := opened.description.precision) != "no":
        print(f"The thresholds were chosen in {used}; the export computes in float32")
    if options.check:
        compared, difference = export.check_exported(options.out, options.check, opened)
        print(f"largest difference of {compared} scores: {difference:.1e}")
        if unread := len(options.check) - compared:
            print(f"error: {unread} of the images cannot be read, see predict", file=sys.stderr)
            return 1
    return 0
