"""Sentences of notebook 06, computed from its tables; "" or nothing if there is nothing to say.

AUCs are in per cent, as in the tables ("95.1 [93.5, 96.6]"), their differences in points.
Intervals are those of the tables, 95 % everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from helpers.core.metrics import exact_interval, rate_interval
from helpers.core.style import SIDES, SIGNIFICANT, p_value, percent, percent_up, with_interval
from helpers.models.names import ENSEMBLES, display_name
from helpers.results.calibration import ABOUT_ONE
from helpers.results.comparison import holm
from helpers.results.decision import PER_PARTS, rule_text
from helpers.results.operating_point import Line, costs_of_one_answer
from helpers.results.report_table import REFERENCES, in_points, per_cent

NAMED = 3  # models that a sentence names; others are counted
PERMUTATIONS = 5000
Row = Mapping[str, Any]


class Submitted(NamedTuple):
    """Sentences about the submitted row; "" if there is no other row."""

    best: str
    rival: str = ""
    others: str = ""


def submitted(table: pd.DataFrame, compared: pd.DataFrame, name: str, side: str) -> Submitted:
    """Say which row is submitted, how good it is, and whether it beats the next one.

    Args:
        table: `results_table.whole_table`.
        compared: `comparison.compare_with` the submitted row.
        name: the submitted model.
        side: "test", or "val" if the test labels are hidden.
    """
    models = table[~table.model.isin({*REFERENCES} - {name})].set_index("model")
    row, column = models.loc[name], f"{side}_auc"
    rivals = models[models.n_val == row.n_val]
    kind = "models" if len(rivals) == len(models) else "models validated on as many images"
    best = (
        f"Submitted: {display_name(name)}, the best of {len(rivals)} {kind} by validation AUC "
        f"({percent(row.val_auc)})"
    )
    if len(equal := rivals.index[rivals.val_auc == row.val_auc].drop(name)):
        best += f", as good there as {_names(equal)}"
    best += f"; its test AUC is {per_cent(row, column)}." if side == "test" else "."
    if compared.empty:
        return Submitted(best)
    others = compared.set_index("model")
    rival = others.loc[others.difference.idxmax()]
    verb = "is behind by" if rival.difference <= 0 else "is ahead by"
    is_clear = rival.p_holm < SIGNIFICANT
    closest = (
        f"The best other row on {SIDES[side]}, {display_name(str(rival.name))}, {verb} "
        f"{100 * abs(rival.difference):.1f} points (difference {in_points(rival)}, "
        f"{p_value(rival.p_holm)} after Holm's correction): "
        f"{'a significant difference' if is_clear else 'not a significant difference'}."
    )
    worse = others[(others.p_holm < SIGNIFICANT) & (others.difference < 0)]
    like = others[others.p_holm >= SIGNIFICANT].sort_values("difference", ascending=False)
    sentence = ""
    if len(others) > 1:
        verb = "is" if len(worse) == 1 else "are"
        sentence = f"{len(worse)} of the {len(others)} other rows {verb} significantly worse"
        sentence += f"; not told apart: {_names(like.index)}." if len(like) else "."
    return Submitted(best, closest, sentence)


def ensembles(joined: pd.DataFrame) -> list[str]:
    """Say what each of `ensembles.write_ensembles` gained over the best single model."""
    return [
        f"{display_name(row.ensemble)} changes the validation AUC by "
        f"{100 * row.gain:+.2f} ± {100 * row.error:.2f} points against the best single model, "
        f"{display_name(row.best)}: {'more' if row.kept else 'not more'} than one standard error, "
        f"so it is {'kept' if row.kept else 'dropped'}."
        for row in joined.itertuples()
    ]


def kinds(table: pd.DataFrame, model: str, side: str) -> list[str]:
    """Say whether the hardest kind of part is harder than the easiest (`subgroup_table`)."""
    said = []
    known = table[(table.model == model) & table.auc.notna()]
    for _, own in known.groupby("group", sort=False):
        if len(own) < 2:
            continue
        best, worst = own.loc[own.auc.idxmax()], own.loc[own.auc.idxmin()]
        error = np.hypot(*((one.high - one.low) / (2 * 1.96) for one in (best, worst)))
        difference = best.auc - worst.auc
        if not difference:
            same = f"{SIDES[side]} AUC {percent(best.auc)} on all {len(own)} kinds of parts"
            said.append(f"{display_name(model)} has {same} ({', '.join(map(str, own.kind))}).")
            continue
        text = (
            f"{display_name(model)} has {SIDES[side]} AUC {percent(best.auc)} on {best.kind} and "
            f"{percent(worst.auc)} on {worst.kind} parts"
        )
        if error > 0:
            pairs = len(own) * (len(own) - 1) / 2  # the farthest apart of so many
            p = min(1.0, pairs * float(2 * stats.norm.sf(difference / error)))
            text += f", {100 * difference:.1f} ± {100 * error:.1f} points less ({p_value(p)})"
        said.append(text + ".")
    return said


def groups(table: pd.DataFrame, row: Row, side: str) -> str:
    """Say how good a model is inside the groups (`comparison.group_table`, its results row)."""
    known = table[table.auc.notna()]
    within = f"{side}_within_auc"
    if known.empty or pd.isna(row.get(within)):
        return ""
    lowest = known.loc[known.auc.idxmin()]
    own = with_interval(lowest.auc, lowest.low, lowest.high)
    end = f"; the lowest is {own} in {lowest.group}"
    if lowest.high >= row[f"{side}_auc"]:  # chance may have made it the lowest
        end = ""
    return (
        f"Inside the {len(known)} groups with at least two parts of each class the AUC is "
        f"{per_cent(row, within)} on average, {per_cent(row, f'{side}_auc')} over all "
        f"parts together{end}."
    )


def mistakes(found: pd.DataFrame, n_good: int, n_bad: int) -> str:
    """Say how many parts are on the wrong side of a threshold (`mistakes.mistakes`)."""
    escapes = int((found.kind == "escape").sum())
    false_alarms = len(found) - escapes
    return (
        f"{escapes} of {n_bad} bad parts are called good "
        f"({with_interval(*exact_interval(escapes, n_bad), ' %')}) and "
        f"{false_alarms} of {n_good} good parts are called bad "
        f"({with_interval(*exact_interval(false_alarms, n_good), ' %')})."
    )


def doubted_mistakes(found: pd.DataFrame, judged: pd.DataFrame) -> str:
    """Say how many of the mistakes the annotators doubted, against the other judged parts.

    Both tables have `id`, and `probability` if the source has the annotators' doubts.
    """
    doubted, wrong = _doubted(judged), judged.id.isin(found.id)
    if doubted is None or found.empty or wrong.all():
        return ""
    own, others = (
        with_interval(*exact_interval(int(doubted[rows].sum()), int(rows.sum())), " %")
        for rows in (wrong, ~wrong)
    )
    return (
        f"The annotators doubted {own} of these {wrong.sum()} parts themselves, and {others} of "
        "the parts that are called rightly."
    )


def mistakes_by_group(table: pd.DataFrame, model: str) -> str:
    """Say whether a model's mistakes gather in some groups (`comparison.group_table`).

    A permutation test: the mistakes are drawn at random from all parts, and the sum over the groups
    of (mistakes squared / parts) is compared.
    """
    sizes = (table.n_good + table.n_bad).to_numpy(dtype=np.int64)
    wrong = (table.escapes + table.false_alarms).to_numpy(dtype=np.int64)
    if len(table) < 2 or wrong.sum() < 2:
        return ""
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_hypergeometric(sizes, int(wrong.sum()), PERMUTATIONS)
    reached = ((drawn**2 / sizes).sum(axis=1) >= (wrong**2 / sizes).sum() - 1e-9).sum()
    p = float((reached + 1) / (PERMUTATIONS + 1))
    own = f"The mistakes of {display_name(model)}"
    if p >= SIGNIFICANT:
        return f"{own} are spread over the groups as chance would do it ({p_value(p)})."
    excess = wrong - sizes * wrong.sum() / sizes.sum()
    first = table.loc[[k for k in np.argsort(-excess, kind="stable")[:NAMED] if excess[k] > 0]]
    most = ", ".join(
        f"{row.group} ({row.escapes + row.false_alarms} of {row.n_good + row.n_bad})"
        for row in first.itertuples()
    )
    share = f"{(first.escapes + first.false_alarms).sum()} of {wrong.sum()} are in {most}"
    return f"{own} gather in some groups ({p_value(p)}): {share}."


def training_size(table: pd.DataFrame, side: str) -> str:
    """Say what more training images would bring (`training_size.size_table`)."""
    if len(table) < 2:
        return ""
    aucs = ", ".join(f"{percent(row.auc)} with {row.images:,}" for row in table.itertuples())
    last = table.iloc[-1]
    text = (
        f"Logistic regression on frozen features reaches a {SIDES[side]} AUC of {aucs} images of "
        "training and validation, and the last step brings "
        f"{in_points(last, 'gain', 'gain_')} points"
    )
    if last.gain_low > 0:
        return f"{text}, so more images would probably help further."
    if last.gain_high < 0:
        return f"{text}, so the added images made it worse."
    return f"{text}, which may be chance."


def two_splits(table: pd.DataFrame, model: str) -> list[str]:
    """Say what models lose on groups that no training has seen (`two_splits.compare_runs`).

    If the other run lacks the model, the best single one of both runs is named instead of it.
    """
    by_name, why = table.set_index("model"), ""
    if model not in by_name.index:
        is_single = ~by_name.index.isin(ENSEMBLES)
        mean = (by_name.random_val_auc + by_name.groups_val_auc) / 2
        asked, model = model, str(mean.where(is_single, 0).idxmax())
        why = (
            " (the best single model by the mean of both validation AUCs; "
            f"{display_name(asked)} is in one run alone)"
        )
    row = by_name.loc[model]
    own = (
        f"{display_name(model)}{why} has test AUC {per_cent(row, 'random_auc')} on the random "
        f"split and {per_cent(row, 'groups_auc')} on unseen groups: a difference of "
        f"{in_points(row, 'difference', 'difference_')} points; its validation AUC was "
        f"{percent(row.random_val_auc)} and {percent(row.groups_val_auc)}."
    )
    if len(table) == 1:
        return [own]
    lower = table.difference < 0
    lost, clear = -100 * table.difference[lower], lower & (holm(table.p_value) < SIGNIFICANT)
    if lost.empty:
        return [f"None of {len(table)} models has a lower test AUC on unseen groups.", own]
    count = f"All {len(table)}" if lower.all() else f"{len(lost)} of {len(table)}"
    some = f"{clear.sum()} of these losses {'is' if clear.sum() == 1 else 'are'} significant"
    if not clear.any():
        some = "no single loss is significant"
    losses = f"{lost.min():.1f} to {lost.max():.1f}" if len(lost) > 1 else f"{lost.iloc[0]:.1f}"
    return [
        f"{count} models {'has' if len(lost) == 1 else 'have'} a lower test AUC on unseen groups, "
        f"by {losses} points, and by Holm's correction {some}.",
        own,
    ]


def calibration(table: pd.DataFrame, model: str) -> str:
    """Say whether a model's scores are probabilities (`decision.calibration_table`)."""
    rows = table.set_index("model")
    row, base = rows.loc[model], rows.brier["base rate"]
    inside = "inside" if row.brier_low <= row.brier_scaled <= row.brier_high else "outside"
    sure = "was too sure" if row.temperature > 1 else "was not sure enough"
    change = f"(the model {sure}) changes it to {row.brier_scaled:.3f}, {inside} this interval"
    if abs(row.temperature - 1) < ABOUT_ONE:
        change = "leaves the scores as they are"
    return (
        f"The scores of {display_name(model)} have a Brier score of {row.brier:.3f} "
        f"[{row.brier_low:.3f}, {row.brier_high:.3f}], against {base:.3f} for the base rate alone, "
        f"and a temperature of {row.temperature:.2f} {change}."
    )


