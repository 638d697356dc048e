"""What a person said about parts: read, counted, and made labels that train alone."""

import pandas as pd
import pytest
from scipy import stats

from helpers.core import files
from helpers.deploy import judgements


def judged(drawn: str, *rows: tuple[str | None, str | None]) -> pd.DataFrame:
    """Return parts with a judgement, and that before the scores were shown."""
    table = pd.DataFrame(rows, columns=["judgement", "before_scores"])
    table["path"] = [f"lot7/{drawn}{number}.png" for number in range(len(table))]
    table = table.assign(group="lot7", drawn=drawn, passed="300", held="100", promised="0.02")
    return table.assign(page="1e5", saved="2026-01-01", seal="5ea1")


@pytest.mark.parametrize(("bad", "good", "unsure"), [(0, 6, 0), (2, 38, 0), (1, 3, 2), (0, 0, 2)])
def test_escapes_are_those_of_audited_parts_alone_with_an_exact_interval(bad, good, unsure):
    # what was said after the scores were shown does not count
    rows = [("good", "bad")] * bad + [("bad", "good")] * good
    audited = judged("audit", *rows, *[("good", "unsure"), ("good", None)][:unsure])
    selected = judged("look again", *[("bad", "bad")] * 50)
    n = bad + good + unsure
    low = stats.binomtest(bad, n).proportion_ci(method="exact").low
    high = stats.binomtest(bad + unsure, n).proportion_ci(method="exact").high
    text = judgements.say_escapes(pd.concat([audited, selected]))
    assert f"{bad} of {n} audited parts are bad, {unsure} undecided" in text
    assert f"{100 * bad / n:.1f} [{100 * low:.1f}, {100 * high:.1f}] % of the 300 passed" in text
    assert "selected count neither here nor in a promise" in text
    assert "nothing is known about escapes" in judgements.say_escapes(selected)


def test_judgements_become_reviews_beside_the_labels_of_an_older_csv(tmp_path):
    audited = judged("audit", ("good", "good"), ("unsure", "bad"), (None, None))
    table = pd.concat([audited, judged("again", ("bad", "good"))])
    new = judgements.with_reviews(table.assign(promised=None))
    assert new.iloc[:, :2].to_numpy().tolist() == [
        ["lot7/audit0.png", "good"],
        ["lot7/again0.png", "bad"],
    ]
    old = tmp_path / "labels.csv"
    old.write_text(
        "id,path,label,group,review\n1,a.png,good,007,\n2,lot7/audit0.png,bad,,bad\n3,b.png,,,bad\n"
    )
    merged = judgements.with_reviews(table.assign(promised=None), old).fillna("")
    about = ["audit_lot", "audit_time", "audit_seal"]
    assert merged.columns.tolist() == ["path", "label", "group", "review", *about]
    assert merged.iloc[:, :4].to_numpy().tolist() == [
        ["a.png", "good", "007", ""],
        ["lot7/audit0.png", "bad", "", "good"],
        ["b.png", "", "", "bad"],
        ["lot7/again0.png", "", "lot7", "bad"],
    ]
    nobody = table.assign(judgement="unsure", group=None, promised=None)  # and no lot
    assert judgements.with_reviews(nobody).path.empty
    assert judgements.with_reviews(nobody, old).review.tolist()[1:] == ["bad", "bad"]
    (tmp_path / "parts").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "parts")
    suspect = judged("suspect label", ("bad", "bad"), ("good", "good"))
    suspect["path"] = [str(tmp_path / "link" / name) for name in ("good/a.png", "bad/b.png")]
    old.write_text("path,label\ngood/a.png,good\nparts/bad/b.png,bad\n")
    merged = judgements.with_reviews(suspect, old)  # images are named as before, and once
    assert merged.path.tolist() == ["good/a.png", "parts/bad/b.png"]
    assert merged.review.tolist() == ["bad", "good"]
    old.write_text("id,label\n1,good\n")
    with pytest.raises(files.ArtifactError, match=r"labels\.csv lacks the column\(s\) path"):
        judgements.with_reviews(table, old)


def test_the_promise_is_checked_lot_after_lot_by_what_the_labels_keep(tmp_path):
    again = judged("look again", ("good", "good"), ("bad", "bad"), ("good", None))
    good, bad = judged("audit", *[("good", "good")] * 7), judged("audit", *[("bad", "bad")] * 3)
    unsure = judged("audit", (None, "unsure"))
    gains = judgements.audits_of(pd.concat([again, bad, unsure])).audit_gain.tolist()
    held = (100 - 1) / 400  # one part was cleared before the scores were shown
    expected = [(0.98 * (300 / 400) * is_bad - 0.02 * held) / 0.02 for is_bad in (1, 1, 1, 0)]
    assert gains == pytest.approx(expected)
    pages = [pd.concat([again, audit]) for audit in (good, bad, bad, good)]
    said = judgements.say_promise(lots(tmp_path, *pages[:2]))
    assert "nothing speaks against it so far: 3 of 10 audited parts of 2 lot(s)" in said
    for days in (3, 4):  # what was lost later does not win the promise back
        labels = lots(tmp_path, *pages[:days])
        said = judgements.say_promise(labels)
        assert "NO LONGER HOLDS since 2026-01-03: 6 of 13 audited parts of 3 lot(s)" in said
    assert labels.audit_lot.dropna().unique().tolist() == ["1e5", "2e5", "3e5", "4e5"]
    assert "cannot be checked" in judgements.say_promise(labels[["path", "review"]])


