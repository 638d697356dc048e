"""Judge by eye the parts that a model leaves open, on one page for any browser:

    python -m helpers.review --model RUN/fbp --images lot7 --out lot7.html

It holds the parts to look at again and, unmarked, a random share of those that passed. The CSV that
it saves gives labels for the next training, and an estimate of how many bad parts pass:

    python -m helpers.review --read lot7.judged.csv --labels labels.csv --out new_labels.csv
"""

import argparse
import glob
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from helpers.commands import cli
from helpers.commands.predict import entries
from helpers.core import files
from helpers.core.errors import UserError
from helpers.core.finding import rows
from helpers.datasets import DataError
from helpers.datasets.folder import left_out
from helpers.deploy import review
from helpers.deploy.predictor import TrainedModel
from helpers.runs.opened import open_model

MOST = 400  # parts of each kind on a page: hours of work, and 100 MB if they have 1,000 pixels


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or read what it saved; return 1 if an image cannot be read, else 0."""
    parser = cli.parser_of("review", __doc__)
    add = parser.add_argument
    add("--model", help="RUN or RUN/MODEL in data/runs, or a model's folder")
    add("--images", type=Path, metavar="FOLDER", help="the lot; or a CSV, as for helpers.predict")
    add("--suspects", type=Path, metavar="CSV", help="labels_to_check.csv of notebook 07")
    add("--out", type=Path, required=True, help="the page, or with --read the LABELS_CSV, to write")
    share = "of the passed parts that are judged too; default 0.02"
    add("--audit-share", type=float, default=0.02, metavar="SHARE", help=share)
    add("--rejects", action="store_true", help="also show the rejected parts")
    add("--most", type=int, default=MOST, help=f"parts of each kind on the page; default {MOST}")
    add("--seed", type=int, default=0, help="of the parts that are drawn, and of their order")
    add("--read", type=Path, metavar="CSV", help="what a page has saved")
    add("--labels", type=Path, metavar="CSV", help="with --read: an older LABELS_CSV, to continue")
    options = parser.parse_args(arguments)
    if not options.read and not (options.model and (options.images or options.suspects)):
        raise UserError("give --model with --images or --suspects, or give --read")
    if not 0 <= options.audit_share <= 1 or options.most < 1:
        raise UserError("--audit-share must be from 0 to 1, and --most at least 1")
    out = options.out  # it may replace a page of an earlier call, and the labels that it continues
    if out.exists() and (out != options.labels if options.read else out.suffix != ".html"):
        raise UserError(f"--out {out} exists already: name another file, or delete it")
    return _read(options) if options.read else _write_page(options)


def _write_page(options: argparse.Namespace) -> int:
    """Write the page, and print what is on it and what was left out."""
    opened = open_model(options.model)
    if not opened.description:
        raise DataError(opened.remark)
    place = (options.images or options.suspects).resolve()
    lots = [_lot(place)] if options.images else []
    lots += [review.suspects_of(options.suspects)] if options.suspects else []
    asked = pd.concat(lots, ignore_index=True).reindex(columns=review.COLUMNS)
    model = TrainedModel(opened, images=len(asked))
    answers = tqdm(model.answers(asked.file), "score", len(asked), unit="img", disable=None)
    judged = model.judged(asked.file, answers)
    asked = asked.join(judged[["score", "verdict", "warning", "reason"]])
    asked["why"] = opened.description.why(asked)
    readable = asked[asked.reason == ""]
    for line in left_out([place]) if place.is_dir() else ():
        print(f"left out: {line}")
    for row in asked[asked.reason != ""].itertuples():
        print(f"error: {row.file} cannot be read: {row.reason}", file=sys.stderr)
    every = review.chosen(readable, options.audit_share, options.seed, options.rejects)
    if every.empty:
        raise DataError(f"{place}: there is no part to look at again, and none to audit")
    parts = every[every.groupby("drawn").cumcount() < options.most]
    saved_as = f"{options.out.stem}.judged.csv"
    by = f"{opened.description.title}, run {opened.description.run}"
    text = review.page(model, parts, title=place.name, described=by, saved_as=saved_as)
    files.write_bytes(options.out, text.encode())
    each = ", ".join(f"{count} {kind}" for kind, count in parts.drawn.value_counts().items())
    print(f"{options.out}, {len(text) / 1e6:.1f} MB: {each}; {parts.passed.iloc[0]} passed")
    if more := len(every) - len(parts):
        print(f"left out: {more} parts above --most {options.most} of a kind")
    read = f"{cli.program('review')} --read {shlex.quote(saved_as)}"
    print(f"Judge them in a browser, then: {read} ...")
    print(opened.description.promise)
    return int(len(readable) < len(asked))


def _lot(place: Path) -> pd.DataFrame:
    """Return `review.COLUMNS` of the images of a folder or a CSV; folders are groups."""
    found = entries(place)
    lot = pd.DataFrame({"file": [entry.file for entry in found]})
    if not place.is_dir():
        given = files.load_csv(place, (), ["group"]).reindex(columns=["path", "group"])
        return lot.join(given.fillna({"group": ""}))
    # paths start with the folder's name, so that they also hold in the folder of a data set
    below = [Path(place.name) / Path(entry.file).relative_to(place) for entry in found]
    paths, groups = ([q.as_posix() for q in each] for each in (below, [p.parent for p in below]))
    return lot.assign(path=paths, group=groups)


def _read(options: argparse.Namespace) -> int:
    """Merge judgements into a LABELS_CSV, and print what they tell."""
    judged = review.read_judgements(options.read)
    for newer in options.read.parent.glob(f"{glob.escape(options.read.stem)} (*).csv"):
        print(f"note: {newer} was saved beside it later", file=sys.stderr)
    labels = review.with_reviews(judged, options.labels)
    files.save_csv(options.out, labels)
    print(pd.crosstab(judged.drawn, judged.judgement.fillna("not judged")).to_string())
    print(rows([review.escapes(judged)]).to_string(index=False))
    print(
        f"{options.out}: {labels.review.notna().sum()} labels of reviews, for training alone. With "
        "the images directly in the data set's folder, start a run with another --name and "
        f"-p LABELS_CSV={shlex.quote(str(options.out))}"
    )
    return 0
