"""The results table: one row per model, made from its scores alone, and the facts of its run.

Test labels are used here and in what is made of these rows, after every choice was made.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from helpers.core import metrics, style
from helpers.core.finding import Finding
from helpers.core.members import folds_of
from helpers.core.style import OUT_OF_FOLD, SIDES
from helpers.models.record import Model
from helpers.results import comparison
from helpers.results.comparison import with_ends
from helpers.results.predictions import Scored

if TYPE_CHECKING:
    from IPython.display import HTML

CHOSEN = "chosen on held-out images"
TRAINING = ("03_finetuning", "02_features_baselines")  # notebooks that record their backbone


def results_table(scored: Mapping[str, Scored], split: pd.DataFrame) -> pd.DataFrame:
    """Return one row per model (see `evaluate`), and last the larger class of the training set.

    `judged_by` names the scores that judge; `groups_are` "seen" or "unseen" in training; `rank` is
    the place in `comparison.ranked`.
    """
    bad_rate = training_bad_rate(split)
    order = comparison.ranked(scored)
    rows = [evaluate(m, bad_rate) | {"rank": order.index(name)} for name, m in scored.items()]
    labels = {side: column.dropna().astype(int) for side, column in split.groupby("split").label}
    call = int(labels["train"].mode().iloc[0])
    held = split.label[split.fold.notna()].dropna() if folds_of(split) else labels["val"]
    majority = _names(Model("majority")) | {"val_auc": 0.5}
    majority["val_accuracy"] = float((held == call).mean())
    if "test" in labels and (test := labels["test"]).nunique() == 2:
        majority |= {"test_auc": 0.5, "test_accuracy": float((test == call).mean())}
    first = next(iter(scored.values()))
    groups_are = "unseen" if first.groups_apart else "seen"
    facts = {"judged_by": first.judged_by, "groups_are": groups_are}
    return pd.DataFrame([*rows, majority]).assign(**facts)


def with_tests(
    table: pd.DataFrame, scored: Mapping[str, Scored], costs: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Return `results_table` with costs, and each row's AUC compared with the best row's."""
    # trained parameters of one network, seconds of all trainings
    known = [{"model": name, **costs.get(name, {})} for name in scored]
    spent = pd.DataFrame(known, columns=["model", "parameters", "seconds", "device"])
    compared = comparison.compare_with(scored, best_model(table))
    compared = compared[["model", "difference", "p_value", "p_holm"]]
    return table.merge(spent, "left", "model").merge(compared, "left", "model")


def finding(table: pd.DataFrame, model: str, column: str, what: str) -> Finding:
    """Return a number of a model's row, such as "test_auc", with its interval as a finding."""
    row = table.set_index("model").loc[model]
    return Finding(f"{row.title}: {what}", *comparison.interval_of(row, column))


def evaluate(scored: Scored, bad_rate: float) -> dict[str, Any]:
    """Return the row of one model; without test columns if labels are hidden or of one class.

    Validation accuracy is that of the best threshold on validation and so a little too good. The
    `threshold` for test is chosen there too, weighted as on the line (`bad_rate`). If the split
    keeps groups apart, they are the units of the 95 % intervals; `test_within_auc` is inside them.
    """
    val, groups = scored.labels_scores("val"), scored.groups()
    threshold = metrics.most_accurate_threshold(*val, bad_rate)
    row = _names(scored.model) | {"threshold": threshold, "n_val": len(val[0])}
    thresholds = {"val": metrics.most_accurate_threshold(*val, float(val[0].mean()))}
    if scored.judged_on == "test":
        thresholds["test"] = threshold
    for side, called_from in thresholds.items():
        (labels, scores), blocks = scored.labels_scores(side), scored.blocks(side)
        row |= with_ends(f"{side}_auc", metrics.auc_interval(labels, scores, blocks))
        is_right = (scores >= called_from) == labels
        row |= with_ends(f"{side}_accuracy", metrics.rate_interval(is_right, blocks))
        if scored.members:
            aucs = [metrics.roc_auc(*member.labels_scores(side)) for member in scored.members]
            row |= {f"{side}_auc_mean": np.mean(aucs), f"{side}_auc_std": np.std(aucs, ddof=1)}
    if scored.averaged:
        row |= {"averaged": scored.averaged}
    if groups is not None:
        inside = metrics.within_group_auc(*scored.labels_scores(), groups)
        if not np.isnan(inside.estimate):
            row |= with_ends(f"{scored.judged_on}_within_auc", inside)
    return row


def _names(model: Model) -> dict[str, Any]:
    return {"model": model.slug, "title": model.title, "kind": model.kind}


def training_bad_rate(split: pd.DataFrame) -> float:
    """Return the fraction of bad parts in training and validation together; one may be balanced."""
    return float(split.loc[split.split.isin(["train", "val"]), "label"].mean())