def test_a_second_page_of_the_same_names_is_refused_and_those_of_new_thresholds_are_not(tmp_path):
    csv, first = tmp_path / "labels.csv", judged("look again", ("bad", "bad"))
    for promised in ("0.02", None):
        files.save_csv(csv, judgements.with_reviews(first.assign(promised=promised)))
        before = csv.read_bytes()
        with pytest.raises(
            files.ArtifactError, match=r"line 2: 'lot7/look again0.png' was judged on"
        ):
            judgements.with_reviews(first.assign(page="2e5", judgement="good"), csv)
        assert csv.read_bytes() == before
        again = judgements.with_reviews(first.assign(page="2e5", seal="5ea2"), csv)
        assert again.audit_lot.tolist() == ["2e5"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [("a.png,god", "label 'god' is unknown"), ("lot7\\audit0.png,bad", "write / instead of")],
)
def test_older_labels_that_no_run_would_read_are_named_before_they_are_merged(
    tmp_path, line, problem
):
    (tmp_path / "labels.csv").write_text(f"path,label\nb.png,good\n{line}\n")
    with pytest.raises(files.ArtifactError, match=f"line 3: .*{problem}"):
        judgements.with_reviews(judged("audit", ("bad", "bad")), tmp_path / "labels.csv")


def lots(tmp_path, *tables: pd.DataFrame) -> pd.DataFrame:
    """Return the labels after pages of several lots, one a day."""
    csv = tmp_path / "labels.csv"
    csv.unlink(missing_ok=True)
    for day, table in enumerate(tables, 1):
        page = table.assign(page=f"{day}e5", saved=f"2026-01-{day:02d}")
        page["path"] = [f"{day}/{name}" for name in page.path]
        for _ in range(2):  # to read a page twice changes nothing
            labels = judgements.with_reviews(page, csv if csv.exists() else None)
            files.save_csv(csv, labels)
    return labels


def test_lots_from_which_nothing_passed_count_for_a_promise_that_is_kept(tmp_path):
    # all parts of ten lots are bad: nine lots are held back, and one passes
    again, audit = judged("look again", *[("bad", "bad")] * 4), judged("audit", ("bad", "bad"))
    held = again.assign(passed="0", held="4", promised="0.01")
    passed = audit.assign(passed="4", held="0", promised="0.01")
    assert judgements.audits_of(held).audit_gain.tolist() == [-1]
    one_is_good = held.assign(before_scores=["good", "bad", "bad", None])
    assert judgements.audits_of(one_is_good).audit_gain.tolist() == pytest.approx([-3 / 4])
    assert "NO LONGER HOLDS" in judgements.say_promise(lots(tmp_path, passed))
    labels = lots(tmp_path, *[held] * 9, passed)
    said = judgements.say_promise(labels)
    assert "nothing speaks against it so far: 1 of 1 audited parts of 10 lot(s)" in said
    assert labels.review.eq("bad").sum() == 9 * 4 + 1
    # without an audit of what passed nothing is known, and images that are no lot are none
    assert judgements.audits_of(again).empty
    assert judgements.audits_of(judged("suspect label", ("bad", "bad"))).empty


def test_a_new_model_does_not_inherit_the_broken_promise_of_another(tmp_path):
    broken, kept = judged("audit", ("bad", "bad")), judged("audit", ("good", "good"))
    broken, kept = broken.assign(promised="0.01"), kept.assign(promised="0.01", seal="00e1")
    assert "NO LONGER HOLDS since 2026-01-01" in judgements.say_promise(lots(tmp_path, broken))
    said = judgements.say_promise(lots(tmp_path, broken, broken, kept))
    assert "nothing speaks against it so far: 0 of 1 audited parts of 1 lot(s)" in said
    said = judgements.say_promise(lots(tmp_path, kept, broken))
    assert "NO LONGER HOLDS since 2026-01-02: 1 of 1 audited parts of 1 lot(s)" in said


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("held", "many"),
        ("held", None),
        ("judgement", "Good"),
        ("before_scores", "0"),
        ("drawn", "me"),
        ("path", "lot7/audit0.png"),
    ],
)
def test_a_line_that_no_page_has_saved_is_named(tmp_path, column, value):
    table, csv = judged("audit", ("good", "good"), ("bad", None)), tmp_path / "saved.csv"
    files.save_csv(csv, table)
    assert judgements.read_judgements(csv).path.tolist() == table.path.tolist()
    table.loc[1, column] = value
    files.save_csv(csv, table)
    with pytest.raises(files.ArtifactError, match=f"line 3: .*{column} '?{value or 'nan'}"):
        judgements.read_judgements(csv)
    files.save_csv(csv, table.drop(columns="passed"))
    with pytest.raises(files.ArtifactError, match="lacks the column"):
        judgements.read_judgements(csv)
