"""Write sentences that a reader would quote, computed from the tables of a run.

Each is "headline: the numbers", so that `style.headline` makes it the title of a picture. A
function returns "" if there is nothing to say. AUCs are in per cent with 95 % intervals, their
differences in points; a difference is said with its interval and p-value, or with its standard
error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from helpers.core.metrics import rate_interval
from helpers.core.style import SIGNIFICANT, p_value, percent, with_interval
from helpers.core.tables import MISSING, fill
from helpers.results.claims import AUC, CLAIMS
from helpers.results.comparison import holm, paired
from helpers.results.out_of_fold import PRIOR
from helpers.results.predictions import Scored
from helpers.results.results_table import best_model, chosen_by, rivals

CELLS = {"darts_v2": "the published cell", "darts_searched": "the searched cell"}
FEWEST_GROUPS = 10  # behind an interval that is worth reading


def best(table: pd.DataFrame) -> str:
    """Say which of all models is best on validation, or out of fold, and its AUC."""
    row = table.set_index("model").loc[best_model(table)].to_dict()
    by, n = chosen_by(table), _count(len(rivals(table)), "model")
    text = fill(f"{{title}} has the best {by} AUC of {n}: {{val_auc:%}}", row)
    if by != "validation":
        return f"{text}, a little too good, since the same scores have chosen it."
    return text + (fill(", {test_auc:%[]} on test.", row) if "test_auc" in table else ".")


def shares(table: pd.DataFrame, unit: str = "group") -> str:
    """Compare the best model's AUC with those of the groups alone and of brightness alone.

    `table` is that of `results_table`; `unit` is the word for a group, such as "module".
    """
    rows, side = table.set_index("model"), "test" if "test_auc" in table else "val"
    row, aucs = rows.loc[best_model(table)].to_dict(), rows[f"{side}_auc"].map(percent)
    alone = {PRIOR.slug: f"the {unit} alone, without a pixel,", "lr_on_brightness": "brightness"}
    has = [f"{words} has {aucs[name]}" for name, words in alone.items() if name in aucs]
    if not has:
        return ""
    text = fill(f"{{title}} has AUC {{{side}_auc:%}}, {' and '.join(has)}", row)
    within = fill(f"; inside {{groups_are}} {unit}s {{title}} has {{{side}_within_auc:%[]}}.", row)
    return text + (within if within != MISSING else ".")


def next_best(compared: pd.DataFrame, judged_by: str) -> str:
    """Say how many models are significantly worse than the chosen one, and if the next best is.

    `compared` is `comparison.compare_with`; rows without a `p_holm`, references, do not count.
    `judged_by` names the scores behind the comparison, see `Scored`.
    """
    tested = compared[compared.p_holm.notna()]
    if tested.empty:
        return ""
    rival = tested.loc[tested.difference.idxmax()]
    worse = int(((tested.p_holm < SIGNIFICANT) & (tested.difference < 0)).sum())
    verb = "is not"
    if rival.p_holm < SIGNIFICANT:
        verb = "is too" if rival.difference < 0 else "is significantly better"
    return (
        f"{worse or 'None'} of {_count(len(tested), 'other model')} {'is' if worse < 2 else 'are'} "
        f"significantly worse. The next best, {rival.title}, {verb}: "
        f"{fill('{difference:+%[]}', rival)} points of {judged_by} AUC ({p_value(rival.p_holm)} "
        "after Holm's correction)."
    )


def gain(
    scored: Mapping[str, Scored], one: str, other: str, subject: str = "", rival: str = ""
) -> str:
    """Say how the AUC of a model differs from another's on the same images, by a paired test.

    It is that on test, on validation if the test labels are hidden, or out of fold. The sentence
    calls them `subject` and `rival`, by default by their titles; it is empty if one is missing, or
    both are the same.
    """
    if one == other or not {one, other} <= scored.keys():
        return ""
    difference, aucs = paired(scored[one], scored[other])
    verb = f"gains {abs(100 * difference.difference):.1f} points over"
    if difference.difference <= 0:
        verb = f"is {abs(100 * difference.difference):.1f} points behind"
    if difference.p_value >= SIGNIFICANT:
        verb = "does not clearly beat" if difference.difference > 0 else "is not clearly behind"
    return (
        f"{subject or scored[one].model.title} {verb} {rival or scored[other].model.title}: "
        f"{scored[one].judged_by} AUC {percent(aucs[0])} against {percent(aucs[1])} "
        f"({with_interval(*difference[:3], sign='+')})."
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
    corrected = holm([difference.p_value for difference, _ in tested])
    for (_, other), (difference, _), p in zip(known, tested, corrected, strict=True):
        name = scored[other].model.title
        numbers.append(f"{with_interval(*difference[:3], sign='+')} over {name} ({p_value(p)})")
        if p < SIGNIFICANT:
            by_verb.setdefault(verbs[difference.difference < 0], []).append(name)
    done = " and ".join(f"{verb} {_listed(names)}" for verb, names in by_verb.items())
    judged_by = scored[known[0][0]].judged_by
    about = f"points of {judged_by} AUC with 95 % intervals, p by Holm's correction"
    return f"{subject} {done or verbs[2]}: {', '.join(numbers)}; {about}."


def mistakes(wrong: pd.DataFrame, judged: pd.DataFrame) -> str:
    """Say how many parts are on the wrong side of a threshold (`mistakes.mistakes`).

    The intervals take groups as the units if `judged` names them, and need `FEWEST_GROUPS`.
    """
    texts = []
    for label, word, called in ((1, "bad", "good"), (0, "good", "bad")):
        of_class = judged[judged.label == label]
        if of_class.empty:
            continue
        flags, groups = of_class.id.isin(wrong.id), of_class.get("group")
        rate = rate_interval(flags, groups)
        text = with_interval(*rate, " %")
        if groups is not None and groups.notna().all() and groups.nunique() < FEWEST_GROUPS:
            text = f"{percent(rate.estimate)} %; too few groups for an interval"
        count = f"{flags.sum()} of {_count(len(of_class), f'{word} part')}"
        verb = "is" if flags.sum() == 1 else "are"
        texts.append(f"{count} {verb} called {called} ({text})")
    return f"{' and '.join(texts)}." if texts else ""


def three_columns(table: pd.DataFrame, model: str, unit: str = "group") -> list[str]:
    """Say what models lose on groups that no training has seen (`out_of_fold.three_columns`).

    The first two sentences are about `model`, or about the first row if the table lacks it, and are
    left out if no model has both scores; the last is about what the groups alone tell. `unit` is
    the word for a group.
    """
    rows = table.set_index("model", drop=False)
    prior = f"{{title}} has AUC {{seen_auc:%[]}} on seen {unit}s, {{unseen_auc:%}} on unseen ones."
    said = [fill(prior, rows.loc[PRIOR.slug])]
    compared = rows[rows.difference.notna() & (rows.kind != "reference")]
    if compared.empty:
        return said
    row = compared.loc[model] if model in compared.index else compared.iloc[0]
    loses = compared.difference > 0
    clear = int((loses & (compared.p_holm < SIGNIFICANT)).sum())
    columns = f"{{seen_auc:%}} on seen {unit}s, {{unseen_auc:%}} on unseen ones"
    lost = fill("{difference:%[]} points (standard error {standard_error:%}", row)
    return [
        fill(f"{{title}} has AUC {columns}, and {{inside_auc:%}} inside these", row),
        f"It loses {lost}, {p_value(row.p_holm)} by Holm) on unseen {unit}s. Of "
        f"{_count(len(compared), 'model')} {loses.sum()} lose AUC, {clear} significantly.",
        *said,
    ]


def claims(table: pd.DataFrame, results: pd.DataFrame) -> str:
    """Say how many of the report's claims hold here (`claims.claims_table`, `results_table`)."""
    counts = table.verdict.value_counts()
    others = ", ".join(f"{word}: {n}" for word, n in counts.drop("holds", errors="ignore").items())
    text = f"{counts.get('holds', 'None')} of the report's {_count(len(table), 'claim')} "
    text += f"{'holds' if counts.get('holds', 0) < 2 else 'hold'} ({others or 'all tested'})."
    auc = results.set_index("model")["test_auc" if "test_auc" in results else "val_auc"]
    reversed_ = {*table.claim[table.verdict == "reversed"]}
    beaten = [
        f"{CELLS[claim.better[0]]} ({percent(auc[claim.better[0]])})"
        for claim in CLAIMS
        if claim.text in reversed_ and claim.measure == AUC and claim.worse == ("fbp",)
    ]
    if not beaten:
        return text
    order = f"fine-tuning ({percent(auc['fbp'])}) beats {_listed(beaten)}"
    return f"By AUC the report's order is reversed here: {order}; {text}"


def _count(n: int, word: str) -> str:
    """Return "1 bad part" or "204 bad parts"."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def _listed(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
