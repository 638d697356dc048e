"""The page of parts to judge, and what a person said there: read, counted, and made labels."""

import base64
import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import stats

from helpers.core import files
from helpers.deploy import predictor, review
from tests.deploy_run import save_described, small_models


def a_lot(again: int, passed: int) -> pd.DataFrame:
    """Return a lot's parts with verdicts, five of them rejected, and three suspect labels."""
    verdicts = ["pass"] * passed + ["look again"] * again + ["reject"] * 5
    table = pd.DataFrame({"verdict": verdicts, "label": None})
    doubted = pd.DataFrame({"verdict": "pass", "label": ["good"] * 3})
    return pd.concat([table, doubted], ignore_index=True).reset_index(names="path")


@pytest.mark.parametrize(("passed", "share", "audits"), [(150, 0.02, 3), (7, 0.02, 1), (0, 1, 0)])
def test_a_share_of_the_passed_parts_at_least_one_is_audited(passed, share, audits):
    again = review.chosen(a_lot(30, passed), share, 0, rejects=True).drawn[: 35 + audits]
    assert (again == "reject").sum() == 5 and (again[-5:] != "reject").any()  # mixed
    parts = review.chosen(a_lot(30, passed), share, seed=0)
    drawn = [(parts.drawn == kind).sum() for kind in ("look again", "audit", "suspect label")]
    assert drawn == [30, audits, 3] and (parts.drawn[-3:] == "suspect label").all()
    assert (parts.passed == passed).all()
    assert set(parts.verdict[parts.drawn == "audit"]) <= {"pass"}


def test_every_passed_part_is_audited_equally_often_and_at_any_place():
    draws = [review.chosen(a_lot(8, 20), 0.1, seed) for seed in range(300)]
    pd.testing.assert_frame_equal(draws[3], review.chosen(a_lot(8, 20), 0.1, 3))
    audited = pd.concat([parts[parts.drawn == "audit"] for parts in draws])
    parts, places = audited.path.value_counts(), audited.index.value_counts()
    assert len(parts) == 20 and parts.between(12, 50).all()  # 30, standard deviation 5.2
    assert len(places) == 10 and places.between(35, 90).all()  # 60, standard deviation 7


def test_a_suspect_label_that_is_none_is_named_by_its_line(tmp_path):
    csv = tmp_path / "labels_to_check.csv"
    csv.write_text("path,label\na.png,1\nb.png,perhaps\n")
    with pytest.raises(files.ArtifactError, match=r"line 3: .*'perhaps'"):
        review.suspects_of(csv)


@pytest.mark.parametrize("sides", [(1, 1), (400, 200), (200, 400)])
def test_an_overlay_fits_the_image_and_has_a_line_around_what_is_marked(sides):
    rows, columns = np.mgrid[:64, :64]
    heat = 1 - np.hypot(rows - 30, columns - 34).clip(max=12) / 12
    overlay = review.overlay_of(torch.tensor(heat), sides, (np.e, ""))
    width, height = (64 * side // max(sides) for side in sides)
    assert overlay.size == (width, height)
    left, top = (64 - width) // 2, (64 - height) // 2
    inside = heat[top : top + height, left : left + width]
    pixels = np.asarray(overlay.convert("RGBA")).astype(int)
    line = (pixels == 255).all(axis=-1)
    assert line.any() and (inside[line] < 0.15).all() and not pixels[inside == 0, 3].any()
    np.testing.assert_allclose(pixels[~line, 3], 153 * inside[~line] ** 0.5, atol=12)  # of 255


def test_the_page_allows_its_own_script_alone_and_no_text_gets_out_of_its_data(tmp_path):
    model = predictor.TrainedModel(save_described(tmp_path / "net", small_models()))
    name = '</script><script>alert("1")</script>$x <!-- \u2028 ü'
    Image.fromarray(np.zeros((2400, 600), np.uint8)).save(tmp_path / "a.png")
    about = {"path": name, "group": name, "drawn": "reject", "verdict": "", "why": "", "score": 0.5}
    parts = pd.DataFrame({"file": [str(tmp_path / "a.png")], "passed": 1, **about})
    parts = parts.assign(label=None, remark=None)
    about = {"title": name, "described": name, "saved_as": "a.csv"}
    text = review.page(model, parts, **about)
    assert text.count("<script") == text.count("</script") == 2 and "<!--" not in text
    data, script = re.findall(r"<script[^>]*>(.*?)</script>", text, re.S)
    (part,) = json.loads(data)["parts"]
    assert (part["path"], part["group"], part["score"], part["label"]) == (name, name, 0.5, "")
    assert part["reduced"] == "reduced from 600 x 2400 pixels"
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    digests = [hashlib.sha256(content.encode()).digest() for content in (script, style)]
    digests = [base64.b64encode(digest).decode() for digest in digests]
    (policy,) = re.findall(r'Policy" content="([^"]+)"', text)
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digests[0]}'; style-src 'sha256-{digests[1]}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    other = review.page(model, parts.assign(path="b"), **about)
    assert json.loads(data)["digest"] not in other  # a browser keeps the two apart


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
    found = review.escapes(pd.concat([audited, selected]))
    assert (found.estimate, found.low, found.high) == pytest.approx((bad / n, low, high))
    assert f"{n} audited, {bad} bad, {unsure} undecided" in found.what
    assert review.escapes(selected).number == "-"  # nothing is known


