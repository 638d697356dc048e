"""Ask a trained model about images: a few, any number, or each new one in a folder.

    python -m helpers.predict parts/a.png parts/b.png --model RUN/fbp --maps maps
    python -m helpers.predict parts --model RUN/fbp --out scores.csv
    python -m helpers.predict --watch camera --model RUN/fbp --out log.csv

The first prints for each image its score, its probability of bad, and a verdict: pass, look again
or reject; with --json it prints a JSON document. The second writes a CSV, and continues after a
kill: scores.csv.progress keeps the answers of finished images; delete it when they are final. The
third appends a line to the log for each new image file, until Ctrl-C; after a kill it continues.
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
from collections.abc import Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tqdm.auto import tqdm

import helpers
from helpers.commands import cli
from helpers.core import errors, files, style
from helpers.datasets import check_utf8, elpv
from helpers.datasets.decoding import CAMERA_BITS
from helpers.datasets.folder import SUFFIXES, image_files, left_out
from helpers.deploy import known_parts
from helpers.deploy.description import VERDICTS
from helpers.deploy.measures import counted
from helpers.deploy.predictor import Answer, Opened, TrainedModel
from helpers.runs.opened import DEMO, DEMO_FOLDER, open_model

NOT_PASSED, UNREADABLE = 3, 4  # exit codes: 1 and 2 are those of errors, also of Python itself
TOGETHER = 512  # images that a kill can cost: seconds of work on a CPU
SETTLED_S, POLL_S = 1.0, 0.25  # a watched file is complete if it has not changed for so long
PRECISIONS = ("bf16", "fp16", "no")
DEMO_IMAGES = ("cell0502.png", "cell1572.png", "cell2156.png")  # not in the network's training


class Entry(NamedTuple):
    """One image that is asked about."""

    path: str  # as the user names it; below the folder or the CSV that lists it
    id: str  # of the CSV, or the path without its extension
    file: str  # to open


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
    model = TrainedModel(opened, images=len(asked))
    named = [entry.file for entry in asked]
    labels = known_parts.read_known(options.known, opened, named) if options.known else None
    answers = _continued(model, asked, opened, options) if options.out else [*model.answers(named)]
    table = model.judged(named, answers)
    if labels is not None:
        table = known_parts.with_known(table, labels, model.description)
    readable, written = table.reason == "", rows(asked, table, model, options.model)
    if options.out:
        files.save_csv(options.out, written)
        counts = table.verdict[table.verdict != ""].value_counts()
        each = "".join(f", {count} {verdict}" for verdict, count in counts.items())
        print(f"{options.out}: {readable.sum()} scored, {(~readable).sum()} unreadable{each}")
    elif readable.any() and not options.json:
        hidden = ["reason"] if table.warning.any() else ["reason", "warning"]
        shown = table[readable].drop(columns=hidden)
        if remark:  # the demo's images lie deep in an installed package
            shown["file"] = shown.file.map(lambda file: Path(file).name)
        print(shown.to_string(index=False, float_format="{:.4f}".format, na_rep=""))
    for line in left_out([place for place in places if place.is_dir()]):
        print(f"left out: {line}")
    if several := sum(answer.has_more for answer in answers):
        print(f"{several} file(s) have several pages or frames; only the first is read")
    if remark:
        print(remark)
    _say_what_it_promises(model)
    if options.maps:
        _write_maps(model, table[readable], options.maps)
    for row in table[~readable].itertuples():
        print(f"error: {row.file} cannot be read: {row.reason}", file=sys.stderr)
    if line := counted(table.warning[readable]):
        print(line)
    return written


def _say_what_it_promises(model: TrainedModel) -> None:
    print(model.description.promise if model.description else model.remark)
    if model.description and model.description.is_smoke:
        print(style.SMOKE_NOTE)


def rows(
    asked: Sequence[Entry], table: pd.DataFrame, model: TrainedModel, name: str
) -> pd.DataFrame:
    """Return the table of `model.judged` with the columns that are written.

    These are path and id of each image, the thresholds and their seal, the time, and the model, as
    its description or else `name` calls it.
    """
    about = model.description
    facts = {fact: getattr(about, fact, None) for fact in ("pass_below", "reject_from")}
    facts["seal"] = getattr(about, "digest", None)  # not the file's own: it may have been edited
    facts["model"] = f"{about.run}/{about.model}" if about else name
    facts["time"] = datetime.now(UTC).isoformat(timespec="seconds")
    return pd.DataFrame(asked).join(table.drop(columns="file")).drop(columns="file").assign(**facts)


def _watch(opened: Opened, options: argparse.Namespace) -> int:
    """Judge each image file that appears in a folder, and log it; return 0 after Ctrl-C.

    The log tells what was judged: a path as it was last changed then. So a file that is replaced is
    judged again, and nothing else is, also after a kill.
    """
    model, warnings = TrainedModel(opened, images=TOGETHER), list[str]()
    folder, log = options.watch.resolve(), options.out
    seen: dict[tuple[str, str, int], float] = {}
    lock = files.held(log.with_name(f".{log.name}.lock"), wait=False)
    with lock, contextlib.suppress(KeyboardInterrupt):
        done = logged(log)
        _say_what_it_promises(model)
        print(f"watching {folder}; Ctrl-C ends", flush=True)
        while True:
            now_s = time.monotonic()
            seen = unjudged(folder, done, seen, now_s)
            ready = [found for found, since_s in seen.items() if now_s - since_s >= SETTLED_S]
            answers = model.answers(file for file, *_ in ready)
            for (file, changed, _), answer in zip(ready, answers, strict=True):
                entry = Entry(file, _stem(Path(file).relative_to(folder)), file)
                row = rows([entry], model.judged([file], [answer]), model, options.model)
                line = files.csv_bytes(row.assign(modified_ns=changed))
                with log.open("ab") as handle:
                    handle.write(line if handle.tell() == 0 else line.partition(b"\n")[2])
                    handle.flush()
                    os.fsync(handle.fileno())  # it survives a power failure too
                done.add((file, changed))
                warnings.append(row.warning[0])
            time.sleep(POLL_S)
    print(f"{len(warnings)} images judged. {counted(warnings)}")
    return 0


def unjudged(
    folder: Path, done: Container[tuple[str, str]], before: Mapping[Any, float], now_s: float
) -> dict[tuple[str, str, int], float]:
    """Return the image files of a folder that are not in the log: path, time of the last change,
    and size, with the time since which each is so; `before` is what the last call returned."""
    found = {}
    for path in image_files(folder):
        with contextlib.suppress(OSError):  # it is gone again
            about = path.stat()
            state = str(path), str(about.st_mtime_ns), about.st_size
            if state[:2] not in done:
                found[state] = before.get(state, now_s)
    return found


def logged(log: Path) -> set[tuple[str, str]]:
    """Return path and time of each line of a log, and cut off a line that a kill left half."""
    content = log.read_bytes() if log.exists() else b""
    if b"modified_ns" in content.partition(b"\n")[0]:  # it is a log
        os.truncate(log, content.rfind(b"\n") + 1)
    table = files.load_csv(log, ("path", "modified_ns"), ["modified_ns"]) if content else None
    return set() if table is None else {*zip(table.path, table.modified_ns, strict=True)}


def entries(place: Path) -> list[Entry]:
    """Return the images of a folder with its subfolders, of a CSV, or the image itself.

    A CSV needs a column `path`, which starts at the CSV's folder, and may have a column `id`.
    Otherwise the id of an image is its path, below the folder, without the extension.
    """
    check_utf8(str(place))
    if place.is_dir():
        found = [Entry(str(i), _stem(i.relative_to(place)), str(i)) for i in image_files(place)]
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


def _continued(
    model: TrainedModel, asked: Sequence[Entry], opened: Opened, options: argparse.Namespace
) -> list[Answer]:
    """Return the answers for all images; those of an earlier call by the same model are reused.

    A line of the file of progress holds the answers for `TOGETHER` images and a digest of their
    names and contents, of the model, and of the version of this package.
    """
    out = options.out
    progress = out.with_name(f"{out.name}.progress")
    if out.is_dir() or (out.exists() and not progress.is_file()):
        raise errors.UserError(f"--out {out} exists already: name another file, or delete it")
    by = files.fingerprint([*map(files.file_digest, opened.checkpoints), vars(opened.facts)])
    about = [by, *map(os.path.abspath, options.images)]
    answers: list[Answer] = []
    done: dict[str, list[list]] = {}
    if not progress.is_file():
        files.write_bytes(progress, json.dumps(about).encode())
    with files.reading(progress, "file of progress"):
        first, *lines = progress.read_text(encoding="utf-8").splitlines()
        if (before := json.loads(first)) != about:
            which = "images" if before[:1] == [by] else "model, precision or bits"
            raise files.ArtifactError(f"--out {out} has scores of other {which}: name another")
    for line in lines:
        with contextlib.suppress(ValueError):  # the end of a killed call
            done.update([json.loads(line)])
    with (
        ThreadPoolExecutor() as pool,
        progress.open("a", encoding="utf-8") as handle,
        tqdm(desc="score", unit="img", total=len(asked), disable=None) as bar,
    ):
        for start in range(0, len(asked), TOGETHER):
            some = asked[start : start + TOGETHER]
            contents = [*pool.map(_content, [entry.file for entry in some])]
            by_what = [by, helpers.__version__, Answer._fields]
            key = files.fingerprint([by_what, [e.path for e in some], contents])
            if key not in done:
                done[key] = [[*answer] for answer in model.answers(entry.file for entry in some)]
                print(f"\n{json.dumps([key, done[key]])}", end="", file=handle, flush=True)
            answers += [Answer(*answer) for answer in done[key]]
            bar.update(len(some))
    return answers


def _content(file: str) -> str:
    """Return the digest of a file; "" if it cannot be read."""
    try:
        return files.file_digest(Path(file)) if os.path.isfile(file) else ""
    except OSError:
        return ""


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
