"""Ask a trained model about images: a few, any number, or each new one in a folder.

    python -m helpers.predict parts/a.png parts/b.png --model RUN/fbp --maps maps
    python -m helpers.predict parts --model RUN/fbp --out scores.csv
    python -m helpers.predict --watch camera --model RUN/fbp --out log.csv

The first prints for each image its score, its probability of bad, and a verdict: pass, look again
or reject; with --json it prints a JSON document. The second writes a CSV, which a
second call continues: it judges images that are new there or have changed. The third does so for
each new image file, until Ctrl-C.
`--known CSV` gives labels of some of the images, such as ten of a new lot (a folder): they move the
scores of its other images. `--model demo` is a small network that comes with the package; without
images it judges three solar cells of ELPV.

Exit codes: 0 if all images pass, 3 if some do not, 4 if some cannot be read; 1 or 2 after an error.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from helpers.commands import cli
from helpers.core import errors, files, style
from helpers.datasets import check_utf8, elpv
from helpers.datasets.decoding import CAMERA_BITS
from helpers.datasets.folder import SUFFIXES, image_files, left_out
from helpers.deploy import known_parts
from helpers.deploy.answer_log import TOGETHER, AnswerLog, Entry
from helpers.deploy.description import VERDICTS
from helpers.deploy.measures import counted
from helpers.deploy.predictor import Opened, TrainedModel
from helpers.runs.opened import DEMO, DEMO_FOLDER, open_model

NOT_PASSED, UNREADABLE = 3, 4  # exit codes: 1 and 2 are those of errors, also of Python itself
SETTLED_NS, POLL_S = 10**9, 0.25  # a watched file is complete if it has not changed for so long
PRECISIONS = ("bf16", "fp16", "no")
SHOWN = ("file", "score", "probability", "verdict", "lot", "shift", "score_before", "warning")
DEMO_IMAGES = ("cell0502.png", "cell1572.png", "cell2156.png")  # not in the network's training


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer, and write what was asked for; return the exit code."""
    options = parser().parse_args(arguments)
    others = options.images or options.maps or options.json or options.known
    if options.watch and (not options.out or others):
        no = "images, --maps, --json or --known"
        raise errors.UserError(f"--watch FOLDER needs --out LOG, and no {no}")
    if options.maps and options.maps.is_file():
        raise errors.UserError(f"--maps {options.maps} is a file: name a folder")
    with contextlib.redirect_stdout(sys.stderr if options.json else sys.stdout):
        opened = open_model(options.model)
        if options.watch:
            return _watch(with_options(opened, options), options)
        written = _answer(opened, options)
    if options.json:
        warnings = [[word for word in each.split(", ") if word] for each in written.warning]
        listed = written.assign(warnings=warnings).drop(columns="warning").to_dict("records")
        print(json.dumps(files.plain(listed), indent=1, allow_nan=False))
    if (written.reason != "").any():
        return UNREADABLE
    return 0 if written.verdict.isin([VERDICTS[0], known_parts.GOOD]).all() else NOT_PASSED


def _answer(found: Opened, options: argparse.Namespace) -> pd.DataFrame:
    """Judge the images, print what there is to say, and return the rows that are written."""
    opened, remark = with_options(found, options), ""
    if not options.images:
        if found.checkpoints[0].parent != DEMO_FOLDER or found.description is None:
            raise errors.UserError(f"name the images to judge; only --model {DEMO} brings its own")
        options.images = [str(elpv.folder() / "images" / name) for name in DEMO_IMAGES]
        remark = f"By their labels: bad, good, good. {found.description.attribution}"
    places = [Path(image).expanduser() for image in options.images]
    asked = [entry for place in places for entry in entries(place)]
    named = [entry.file for entry in asked]
    labels = known_parts.read_known(options.known, opened, named) if options.known else None
    model, out = TrainedModel(opened, images=len(asked)), options.out
    with held(out) if out else contextlib.nullcontext():
        log = AnswerLog(out, model, opened, options.model)
        written = log.judge(asked)
        if labels is not None:
            written = known_parts.with_known(written, labels, model.description)
            if out:  # the scores of a lot move together: its rows are not final one by one
                files.save_csv(out, written.drop(columns=["file", "by", "changed_ns"]))
    readable = written.reason == ""
    if out:
        counts = written.verdict[written.verdict != ""].value_counts()
        each = "".join(f", {count} {verdict}" for verdict, count in counts.items())
        print(f"{out}: {readable.sum()} scored, {(~readable).sum()} unreadable{each}")
    elif readable.any() and not options.json:
        shown = written[readable].filter(SHOWN if written.warning.any() else SHOWN[:-1])
        if remark:  # the demo's images lie deep in an installed package
            shown["file"] = shown.file.map(lambda file: Path(file).name)
        print(shown.to_string(index=False, float_format="{:.4f}".format, na_rep=""))
    for line in left_out([place for place in places if place.is_dir()]):
        print(f"left out: {line}")
    if log.several_frames:
        print(f"{log.several_frames} file(s) have several pages or frames; only the first is read")
    if remark:
        print(remark)
    _say_what_it_promises(model)
    if options.maps:
        _write_maps(model, written[readable], options.maps)
    for row in written[~readable].itertuples():
        print(f"error: {row.file} cannot be read: {row.reason}", file=sys.stderr)
    if line := counted(written.warning[readable]):
        print(line)
    return written.drop(columns="file")


def held(log: Path) -> contextlib.AbstractContextManager:
    """Lock a CSV of answers, for one process at a time."""
    return files.held(log.with_name(f".{log.name}.lock"), wait=False)


