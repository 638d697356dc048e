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
    return table.assign(group="lot7", drawn=drawn, passed="300")


@pytest.mark.parametrize(("bad", "good", "unsure"), [(0, 6, 0), (2, 38, 0), (1, 3, 2), (0, 0, 2)])
def test_escapes_are_those_of_audited_parts_alone_with_an_exact_interval(bad, good, unsure):
    # what was said after the scores were shown does not count
    rows = [("good", "bad")] * bad + [("bad", "good")] * good
    audited = judged("audit", *rows, *[("good", "unsure"), ("good", None)][:unsure])
    selected = judged("look again", *[("bad", "bad")] * 50)
    n = bad + good + unsure
    low = stats.binomtest(bad, n).proportion_ci(method="exact").low
    high = stats.binomtest(bad + unsure, n).proportion_ci(method="exact").high
    found = judgements.escapes(pd.concat([audited, selected]))
    assert (found.estimate, found.low, found.high) == pytest.approx((bad / n, low, high))
    assert f"{n} audited, {bad} bad, {unsure} undecided" in found.what
    assert judgements.escapes(selected).number == "-"  # nothing is known


def test_judgements_become_reviews_beside_the_labels_of_an_older_csv(tmp_path):
    audited = judged("audit", ("good", "good"), ("unsure", "bad"), (None, None))
    table = pd.concat([audited, judged("again", ("bad", "good"))])
    new = judgements.with_reviews(table)
    assert new.to_numpy().tolist() == [
        ["lot7/audit0.png", "good"],
        ["lot7/again0.png", "bad"],
    ]
    old = tmp_path / "labels.csv"
    old.write_text(
        "id,path,label,group,review\n1,a.png,good,007,\n2,lot7/audit0.png,bad,,bad\n3,b.png,,,bad\n"
    )
    merged = judgements.with_reviews(table, old).fillna("")
    assert merged.columns.tolist() == ["path", "label", "group", "review"]
    assert merged.to_numpy().tolist() == [
        ["a.png", "good", "007", ""],
        ["lot7/audit0.png", "bad", "", "good"],
        ["b.png", "", "", "bad"],
        ["lot7/again0.png", "", "lot7", "bad"],
    ]
    nobody = table.assign(judgement="unsure", group=None)
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


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("passed", "many"),
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
