"""Labels of some parts of a lot move the scores of its other parts, see `lot_offset`."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from helpers.core import files
from helpers.core.errors import UserError
from helpers.datasets.named import LABEL_WORDS, resolved
from helpers.decisions.lot_offset import moved, offset
from helpers.deploy.description import VERDICTS, Description
from helpers.deploy.predictor import Opened

GOOD, BAD = "known good", "known bad"  # verdicts of the labelled parts
UNDECIDED = "unsure"
NO_LOTS = "the lots of its run are unknown, not kept apart by the split, or fewer than five "
NO_LOTS += "(or an older notebook 07 has described it: run 07 again)"


def read_known(path: Path, opened: Opened, asked: Sequence[str]) -> pd.Series:
    """Return the labels (0, 1) that a CSV gives to some of the `asked` files, by their real paths.

    It has a column `path`, as for LABELS_CSV, and `judgement` or `label`: good, bad, another name
    of a class folder, or nothing ("unsure" too). So has what `helpers.review` saves.
    """
    if opened.description is None or opened.description.lot_model is None:
        raise UserError(f"--known cannot be used with this model: {opened.remark or NO_LOTS}")
    frame = files.load_csv(path, ("path",), text=("judgement", "label"))
    name = next((name for name in ("judgement", "label") if name in frame), None)
    if name is None:
        raise UserError(f"--known {path} needs a column judgement or label (good, bad)")
    word = frame[name].str.strip().str.lower()
    label = word.map(LABEL_WORDS)
    unknown = label.isna() & word.notna() & ~word.isin(["", UNDECIDED])
    wrong = {"path is missing": frame.path.isna(), f"{name} {{{name}!r}} is unknown": unknown}
    files.refuse_marked(path, frame, wrong)
    there = pd.Series(asked).map(os.path.realpath)
    place = resolved(frame.path, there, path.absolute().parent)
    labels = pd.Series(label.to_numpy(), place).dropna().astype(int)
    if absent := [*labels.index.difference(there)]:
        print(f"left out: {len(absent)} labelled path(s) not among the images, as {absent[0]}")
    labels = labels[labels.index.isin(there)]
    if (several := labels.groupby(level=0).nunique()).gt(1).any():
        raise UserError(f"--known {path} calls {several.idxmax()} both good and bad")
    if labels.empty:
        raise UserError(f"--known {path} labels none of the images as good or bad")
    return labels[~labels.index.duplicated()]


def lot_of(file: str) -> str:
    """Return the folder of a file as it is named; `good/lot7` and `bad/lot7` are one lot."""
    folder = Path(os.path.abspath(file)).parent
    is_class = folder.parent.name.lower() in LABEL_WORDS
    return os.path.relpath(folder.parent.parent / folder.name if is_class else folder)


def with_known(table: pd.DataFrame, labels: pd.Series, about: Description | None) -> pd.DataFrame:
    """Return the table of `TrainedModel.judged` with the scores of lots moved, and say by how much.

    A lot is the folder of its images (`lot_of`). `score_before` is the network's own. A part with
    a label is "known good" or "known bad". Another passes or is rejected if it does so by both
    scores, so that the promise is kept; else it is looked at again.
    """
    assert about and about.lot_model  # `read_known` has refused another
    place = table.file.map(os.path.realpath)
    table = table.assign(lot=table.file.map(lot_of), shift=0.0, score_before=table.score)
    readable = table.score.notna()
    label = place.map(labels).where(readable)
    if label.isna().all():
        raise UserError("--known: none of the images that it labels can be read")
    for lot, rows in table.groupby("lot").groups.items():
        known = label[rows][~place[rows].duplicated()].dropna()
        found = offset(about.lot_model, known, table.score[known.index])
        others = rows[label[rows].isna() & readable[rows]]
        if found.parts:
            table.loc[others, "shift"] = found.shift
            print(
                f"{lot}: {found.parts} labelled parts ({int(known.sum())} bad) move the logits of "
                f"the {len(others)} other scores by {found.shift:+.4f} ± {found.error:.2f}"
            )
    table["score"] = moved(table.score, table["shift"])
    table["probability"] = about.probabilities(table.score)
    after = about.verdicts(table.score, table.warning)
    table["verdict"] = table.verdict.where(table.verdict == after, VERDICTS[1])
    return table.assign(verdict=label.map({0: GOOD, 1: BAD}).fillna(table.verdict))