def _say_what_it_promises(model: TrainedModel) -> None:
    print(model.description.promise if model.description else model.remark)
    if model.description and model.description.is_smoke:
        print(style.SMOKE_NOTE)


def _watch(opened: Opened, options: argparse.Namespace) -> int:
    """Judge each image file that appears in a folder, and log it; return 0 after Ctrl-C."""
    model, folder = TrainedModel(opened, images=TOGETHER), options.watch.resolve()
    with held(options.out), contextlib.suppress(KeyboardInterrupt):
        log = AnswerLog(options.out, model, opened, options.model)
        before = len(log.rows)
        _say_what_it_promises(model)
        print(f"watching {folder}; Ctrl-C ends", flush=True)
        while True:
            asked = [
                Entry(str(i), _stem(i.relative_to(folder)), str(i)) for i in image_files(folder)
            ]
            log.judge([entry for entry in asked if log.lacks(entry, time.time_ns() - SETTLED_NS)])
            time.sleep(POLL_S)
    warnings = log.rows.warning[before:].tolist()
    print(f"{len(warnings)} images judged. {counted(warnings)}")
    return 0


def entries(place: Path) -> list[Entry]:
    """Return the images of a folder with its subfolders, of a CSV, or the image itself.

    A CSV needs a column `path`, which starts at the CSV's folder, and may have a column `id`.
    Otherwise the id of an image is its path, below the folder, without the extension.
    """
    check_utf8(str(place))
    if place.is_dir():
        found = below(place)
    elif place.suffix.lower() == ".csv":
        listed = files.load_csv(place, ("path",))
        listed["id"] = listed.get("id", listed.path.map(_stem, na_action="ignore"))
        file = listed.path.map(lambda path: os.path.join(place.parent, path), na_action="ignore")
        slashed = listed.path.str.contains("\\", regex=False) & ~file.map(os.path.exists, "ignore")
        missing = {f"{name} is missing": listed[name].isna() for name in ("path", "id")}
        wrong = missing | {"{path} is not there: write / instead of \\": slashed.fillna(False)}
        files.refuse_marked(place, listed, wrong)
        found = [*map(Entry, listed.path, listed.id, file)]
    else:
        found = [Entry(str(place), _stem(place), str(place))]
    if not found:
        raise errors.UserError(f"{place} holds no image ({', '.join(SUFFIXES)})")
    return found


def below(folder: Path) -> list[Entry]:
    """Return the images of a folder with its subfolders."""
    return [Entry(str(i), _stem(i.relative_to(folder)), str(i)) for i in image_files(folder)]


def _stem(path: str | Path) -> str:
    return Path(path).with_suffix("").as_posix()


def with_options(opened: Opened, options: argparse.Namespace) -> Opened:
    """Return the model as the options use it, without thresholds if they change its scores."""
    given = {"precision": options.precision, "full_scale_bits": options.bits}
    usual = vars(opened.facts) | {"full_scale_bits": opened.facts.full_scale_bits or 8}
    given = {k: v for k, v in given.items() if v and v != usual[k]}
    if given:
        remark = "no verdicts: the thresholds are for another precision or other bits than these"
        opened = opened._replace(description=None, remark=remark)
    return opened._replace(facts=replace(opened.facts, **given))


def _write_maps(model: TrainedModel, table: pd.DataFrame, folder: Path) -> None:
    """Write for each image what stops it from passing, laid over the image."""
    import matplotlib.pyplot as plt  # takes a second: only if maps are wanted

    from helpers.explain import maps

    plt.rcParams["text.parse_math"] = False  # a name may hold dollar signs
    why = model.description.why(table) if model.description else [""] * len(table)
    for number, row in enumerate(table.assign(why=why).itertuples()):
        pixels, *_ = model.read(str(row.file))
        assert pixels is not None
        heat, stem = model.bad_map(pixels, row.score), Path(str(row.file)).stem
        words = ", ".join(filter(None, (row.verdict or "no verdict", row.why)))
        figure, axes = maps.grid(1, 2, (7.5, 3.6), f"{stem}: {words}", model.scale)
        style.draw_image(axes[0, 0], pixels, f"score {row.score:.3f}")
        maps.draw_overlay(axes[0, 1], pixels, heat, maps.stops(heat), scale=model.scale)
        with files.atomic_path(folder / f"{number:03d}_{stem}.png") as temporary:
            figure.savefig(temporary, format="png", bbox_inches="tight")
        plt.close(figure)
    print(f"{len(table)} map(s) in {folder}")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    top = cli.parser_of("predict", __doc__)
    add = top.add_argument
    images = "an image file, a folder of images, or a CSV with a column path (and id)"
    add("images", nargs="*", metavar="IMAGE", help=images)
    model = "RUN or RUN/MODEL in data/runs, a model's folder, one checkpoint in it, or demo"
    add("--model", required=True, help=model)
    add("--out", type=Path, metavar="CSV", help="write the answers; a second call continues")
    add("--json", action="store_true", help="print the answers as JSON, all else on stderr")
    add("--watch", type=Path, metavar="FOLDER", help="judge each new image; --out is the log")
    add("--maps", type=Path, metavar="FOLDER", help="write where the network looks, one PNG each")
    add("--precision", choices=PRECISIONS, help="no: float32; default: the run's")
    known = "labels of some images, as helpers.review saves them: they move their lot's scores"
    add("--known", type=Path, metavar="CSV", help=known)
    bits = "of images of more than 8 bits; default: the training's"
    add("--bits", type=int, choices=CAMERA_BITS, help=bits)
    return top
