"""Judge by eye the parts that a model leaves open, on one page for any browser:

    python -m helpers.review --model RUN/fbp --images lot7 --out lot7.html

It holds the parts to look at again and, unmarked, a random share of those that passed. The CSV that
it saves gives labels for the next training, an estimate of how many bad parts pass, and a check,
lot after lot, of the promised escape rate:

    python -m helpers.review --read lot7.judged.csv --labels labels.csv --out new_labels.csv
"""

from __future__ import annotations

import argparse
import glob
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from helpers.commands.cli import parser_of, program
from helpers.commands.score import Entry, entries
from helpers.core import files
from helpers.core.errors import UserError
from helpers.datasets import DataError, check_utf8
from helpers.datasets.folder import SUFFIXES, left_out
from helpers.deploy import judgements, lots, review
from helpers.deploy.predictor import ANSWER, TrainedModel
from helpers.runs.parts import open_model

MOST = 400  # parts of each kind on a page: hours of work, and 100 MB if they have 1,000 pixels


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or read what it saved; return 1 if an image cannot be read, else 0.

    Raises:
        UserError: model, images or a CSV are missing, or cannot be used.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.read and not (options.model and (options.images or options.suspects)):
        parser.error("give --model with --images or --suspects, or give --read")
    if not 0 <= options.audit_share <= 1 or options.most < 1:
        parser.error("--audit-share must be from 0 to 1, and --most at least 1")
    out = options.out  # it may replace a page of an earlier call, and the labels that it continues
    if out.exists() and (out != options.labels if options.read else out.suffix != ".html"):
        raise UserError(f"--out {out} exists already: name another file, or delete it")
    return _read(options) if options.read else _write_page(options)


def _write_page(options: argparse.Namespace) -> int:
    """Write the page, and say what is on it and what was left out."""
    opened, most = open_model(options.model), options.most
    if not opened.description:
        raise DataError(opened.remark)
    place = (options.images or options.suspects).resolve()
    check_utf8(str(place))
    asked = review.suspects_of(options.suspects) if options.suspects else pd.DataFrame()
    if options.images:
        lot = pd.DataFrame(entries(place), columns=Entry._fields)
        if lot.empty:
            raise DataError(f"{place} lists no image ({', '.join(SUFFIXES)})")
        # paths start with the folder's name, so that they also hold in the folder of a data set
        above = place.name if place.is_dir() else ""
        lot["path"] = [Path(above, path).as_posix() for path in lot.path]
        folders = [Path(path).parent for path in lot.path]
        lot["group"] = [folder.as_posix() if folder.name else "" for folder in folders]
        given = pd.DataFrame() if place.is_dir() else files.load_csv(place, (), ["group"])
        lot["group"] = given.get("group", lot.group).fillna("")
        asked = pd.concat([lot, asked], ignore_index=True)
    asked = asked.reindex(columns=review.COLUMNS)
    model = TrainedModel(opened, images=len(asked))
    answers = tqdm(model.answers(asked.file), "score", len(asked), unit="img", disable=None)
    asked[[*ANSWER]] = pd.DataFrame(answers, columns=ANSWER)
    asked["verdict"] = opened.description.verdicts(asked.score)
    readable = asked[asked.reason == ""]
    for line in left_out([place]) if place.is_dir() else ():
        print(f"left out: {line}")
    for row in asked[asked.reason != ""].itertuples():
        print(f"error: {row.file} cannot be read: {row.reason}", file=sys.stderr)
    new = readable[readable.label.isna()]
    said = lots.sentences(opened.reference, lots.sums(new, new.score, new.group))
    print("\n".join(said), end="\n" if said else "")
    every = review.chosen(readable, options.audit_share, options.seed)
    if every.empty:
        raise DataError(f"{place}: there is no part to look at again, and none to audit")
    parts = every[every.groupby("drawn").cumcount() < most]
    is_sealed = opened.description.seal == opened.description.promise_digest
    promised = opened.description.promised_escape_rate if is_sealed else 1.0
    parts = parts.assign(promised=promised if promised < 1 else None, seal=opened.description.seal)
    saved_as = f"{options.out.stem}.judged.csv"
    by = f"{opened.description.title}, run {opened.description.run}"
    unlike = "\n".join(line for line in said if line.startswith(lots.UNLIKE))
    about = {"title": place.name, "described": by, "saved_as": saved_as, "unlike": unlike}
    text = review.page(model, parts, **about)
    files.write_bytes(options.out, text.encode())
    each = ", ".join(f"{count} {kind}" for kind, count in parts.drawn.value_counts().items())
    if (parts.verdict != parts.drawn)[parts.drawn == review.LOOK_AGAIN].any():
        each += " (all parts are rejected: one stands for the lot)"
    print(f"{options.out}, {len(text) / 1e6:.1f} MB: {each}; {parts.passed.iloc[0]} passed")
    if more := len(every) - len(parts):
        print(
            f"left out: {more} parts above --most {most} of a kind: of a lot drawn at random, "
            "of the suspects the last ones"
        )
    print(f"Judge them in a browser, then: {program('review')} --read {shlex.quote(saved_as)} ...")
    print(opened.description.promise)
    return int(len(readable) < len(asked))


def _read(options: argparse.Namespace) -> int:
    """Merge judgements into a LABELS_CSV, and say what they tell."""
    judged = judgements.read_judgements(options.read)
    print(f"{options.read}: saved at {judged.saved.iloc[0]}")
    for newer in options.read.parent.glob(f"{glob.escape(options.read.stem)} (*).csv"):
        print(f"note: {newer} was saved beside it later", file=sys.stderr)
    labels = judgements.with_reviews(judged, options.labels)
    files.save_csv(options.out, labels)
    print(pd.crosstab(judged.drawn, judged.judgement.fillna("not judged")).to_string())
    print(judgements.say_escapes(judged))
    unstated = "The page states no promise: no promise can be checked."
    print(unstated if judged.promised.isna().all() else judgements.say_promise(labels))
    print(
        f"{options.out}: {labels.review.notna().sum()} labels of reviews, for training alone. With "
        "the images directly in the data set's folder, start a run with another --name and "
        f"-p LABELS_CSV={shlex.quote(str(options.out))}"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("review", __doc__)
    add = parser.add_argument
    add("--model", help="RUN or RUN/MODEL in data/runs, or a model's folder")
    add("--images", type=Path, metavar="FOLDER", help="the lot; or a CSV, as for helpers.score")
    add("--suspects", type=Path, metavar="CSV", help="labels_to_check.csv of notebook 07")
    add("--out", type=Path, required=True, help="the page, or with --read the LABELS_CSV, to write")
    share = "of the passed parts that are judged too; default 0.02"
    add("--audit-share", type=float, default=0.02, metavar="SHARE", help=share)
    add("--most", type=int, default=MOST, help=f"parts of each kind on the page; default {MOST}")
    add("--seed", type=int, default=0, help="of the parts that are drawn, and of their order")
    add("--read", type=Path, metavar="CSV", help="what a page has saved")
    add("--labels", type=Path, metavar="CSV", help="with --read: an older LABELS_CSV, to continue")
    return parser
