"""Read what a person said about the parts on a page of `helpers.deploy.review`, and use it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.core import files, metrics
from helpers.core.style import LABEL_NAMES, with_interval
from helpers.datasets.named import AUDITS, LABEL_WORDS, resolved
from helpers.deploy.review import AUDIT, LOOK_AGAIN, SUSPECT
from helpers.results import betting

COLUMNS = ["path", "group", "drawn", "judgement", "before_scores", "passed"]
COLUMNS += ["held", "promised", "seal", "page", "saved"]  # page: its digest; saved: the time
NONE_PASSED = "none passed"  # of the lot, so no part of it is audited
LABELS = [*LABEL_NAMES.values()]  # a judgement may also be "unsure", or missing
KNOWN_LABELS = [*LABEL_WORDS, np.nan]  # in a LABELS_CSV
OTHER_PAGE = (
    "{path!r} was judged on another page by the same thresholds: read one page of each lot, and "
    "give the folder of each lot its own name, in the saved CSV too (a camera may name files alike)"
)


def read_judgements(path: Path) -> pd.DataFrame:
    """Load the CSV that a page has saved.

    `drawn` says why a part was on the page, `before_scores` is its judgement before any score was
    shown, `passed` the number of parts that passed.

    Raises:
        ArtifactError: the file is missing, damaged, or not such a CSV; the line is named.
    """
    words = [*LABELS, "unsure", np.nan]
    frame = files.load_csv(path, COLUMNS, text=COLUMNS)
    known = {"judgement": words, "before_scores": words, "drawn": [LOOK_AGAIN, AUDIT, SUSPECT]}
    checks = {f"{name} {{{name}!r}} is unknown": ~frame[name].isin(known[name]) for name in known}
    numbers = frame[["passed", "held", "promised"]].apply(pd.to_numeric, errors="coerce")
    wrong = numbers.passed.isna() | frame.promised.notna() & numbers.isna().any(axis="columns")
    wrong |= (numbers[["passed", "held"]] < 0).any(axis="columns") | (numbers.promised > 1)
    checks["passed {passed!r}, held {held!r} or promised {promised!r} is no such number"] = wrong
    again = frame.path.isna() | frame.duplicated(["path", "drawn"])
    checks["path {path!r} is missing or named again"] = again
    files.refuse_marked(path, frame, checks, "; give the CSV as the page saved it")
    if frame.empty:
        raise files.ArtifactError(f"{path} names no part")
    return frame


def say_escapes(judged: pd.DataFrame) -> str:
    """Say how many of the passed parts are bad, from the audited ones alone.

    What was said before the scores were shown counts. Parts on which nobody has decided count as
    good at the lower end of the interval, and as bad at the upper end.
    """
    audited = judged[judged.drawn == AUDIT]
    if audited.empty:
        return "No passed part was audited, so nothing is known about escapes."
    n, n_bad = len(audited), int((audited.before_scores == "bad").sum())
    undecided = int((~audited.before_scores.isin(LABELS)).sum())
    rate, low, _ = metrics.exact_interval(n_bad, n)
    high = metrics.exact_interval(n_bad + undecided, n).high
    return (
        f"Escapes: {n_bad} of {n} audited parts are bad, {undecided} undecided: "
        f"{with_interval(rate, low, high)} % of the {audited.passed.iloc[0]} passed parts (exact "
        "95 % interval).\nThey were drawn at random; parts that a score has selected count neither "
        "here nor in a promise.\nA promise is about another rate, the share of the bad parts that "
        "pass: rejected parts would have to be judged too."
    )


def audits_of(judged: pd.DataFrame) -> pd.DataFrame:
    """Return the evidence of audited parts on the promise: `path`, `audit_said`, `audit_gain`.

    The mean of `audit_gain` over the parts of a lot is its `betting.gain`. Judgements made before
    the scores were shown count: a part that did not pass is bad unless it was judged good, an
    audited one is bad only if it was judged bad, so undecided parts favour the promise. If no part
    passed, one part to look at again stands for the lot. Without a promise there are no rows.
    """
    lot = judged[judged.promised.notna()]
    audited, again = lot[lot.drawn == AUDIT], lot[lot.drawn == LOOK_AGAIN]
    if audited.empty:
        audited = again[again.passed.astype(np.float64) == 0].head(1)
    number = audited[["passed", "held", "promised"]].astype(np.float64)
    cleared = (again.before_scores == "good").sum()
    total, is_bad = number.passed + number.held, audited.before_scores == "bad"
    held_bad_share = (number.held - cleared) / total
    gains = betting.gain(is_bad * number.passed / total, held_bad_share, number.promised)
    said = audited.before_scores.fillna("unsure").where(audited.drawn == AUDIT, NONE_PASSED)
    return audited[["path"]].assign(audit_said=said, audit_gain=gains)


def say_promise(labels: pd.DataFrame) -> str:
    """Say whether the promise of the newest `audit_seal` holds, from its lots in a LABELS_CSV."""
    audits = labels.reindex(columns=AUDITS).dropna(subset=["audit_gain", "audit_lot", "audit_seal"])
    if audits.empty:
        return "No lot was audited under a promise, so it cannot be checked."
    audits = audits.assign(n=audits.audit_said != NONE_PASSED, bad=audits.audit_said == "bad")
    about = {"audit_time": "max", "audit_seal": "first", "audit_gain": "mean"}
    about |= {"n": "sum", "bad": "sum"}
    lots = audits.groupby("audit_lot").agg(about).sort_values("audit_time")
    lots = lots[lots.audit_seal == lots.audit_seal.iloc[-1]]
    capital = betting.capital(lots.audit_gain)
    is_broken = capital >= betting.BROKEN_FROM
    last = int(is_broken.argmax()) if is_broken.any() else len(lots) - 1
    seen = lots.iloc[: last + 1]
    what = (
        f"{seen.bad.sum()} of {seen.n.sum()} audited parts of {len(seen)} lot(s) are bad, and a "
        f"bet against the promise has made {capital[last]:.3g} of 1. It reaches "
        f"{betting.BROKEN_FROM:.0f} on at most 5 of 100 lines on which no more than promised pass, "
        "however often one looks"
    )
    if not is_broken.any():
        return f"The promise: nothing speaks against it so far: {what}."
    return (
        f"THE PROMISE NO LONGER HOLDS since {seen.audit_time.iloc[-1]}: {what}. More bad parts "
        "pass than promised: check what passed, and choose thresholds by parts of today's line."
    )


def with_reviews(judged: pd.DataFrame, labels_csv: Path | None = None) -> pd.DataFrame:
    """Return a LABELS_CSV with the judgements as its column `review`; "unsure" gives no label.

    The rows and labels of an older `labels_csv` are kept: a label of a review is used for training
    only, not for evaluation (`members.sides`). Parts of a lot also have the columns `AUDITS`, which
    `say_promise` reads, and no run does.

    Raises:
        ArtifactError: the older CSV is missing or damaged, has an unknown label, lacks or repeats a
            path, or has an image of another page of the same thresholds (`audit_seal`): two lots
            must not share names, and a lot counts once.
    """
    decided = judged[judged.judgement.isin(LABELS)].drop_duplicates("path")
    new = decided[["path", "group"]].assign(review=decided.judgement)
    if len(audits := audits_of(judged)):
        new = new.merge(audits, on="path", how="outer")
    lot = judged[judged.drawn != SUSPECT].drop_duplicates("path").set_index("path")
    for name, column in (("audit_lot", "page"), ("audit_time", "saved"), ("audit_seal", "seal")):
        new[name] = new.path.map(lot[column])
    new = new.drop(columns=[name for name in AUDITS if name in new and new[name].isna().all()])
    if labels_csv is None:
        return new.drop(columns="group")
    old = files.load_csv(labels_csv, ("path",), ("label", "review", "group", *AUDITS[:-1]))
    said = old.filter(["label", "review"])
    checks = {f"{name} {{{name}!r}} is unknown": ~said[name].isin(KNOWN_LABELS) for name in said}
    checks["path {path!r} is missing or named again"] = old.path.isna() | old.path.duplicated()
    files.refuse_marked(labels_csv, old, checks)
    gain = pd.to_numeric(old.get("audit_gain", pd.Series(0.0, old.index)), errors="coerce")
    wrong = gain.isna() & old.get("audit_said", pd.Series(None, old.index)).notna()
    files.refuse_marked(labels_csv, old, {"audit_gain is not a number": wrong})
    old = old.drop(columns="id", errors="ignore")  # that of a new image is not known here
    is_whole = new.path.map(os.path.isabs)
    new["path"] = new.path.mask(is_whole, new.path.map(os.path.realpath))
    known = old.path  # as the new ones are written, so that no image is named twice
    if is_whole.any():
        known = resolved(known, new.path[is_whole], labels_csv.parent)
    lots = new.set_index("path").reindex(known, columns=["audit_lot", "audit_seal"])
    before = old.reindex(columns=lots.columns)
    is_page, is_seal = (before[name].eq(lots[name].to_numpy()) for name in lots)
    slashed = known.str.replace("\\", "/")
    checks = {
        "path {path!r}: write / instead of \\": ~known.isin(new.path) & slashed.isin(new.path),
        OTHER_PAGE: ~is_page & is_seal & before.audit_lot.notna(),
    }
    files.refuse_marked(labels_csv, old, checks)
    for name in new.columns.drop(["path", "group"]):
        said = known.map(new.set_index("path")[name]).astype(object)
        old[name] = said.fillna(old[name]) if name in old else said
    added = new[~new.path.isin(known)].reindex(columns=old.columns)
    return pd.concat([old, added], ignore_index=True)