def promise(points: pd.DataFrame, model: str, side: str) -> list[str]:
    """Say what the promised escape rate costs, and what happened (`decision.operating_table`)."""
    rows = points[points.model == model].set_index("rule")
    said = []
    row = rows.loc["expected"]
    asked = f"{100 * row.asked:g} %"
    what = f"{display_name(model)} promises {percent_up(row.promised)} % escapes"
    if side == "test":
        what += f", and {row.test_escapes:.0f} of {row.test_bad:.0f} bad parts on test escape, "
        what += f"{_rate(row, 'test_escape_rate')}, "
        if row.test_escape_rate_low > row.promised:
            what += "significantly more; a promise holds on average over validation sets"
        else:
            what += "not significantly more"
    said.append(
        f"{what}; judged on {SIDES[side]}, it passes {_rate(row, f'{side}_passed')} of the line's "
        f"parts automatically, leaves {_rate(row, f'{side}_reviewed')} for a second look and "
        f"rejects {_rate(row, f'{side}_overkill_rate')} of the good parts (overkill)."
    )
    if not row.is_kept:
        said.append(f"{asked} was asked: {row.val_bad:.0f} bad parts held out are too few for it.")
    if "confident" in rows.index and rows.is_kept["confident"]:
        sure = rows.loc["confident"]
        said.append(
            f"To promise {asked} at 95 % confidence, {_rate(sure, f'{side}_passed')} of the "
            f"line's parts pass and "
            f"{_rate(sure, f'{side}_overkill_rate')} of the good parts are rejected."
        )
    return said