def chosen_by(table: pd.DataFrame) -> str:
    """Return the scores that choose: "validation", or "out-of-fold" in a run without a test set."""
    return OUT_OF_FOLD if (table.judged_by == OUT_OF_FOLD).any() else "validation"


def best_model(table: pd.DataFrame) -> str:
    """Return the first model by `comparison.ranked` of the table's rows, which may be some of all.

    References are left out if there is anything else, and models that are not judged on all folds.
    """
    rows = table[table.kind != "reference"]
    rows = rows if len(rows) else table[table.model != "majority"]
    rows = rows[rows.n_val == rows.n_val.max()]
    return str(rows.model[rows["rank"].idxmin()])


def paper_table(table: pd.DataFrame, units: str = "groups") -> pd.DataFrame:
    """Return `results_table` (with or without tests and costs) as text, sorted by validation AUC.

    AUCs on the judged side have their interval; the chosen model and references are marked. Empty
    columns are left out. `units` is the word for groups, such as "modules".
    """
    has_test = "test_auc" in table
    rows = table.assign(last=table.model == "majority", star="", mark="").sort_values(
        ["last", "val_auc"], ascending=[True, False], kind="stable"
    )
    rows.loc[rows.kind == "reference", "mark"] = " (reference)"
    rows.loc[rows.model == best_model(table), "mark"] = f" \N{LEFTWARDS ARROW} {CHOSEN}"
    rows.loc[rows.n_val < rows.n_val.max(), "star"] = "*"  # the first of several folds
    if "averaged" in rows:
        rows["title"] += rows.averaged.map(", mean of {}".format, na_action="ignore").fillna("")
    head = "{} out of fold" if chosen_by(table) == OUT_OF_FOLD else "Valid {}"
    inside = f"inside {table.groups_are.iloc[0]} {units}"
    columns = {"Model": "{title}{mark}"}
    if has_test:
        columns |= {"Valid AUC": "{val_auc:%}{star}", "Test AUC": "{test_auc:%[]}"}
        columns |= {inside: "{test_within_auc:%[]}", "Test Acc": "{test_accuracy:%}"}
    else:
        columns[head.format("AUC")] = "{val_auc:%[]}{star}"
        columns[head.format("Acc")] = "{val_accuracy:%}{star}"
        columns[inside] = "{val_within_auc:%[]}"
    columns |= {"p": "{p_holm:p}", "Parameters": "{parameters:n}", "Time": "{seconds:time}"}
    return style.filled(rows, columns, drop_empty=True)


def shown(
    table: pd.DataFrame, caption: str = "", smoke: bool = False, units: str = "groups"
) -> "HTML":
    """Return the folded `paper_table`; `caption` comes before the meaning of its marks."""
    over = "images" if table.groups_are.iloc[0] == "seen" else "groups"
    words = [style.SMOKE_NOTE.upper() + "." if smoke else "", caption or "The numbers."]
    words.append(f"Per cent, 95 % intervals over {over}; sorted by {chosen_by(table)} AUC.")
    if chosen_by(table) == OUT_OF_FOLD:
        words.append("The best row was chosen on the scores that judge it: a little too good.")
    if table.n_val.dropna().nunique() > 1:
        words.append("* on the first fold alone.")
    if "p_holm" in table:
        words.append("p: paired test against the best row, by Holm. Parameters of one network.")
    return style.folded(" ".join(filter(None, words)), paper_table(table, units))


def facts(stages: Mapping[str, Mapping[str, Any]], split: pd.DataFrame) -> pd.DataFrame:
    """Return a table of facts; `stages` is what the notebooks of a run have recorded (run.json)."""
    first, last = stages[min(stages)], stages[max(stages)]
    given = first.get("settings", {})
    rows = {"Labels": first.get("label_mapping", ""), "Caveats": first.get("caveats", "")}
    for side, own in split.groupby("split", sort=False).label:
        counts = {"good": (own == 0).sum(), "bad": (own == 1).sum(), "unlabelled": own.isna().sum()}
        words = ", ".join(f"{n:,} {word}" for word, n in counts.items() if n)
        rows[f"Images, {SIDES.get(str(side), side)}"] = words
    rows["Split"] = given.get("split_csv") or given.get("split", "")
    rows["Split, seed"] = given.get("seed", "")
    rows["Folds"] = split.fold.nunique() if "fold" in split else "none"
    rows["Backbone"] = backbone(stages)
    for name in sorted(stages):
        settings = stages[name].get("settings", {})
        if "seeds" in settings:
            rows[f"Training seeds, {name[:2]}"] = f"{settings['seeds']} from {settings['seed']}"
    rows["Device"] = last.get("device", "")
    shown = {fact: str(value) for fact, value in rows.items() if value not in ("", None)}
    return pd.DataFrame(shown.items(), columns=["Fact", "Value"])


def backbone(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the pretrained backbone of notebook 03, or else of 02; "" if neither has been run."""
    names = (stages.get(name, {}).get("backbone") for name in TRAINING)
    return next(filter(None, names), "")
