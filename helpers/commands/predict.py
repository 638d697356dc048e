"""Ask a trained model about images:

    python -m helpers.predict parts/a.png parts/b.png --model RUN/fbp --maps maps

prints for each image its score, its probability of bad, and a verdict: pass, look again or reject.
Lots (folders of images) that are unlike those behind the thresholds are named first. `--model demo`
is a small network that comes with the package; without images it judges three solar cells of ELPV.
`python -m helpers.score` does this for any number of images, and writes a CSV.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from helpers.commands.cli import parser_of
from helpers.core import files, style
from helpers.datasets import DataError, check_utf8, elpv
from helpers.datasets.folder import SUFFIXES, image_files, left_out
from helpers.deploy.predictor import TrainedModel
from helpers.runs.parts import DEMO, DEMO_FOLDER, open_model

# the network has not seen them in its training
DEMO_IMAGES = ("cell0502.png", "cell1572.png", "cell2156.png")
LONG = re.compile(r"([^/\\]{40})[^/\\]{4,}([^/\\]{20})$")  # a name that would push all rows aside


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and write what was asked for; return 1 if an image cannot be read, else 0.

    Raises:
        UserError: the model or an image is missing, or cannot be used.
    """
    options = _parser().parse_args(arguments)
    if options.maps and options.maps.exists() and not options.maps.is_dir():
        raise DataError(f"--maps {options.maps} is a file: name a folder")
    opened, remark = open_model(options.model), ""
    if not options.images:
        if opened.checkpoints[0].parent != DEMO_FOLDER or opened.description is None:
            raise DataError(f"name the images to judge; only --model {DEMO} brings its own")
        options.images = [elpv.folder() / "images" / name for name in DEMO_IMAGES]
        remark = f"By their labels: bad, good, good. {opened.description.attribution}"
    model = TrainedModel(opened)
    places = [*map(Path, options.images)]
    given = [image_files(p) if p.is_dir() else [p] for p in places]
    if empty := [str(place) for place, found in zip(places, given, strict=True) if not found]:
        raise DataError(f"{', '.join(empty)} holds no image ({', '.join(SUFFIXES)})")
    images = list(itertools.chain(*given))
    for image in images:
        check_utf8(str(image))
    table = model.predict(images)
    for line in table.attrs.get("lots", ()):
        print(line)
    readable = table.reason == ""
    if readable.any():
        shown = table[readable].drop(columns="reason")
        shown["file"] = shown.file.str.replace(LONG, r"\1...\2", regex=True)
        if remark:  # the demo's images lie deep in an installed package
            shown["file"] = shown.file.map(lambda file: Path(file).name)
        print(shown.to_string(index=False, float_format="{:.4f}".format, na_rep=""))
    for line in left_out([place for place in places if place.is_dir()]):
        print(f"left out: {line}")
    if remark:
        print(remark)
    print(model.description.promise if model.description else model.remark)
    if model.description and model.description.is_smoke:
        print(style.SMOKE_NOTE)
    if options.maps:
        _write_maps(model, table[readable], options.maps)
    for row in table[~readable].itertuples():
        print(f"error: {row.file} cannot be read: {row.reason}", file=sys.stderr)
    return int(not readable.all())


def _write_maps(model: TrainedModel, table: pd.DataFrame, folder: Path) -> None:
    """Write for each image the map of the first network for "bad", laid over the image."""
    import matplotlib.pyplot as plt  # takes a second: only if maps are wanted

    from helpers.deploy.your_part import bad_map
    from helpers.explain import maps

    plt.rcParams["text.parse_math"] = False  # a name may hold dollar signs
    for number, row in enumerate(table.itertuples()):
        pixels, *_ = model.read(str(row.file))
        assert pixels is not None
        heat = bad_map(model, pixels)
        stem = Path(str(row.file)).stem
        figure, axes = maps.grid(1, 2, (7.5, 3.6), f"{stem}: {row.verdict or 'no verdict'}")
        style.draw_image(axes[0, 0], pixels, f"score {row.score:.3f}")
        maps.draw_overlay(axes[0, 1], pixels, heat, maps.map_title(1, heat))
        with files.atomic_path(folder / f"{number:03d}_{stem}.png") as temporary:
            figure.savefig(temporary, format="png", bbox_inches="tight")
        plt.close(figure)
    print(f"{len(table)} map(s) in {folder}")


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("predict", __doc__)
    add = parser.add_argument
    add("images", nargs="*", metavar="IMAGE", help="an image file, or a folder of images")
    add(
        "--model",
        required=True,
        help="RUN or RUN/MODEL in data/runs, a model's folder, one checkpoint in it, or demo",
    )
    add("--maps", type=Path, metavar="FOLDER", help="write where the network looks, one PNG each")
    return parser
