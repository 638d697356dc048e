"""Sentences that a reader would quote, computed from the tables of a run.

Each is "headline: the numbers", so that `style.headline` makes it the title of a picture. A
function returns "" if there is nothing to say. AUCs are in per cent with 95 % intervals, their
differences in points; a difference is said with its interval and p-value, or with its standard
error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from helpers.core.metrics import rate_interval
from helpers.core.style import SIDES, SIGNIFICANT, p_value, percent, percent_up, with_interval
from helpers.core.tables import fill
from helpers.results.comparison import holm, paired
from helpers.results.predictions import Scored
from helpers.results.results_table import best_model, rivals


def best(table: pd.DataFrame) -> str:
    """Say which of all models is best on validation, and its AUC."""
    row = table.set_index("model").loc[best_model(table)].to_dict()
    template = "{title} has the best validation AUC of {n}: {val_auc:%}"
    text = fill(template, row | {"n": _count(len(rivals(table)), "model")})
    return text + (fill(", {test_auc:%[]} on test.", row) if "test_auc" in table else ".")


def next_best(compared: pd.DataFrame, side: str) -> str:
    """Say whether the chosen model beats the next one and all (`comparison.compare_with`)."""
    if compared.empty:
        return ""
    rival = compared.loc[compared.difference.idxmax()]
    clear = compared.p_holm < SIGNIFICANT
    worse = int((clear & (compared.difference < 0)).sum())
    return (
        f"{worse} of {_count(len(compared), 'other model')} {'is' if worse == 1 else 'are'} "
        f"significantly worse on {SIDES[side]}: the next, {rival.title}, differs by "
        f"{fill('{difference:+%[]}', rival)} points ({p_value(rival.p_holm)} after Holm's "
        "correction)."
    )


def gain(
    scored: Mapping[str, Scored], one: str, other: str, subject: str = "", rival: str = ""
) -> str:
    """Say how the AUC of a model differs from another's on the same images, by a paired test.

    It is that on test, or on validation if the test labels are hidden.

    Args:
        scored: the models.
        one, other: two of them; nothing is said if one is missing.
        subject, rival: how to call them in the sentence; default: their titles.
    """
    if one not in scored or other not in scored:
        return ""
    difference, aucs, side = paired(scored[one], scored[other])
    points = f"{abs(100 * difference.difference):.1f} points of {SIDES[side]} AUC"
    verb = f"gains {points} over" if difference.difference > 0 else f"is {points} behind"
    if difference.p_value >= SIGNIFICANT:
        verb = f"is not shown to differ in {SIDES[side]} AUC from"
    return (
        f"{subject or scored[one].model.title} {verb} {rival or scored[other].model.title}: "
        f"{percent(aucs[0])} against {percent(aucs[1])} (difference "
        f"{with_interval(*difference[:3], sign='+')}, {p_value(difference.p_value)})."
    )


def pairs(
    scored: Mapping[str, Scored], rivals: Mapping[str, str], subject: str, verbs: Sequence[str]
) -> str:
    """Say how models differ from their rivals, by paired tests with Holm's correction.

    `rivals` maps the name of each rival to that of the model; missing ones are left out. `verbs`
    are for rivals that are significantly worse, for those that are better, and for neither.
    """
    known = [(one, other) for other, one in rivals.items() if {one, other} <= scored.keys()]
    if not known:
        return ""
    tested = [paired(scored[one], scored[other]) for one, other in known]
    numbers, by_verb = [], dict[str, list[str]]()
    corrected = holm([difference.p_value for difference, *_ in tested])
    for (_, other), (difference, *_), p in zip(known, tested, corrected, strict=True):
        name = scored[other].model.title
        numbers.append(f"{with_interval(*difference[:3], sign='+')} over {name} ({p_value(p)})")
        if p < SIGNIFICANT:
            by_verb.setdefault(verbs[difference.difference < 0], []).append(name)
    done = " and ".join(f"{verb} {_listed(names)}" for verb, names in by_verb.items())
    about = f"points of {SIDES[tested[0][2]]} AUC with 95 % intervals, p by Holm's correction"
    return f"{subject} {done or verbs[2]}: {', '.join(numbers)}; {about}."


def mistakes(wrong: pd.DataFrame, judged: pd.DataFrame) -> str:
    """Say how many parts are on the wrong side of a threshold (`mistakes.mistakes`).

    The intervals take groups as the units if `judged` names them.
    """
    texts = []
    for label, word, called in ((1, "bad", "good"), (0, "good", "bad")):
        own = judged[judged.label == label]
        flags = own.id.isin(wrong.id)
        rate = rate_interval(flags, own.get("group"))
        count = f"{flags.sum()} of {_count(len(own), f'{word} part')}"
        verb = "is" if flags.sum() == 1 else "are"
        texts.append(f"{count} {verb} called {called} ({with_interval(*rate, ' %')})")
    return f"{' and '.join(texts)}."


def promise(points: pd.DataFrame, model: str, side: str) -> list[str]:
    """Say what happened at the promised escape rate, and its price (`operating_table`)."""
    row = points[(points.model == model) & (points.rule == "expected")].iloc[0]
    escapes, n_bad = int(row[f"{side}_escapes"]), int(row[f"{side}_bad"])
    rate = f"95 % limit {percent(row[f'{side}_escape_rate_high'])} %"
    if escapes:
        rate = fill(f"{{{side}_escape_rate:%[]}} %", row)
    text = (
        f"{escapes or 'None'} of {_count(n_bad, 'bad part')} escaped ({rate}); "
        f"{100 * row[f'{side}_overkill_rate']:.0f} % of the good parts were rejected"
    )
    said = [f"{text}, and {100 * row[f'{side}_passed']:.0f} % of all parts pass without a look."]
    if side == "test" and row.test_escape_rate_low > row.promised:
        promised = f"{percent_up(row.promised)} %"
        said.append(f"The promise of {promised} was broken: it holds on average over such runs.")
    return said


def two_splits(table: pd.DataFrame, model: str) -> str:
    """Say what models lose on groups that no training has seen (`comparison.two_splits`).

    If the other run lacks the model, the best of the random split is named instead of it.
    """
    rows = table.set_index("model", drop=False)
    row = rows.loc[model] if model in rows.index else rows.iloc[0]
    lower = int((table.difference < 0).sum())
    clear = int(((table.difference < 0) & (table.p_holm < SIGNIFICANT)).sum())
    text = fill("{title} has test AUC {random_auc:%} on seen groups, {groups_auc:%} on unseen", row)
    return (
        f"{text} ones: a difference of {fill('{difference:+%[]}', row)} points; {lower} of "
        f"{_count(len(table), 'model')} lose AUC, {clear} significantly."
    )


def label_audit(audited: pd.DataFrame) -> str:
    """Say how many labels are suspect, and how many of these the annotators doubted.

    `audited` is the table of `label_audit.audit`; the doubts need its column `probability`, and
    their intervals are by groups if it has the column `group`.
    """
    suspect, n = audited.is_suspect, int(audited.is_suspect.sum())
    share = f"{100 * suspect.mean():.1f} %"
    text = f"{n:,} of {_count(len(audited), 'label')} {'is' if n == 1 else 'are'} suspect ({share})"
    if "probability" not in audited or audited.probability.isna().all() or not n:
        return text + "."
    doubted, by = audited.probability.between(0, 1, inclusive="neither"), audited.get("group")
    of_suspect = rate_interval(doubted[suspect], None if by is None else by[suspect])
    return (
        f"{text}; the annotators doubted {with_interval(*of_suspect, ' %')} of them, "
        f"against {with_interval(*rate_interval(doubted, by), ' %')} of all labels."
    )


def _count(n: int, word: str) -> str:
    """Return "1 bad part" or "204 bad parts"."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def _listed(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
