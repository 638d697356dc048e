"""Write sentences that a reader would quote, computed from the tables of a run.

Each is "headline: the numbers", so that `style.headline` makes it the title of a picture. A
function returns "" if there is nothing to say. AUCs are in per cent with 95 % intervals, their
differences in points; a difference is said with its interval and p-value, or with its standard
error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from helpers.core.metrics import alike, exact_interval, group_numbers, rate_interval
from helpers.core.style import SIDES, SIGNIFICANT, p_value, percent, percent_up, with_interval
from helpers.core.tables import MISSING, fill
from helpers.datasets.split_file import FEWEST_BAD
from helpers.results.claims import AUC, CLAIMS
from helpers.results.comparison import holm, paired
from helpers.results.decision import PROMISES, what_promises
from helpers.results.operating_point import (
    chance_of_escapes,
    outgoing_ppm,
    promised_rate,
    units_needed,
)
from helpers.results.out_of_fold import PRIOR
from helpers.results.predictions import Scored
from helpers.results.results_table import best_model, chosen_by, rivals

CELLS = {"darts_v2": "the published cell", "darts_searched": "the searched cell"}
FOLDS = 5  # that `CROSS_FIT` usually has
LINES = (0.02, 0.0005)  # shares of bad parts on a line, as examples
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


def promise(
    points: pd.DataFrame, scored: Scored, bad_rate: float, unit: str = "group"
) -> list[str]:
    """Say if the promised escape rate held, how many bad parts leave the line, and what looks find.

    `points` is `decision.operating_table` on a line where the fraction `bad_rate` is bad, `scored`
    the model as it is deployed, `unit` the word for a group, such as "module".
    """
    side = scored.judged_on
    row = points[(points.model == scored.name) & (points.rule == "expected")].iloc[0]
    (labels, scores), groups = scored.labels_scores(), scored.groups()
    looked = (scores >= row.threshold) & (scores < row.reject_threshold)
    row = {name.removeprefix(f"{side}_"): value for name, value in row.items()}
    escapes, n_bad, n_found = int(row["escapes"]), int(row["bad"]), int(looked[labels == 1].sum())
    seen = "; these have chosen the thresholds" if side == "val" else ""
    limit = "{escape_rate:%[]} %"
    if not escapes:
        limit = f"95 % interval to {percent(exact_interval(0, n_bad).high)} %"
        if groups is not None:
            n_groups = len(np.unique(group_numbers(groups, len(groups))[labels == 1]))
            limit += " if parts are independent, to {escape_rate_high:%} % if only their "
            limit += f"{_count(n_groups, unit)} are"
    after, on = percent(looked[labels == 0].mean()), f"{SIDES[side]} part"
    kept, rates = (row["promised"], row["overkill_rate"]), dict.fromkeys([bad_rate, *LINES])
    ppm = [float(f"{outgoing_ppm(*kept, rate):.2g}") for rate in rates]
    most = [f"{n:,.0f} ppm with {100 * rate:.3g} %" for n, rate in zip(ppm, rates, strict=True)]
    missed = f" If the person misses {'it' if n_found == 1 else 'them'}, the escapes are "
    missed += f"{escapes + n_found} of {n_bad}."
    said = (
        f"{scored.model.title} promises {{promised:up}} % escapes on average; {escapes or 'none'} "
        f"of {_count(n_bad, f'bad {on}')} escaped ({limit}){seen}. {{good_passed:%[]}} % of the "
        f"good parts pass without a look, {after} % after one, {{overkill_rate:%}} % are rejected.",
        "If the promise is just kept, about this much of what leaves a line is bad: "
        f"{', '.join(most)} bad parts on the line.",
        f"{looked.sum()} of {_count(len(labels), on)} are looked at again, and "
        f"{n_found or 'none'} of them {'is' if n_found < 2 else 'are'} bad."
        f"{missed if n_found else ''} On a line with {100 * bad_rate:.3g} % bad parts that is "
        f"{1000 * row['reviewed']:.0f} looks per 1,000 parts.",
    )
    return [fill(text, row) for text in said]


def one_part(scored: Scored, threshold: float) -> str:
    """Say which held-out bad part sets the threshold, and what the next one would change.

    Nothing is said if bad parts are below the threshold, or if as many good parts would pass at
    the next one.
    """
    labels, scores = scored.labels_scores("val")
    ids = scored.ids("val")[labels == 1][order := np.argsort(scores[labels == 1], kind="stable")]
    first, *others = scores[labels == 1][order]
    labels, scores = scored.labels_scores()
    passed = [np.mean(scores[labels == 0] < t) for t in (threshold, *others[:1])]
    if first < threshold or passed[-1] == passed[0]:
        return ""
    escaped = scores[labels == 1] < others[0]
    return (
        f"One part sets the threshold: {ids[0]}, labelled bad, has the lowest score of the "
        f"{len(ids):,} bad ones held out; at the next one {percent(passed[1])} % of the "
        f"good parts would pass instead of {percent(passed[0])} %, and {escaped.sum()} of "
        f"{_count(escaped.size, 'bad part')} would escape."
    )


def broken_promises(points: pd.DataFrame) -> str:
    """Name the models that let more bad parts escape on test than promised (`operating_table`).

    A promise is broken if the 95 % interval is above it, and if so many escapes are improbable
    (`chance_of_escapes`, after Holm's correction for the number of promises).
    """
    rows = points[(points.rule == "expected") & (points.kind != "reference")]
    if "test_escapes" not in rows:
        return ""
    counts = rows[["test_escapes", "test_bad", "val_bad", "promised"]].itertuples(index=False)
    p_values = holm([chance_of_escapes(*row) for row in counts])
    above = (rows.test_escape_rate_low > rows.promised) & (p_values < SIGNIFICANT / 2)  # one-sided
    broken = rows[above].to_dict("records")
    each = "{title} (promised {promised:up} %, escaped {test_escape_rate:%[]} %)"
    if not broken:
        return ""
    return (
        f"{len(broken)} of {_count(len(rows), 'promise')} {'was' if len(broken) == 1 else 'were'} "
        f"broken on test: {', '.join(fill(each, row) for row in broken)}; a promise holds on "
        "average over such runs, for parts that are drawn like those held out."
    )


def checked(judged: pd.DataFrame) -> str:
    """Say whether a promise held in a check without a test set (`decision.check_promise`).

    See `broken_promises` for when it is broken.
    """
    if judged.empty:
        return ""
    groups = judged.group if judged.group.notna().any() else None
    rate, promised = rate_interval(judged.escaped, groups), judged.promised.mean()
    halves = judged.groupby("half").agg("first").assign(n_new=judged.half.value_counts())
    counts = halves.n_new, halves.held_out, halves.promised
    chance = chance_of_escapes(judged.escaped.sum(), *counts)
    broken = rate.low > promised and chance < SIGNIFICANT / 2
    return (
        f"The promise {'was broken' if broken else 'is not contradicted'} in a check: "
        f"half of each fold promised {percent_up(promised)} % on average, and "
        f"{judged.escaped.sum()} of {_count(len(judged), 'bad part')} in the other halves escaped "
        f"({with_interval(*rate, ' %')})."
    )


def held_out(scored: Scored, asked: float) -> list[str]:
    """Say what the held-out bad parts can promise, and, if groups are apart, for a new group.

    The second text is "" otherwise; its correlation is that of score ranks (`metrics.alike`).
    """
    (labels, scores), groups = scored.labels_scores("val"), scored.blocks("val")
    bad = labels == 1

    def best(n: int, units: str) -> str:
        rates = [percent_up(float(promised_rate(n, 0, rule))) for rule in PROMISES]
        return (
            f"can promise {rates[0]} % on average at best, {rates[1]} % at 95 % confidence "
            f"({100 * asked:g} % {what_promises(asked, PROMISES, f' {units}')})."
        )

    n_bad = int(bad.sum())
    said = f"The {_count(n_bad, 'bad part')} held out, if independent, {best(n_bad, 'bad parts')}"
    if groups is None:
        return [said, ""]
    icc, worth, n_groups = alike(rankdata(scores[bad]), groups[bad])
    return [
        said,
        f"The bad parts held out are from {_count(n_groups, 'group')} and worth {worth:.0f} "
        f"independent ones (intraclass correlation {icc:.2f}); for a new group they "
        f"{best(n_groups, 'groups')}",
    ]


def good_alone(point: pd.Series, split: pd.DataFrame) -> list[str]:
    """Say what good parts alone promise, and what is missing (a row of `decision.good_alone`)."""
    labels = split.label[split.split.isin(list(SIDES))]
    n_good, n_bad = (int((labels == label).sum()) for label in (0, 1))
    counts = f"{_count(n_good, 'good part')}, {_count(n_bad, 'bad one') if n_bad else 'no bad one'}"
    needed = what_promises(point.overkill_asked, ["expected"], "")  # the rule is the same
    few = "" if point.is_kept else f"; {100 * point.overkill_asked:g} % {needed}"
    said = [
        f"{counts}: PatchCore alone. On average at most {percent_up(point.overkill_promised)} % of "
        f"the good parts do not pass (score from {point.threshold:.3g}: {point.val_good_stopped} "
        f"of the {point.val_good} held out{few}); a person looks at these again."
    ]
    if n := int(point.val_good_groups):
        said.append(f"They are from {_count(n, 'group')}: nothing is promised for a new group.")
    if n := int(point.val_bad):
        rate = with_interval(*exact_interval(k := int(point.val_bad_stopped), n), " %")
        said.append(f"Of {_count(n, 'bad part')} it stops {k} ({rate}): too few for a promise.")
    return [*said, f"How many bad parts pass is not known: {_needed(point.asked)}"]


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
    share, of_all = with_interval(*of_suspect, " %"), percent(doubted.mean())
    if of_suspect.low <= doubted.mean() <= of_suspect.high:
        share = f"{doubted[suspect].sum()} of them: too few to say whether that differs from"
        return f"{text}; the annotators doubted {share} the {of_all} % of all labels."
    return f"{text}; the annotators doubted {share} of them, against {of_all} % of all labels."


def _needed(escape_rate: float) -> str:
    """Say how many bad parts must be held out for a promise, and about how many that is in all."""
    needed = units_needed(escape_rate, "expected")
    if not np.isfinite(needed):
        return f"no number of bad parts can promise {100 * escape_rate:g} %."
    in_all = max(FOLDS * int(needed), FEWEST_BAD)  # the thresholds are chosen on one fold
    return (
        f"a promise of {100 * escape_rate:g} % needs {needed:,.0f} different bad "
        f"part{'' if needed == 1 else 's'} held out (CROSS_FIT={FOLDS}: about {in_all:,} in all)."
    )


def _count(n: int, word: str) -> str:
    """Return "1 bad part" or "204 bad parts"."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def _listed(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