def test_judgements_become_reviews_beside_the_labels_of_an_older_csv(tmp_path):
    audited = judged("audit", ("good", "good"), ("unsure", "bad"), (None, None))
    table = pd.concat([audited, judged("again", ("bad", "good"))])
    new = review.with_reviews(table)
    assert new.to_numpy().tolist() == [
        ["lot7/audit0.png", "good"],
        ["lot7/again0.png", "bad"],
    ]
    old = tmp_path / "labels.csv"
    old.write_text(
        "id,path,label,group,review\n1,a.png,good,007,\n2,lot7/audit0.png,bad,,bad\n3,b.png,,,bad\n"
    )
    merged = review.with_reviews(table, old).fillna("")
    assert merged.columns.tolist() == ["path", "label", "group", "review"]
    assert merged.to_numpy().tolist() == [
        ["a.png", "good", "007", ""],
        ["lot7/audit0.png", "bad", "", "good"],
        ["b.png", "", "", "bad"],
        ["lot7/again0.png", "", "lot7", "bad"],
    ]
    nobody = table.assign(judgement="unsure", group=None)
    assert review.with_reviews(nobody).path.empty
    assert review.with_reviews(nobody, old).review.tolist()[1:] == ["bad", "bad"]
    (tmp_path / "parts").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "parts")
    suspect = judged("suspect label", ("bad", "bad"), ("good", "good"))
    suspect["path"] = [str(tmp_path / "link" / name) for name in ("good/a.png", "bad/b.png")]
    old.write_text("path,label\ngood/a.png,good\nparts/bad/b.png,bad\n")
    merged = review.with_reviews(suspect, old)  # images are named as before, and once
    assert merged.path.tolist() == ["good/a.png", "parts/bad/b.png"]
    assert merged.review.tolist() == ["bad", "good"]
    for text, problem in (
        ("id,label\n1,good\n", "lacks the column"),
        ("path,label\nb.png,good\na.png,god\n", "line 3: .*label 'god' is unknown"),
        ("path,label\nb.png,good\nlot7\\audit0.png,bad\n", "line 3: .*write / instead of"),
    ):
        old.write_text(text)  # labels that no run would read
        with pytest.raises(files.ArtifactError, match=problem):
            review.with_reviews(table, old)


@pytest.mark.parametrize(
    ("column", "value"),
    [("passed", "many"), ("judgement", "Good"), ("drawn", "me"), ("path", "lot7/audit0.png")],
)
def test_a_line_that_no_page_has_saved_is_named(tmp_path, column, value):
    table, csv = judged("audit", ("good", "good"), ("bad", None)), tmp_path / "saved.csv"
    files.save_csv(csv, table)
    assert review.read_judgements(csv).path.tolist() == table.path.tolist()
    table.loc[1, column] = value
    files.save_csv(csv, table)
    with pytest.raises(files.ArtifactError, match=f"line 3: .*{column} '?{value}"):
        review.read_judgements(csv)