def costs(points: pd.DataFrame, model: str, side: str, line: Line) -> str:
    """Say what the cheapest thresholds cost against one answer for all parts of the line."""
    rows = points[points.model == model].set_index("rule")
    if not line.escape_cost:
        return ""
    own, least = rows.loc["cheapest"], rows[f"{side}_cost"].idxmin()
    promised = f"{own.val_cost:,.1f} on validation; " if side == "test" else ""
    text = (
        f"If an escape costs {line.escape_cost:g}, a rejected good part {line.false_alarm_cost:g} "
        f"and a look {line.review_cost:g}, the thresholds that are cheapest on validation "
        f"cost {own[f'{side}_cost']:,.1f} per {PER_PARTS:,} parts of the line, judged on "
        f"{SIDES[side]} ({promised}"
        f"{100 * own[f'{side}_reviewed']:.0f} % of them are looked at again); "
        f"{costs_of_one_answer(line, PER_PARTS)}."
    )
    if (cost := rows[f"{side}_cost"][least]) < own[f"{side}_cost"]:
        rule = rule_text({"rule": least, **rows.loc[least]})
        text += f' There the thresholds for "{rule}" cost less, {cost:,.1f}.'
    return text


def label_audit(audited: pd.DataFrame) -> str:
    """Say how many labels are suspect, and how many of these the annotators doubted.

    `audited` is the table of `label_audit.audit`; the doubts need its column `probability`.
    """
    suspect, doubted, groups = audited.is_suspect, _doubted(audited), audited.get("group")
    share = f"{100 * suspect.mean():.1f} %"
    text = f"{suspect.sum():,} of {len(audited):,} labels are suspect ({share})"
    if doubted is None or not suspect.any():
        return text + "."
    of_all = rate_interval(doubted, groups)
    of_suspect = rate_interval(doubted[suspect], None if groups is None else groups[suspect])
    return (
        f"{text}; the annotators doubted {with_interval(*of_suspect, ' %')} of them, "
        f"against {with_interval(*of_all, ' %')} of all labels."
    )


def label_mappings(table: pd.DataFrame) -> str:
    """Say how much the mapping of labels alone moves the numbers of the same scores."""
    low, high = table.loc[table.accuracy.idxmin()], table.loc[table.accuracy.idxmax()]
    return (
        f"The same scores have an accuracy of {100 * low.accuracy:.1f} % ({low.mapping}) to "
        f"{100 * high.accuracy:.1f} % ({high.mapping}): only numbers under the same mapping can be "
        "compared."
    )


def _rate(row: Row, column: str) -> str:
    return per_cent(row, column, " %")


def _doubted(parts: pd.DataFrame) -> pd.Series | None:
    """Return True where the annotators' defect probability is neither 0 nor 1; None without it."""
    if "probability" not in parts or parts.probability.isna().all():
        return None
    return parts.probability.between(0, 1, inclusive="neither")


def _names(models: Sequence[str]) -> str:
    shown = ", ".join(display_name(name) for name in models[:NAMED])
    return shown + (f" and {len(models) - NAMED} more" if len(models) > NAMED else "")
