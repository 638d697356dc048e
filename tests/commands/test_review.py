"""The command that makes a page to judge parts on, and reads what it saved; in a browser, too."""

import os
import shutil
import time
from dataclasses import asdict, replace

import pandas as pd
import pytest
from PIL import Image

import helpers
from helpers.commands import cli
from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.datasets.split_file import read_split
from helpers.deploy.description import NAME, read_description, sealed
from helpers.runs.record import edit_run
from tests.small_run import run_split

GROUP = "<b onclick='document.title=1'>lot"
HOSTILE = (
    '<img src=x onerror="document.title=1">',
    "\"'&amp;,;",
    "=1+1",
    "long" * 60,
)


def start(*arguments: object) -> int:
    return cli.start("review", [*map(str, arguments)])


@pytest.fixture
def lot(described_run, described, tmp_path):
    """A lot of 24 parts, some with hostile names; twelve pass, and one is rejected."""
    folder = tmp_path / "lot7"
    images = sorted((described_run / "parts").rglob("*.png"))[::3][:24]
    names = [*HOSTILE, *map(str, range(len(HOSTILE), 24))]
    for number, (image, name) in enumerate(zip(images, names, strict=True)):
        place = folder / (GROUP if number % 2 else "") / f"{name}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.open(image).rotate(90).save(place)  # no copy of an image of the run
    model = described.trainings("net")
    scores = helpers.load_model(model).predict([*folder.rglob("*.png")]).score.sort_values()
    limits = {"pass_below": scores.iloc[11:13].mean(), "reject_from": scores.iloc[-1]}
    files.save_json(model / NAME, asdict(sealed(replace(read_description(model), **limits))))
    return folder


def test_the_command_says_what_is_on_the_page_what_is_not_and_what_cannot_be_read(
    lot, tmp_path, capsys
):
    (lot / "cut.png").write_bytes(b"\x89PNG")
    (lot / "part.webp").touch()
    given = ["--model", "t", "--images", lot, "--out", tmp_path / "lot7.html"]
    assert start(*given, "--most", 10) == 1
    said = capsys.readouterr()
    assert f"error: {lot}/cut.png cannot be read" in said.err
    assert "10 look again, 1 audit; 12 passed" in said.out and "left out: 1 parts" in said.out
    assert "--read lot7.judged.csv" in said.out and "On average at most" in said.out
    assert "left out: other files and links to folders: 1 (.webp)\n" in said.out
    (lot / "cut.png").unlink(), (lot / "part.webp").unlink()
    table = pd.DataFrame({"path": [*lot.rglob("1?.png")], "group": "shift 2"})
    files.save_csv(tmp_path / "lot.csv", table)
    listed = ["--images", tmp_path / "lot.csv", "--audit-share", 1, *given[4:]]
    assert start("--model", "t", *listed) == 0
    assert '"group": "shift 2"' in (tmp_path / "lot7.html").read_text()
    capsys.readouterr()
    assert start(*given, "--audit-share", 1) == 0
    said = capsys.readouterr()
    assert "12 audit, 11 look again; 12 passed" in said.out and "left out" not in said.out
    model = RunPaths("t").trainings("net")
    lenient = replace(read_description(model), pass_below=1.0, reject_from=1.0)
    files.save_json(model / NAME, asdict(sealed(lenient)))
    Image.new("L", (1, 1)).save(lot / "pixel.png")  # unlike the training images
    assert start(*given, "--audit-share", 0) == 0
    unlike = (helpers.load_model("t").predict([*lot.rglob("*.png")]).warning != "").sum()
    assert f"{unlike} look again; {25 - unlike} passed" in capsys.readouterr().out and unlike


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (["--model", "t"], "--images"),
        (["--model", "t", "--images", "lot7", "--audit-share", "2"], "--audit-share"),
        (["--model", "t", "--images", "empty"], "empty holds no image"),
        (["--model", "bare", "--images", "lot7"], "no verdicts"),
        (["--read", "no.csv"], "no.csv"),
    ],
)
def test_what_cannot_work_is_named(
    lot, described, tmp_path, monkeypatch, capsys, arguments, culprit
):
    monkeypatch.chdir(tmp_path)
    os.mkdir("empty")
    shutil.copytree(described.trainings("net"), "bare", ignore=shutil.ignore_patterns(NAME))
    assert start(*arguments, "--out", "x") == 1
    assert culprit in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_the_page_replaces_a_page_alone_and_the_labels_replace_none_but_the_older_ones(
    lot, tmp_path, capsys
):
    saved, labels = tmp_path / "judged.csv", tmp_path / "labels.csv"
    about = "path,group,drawn,judgement,before_scores,passed"
    saved.write_text(f"{about}\nlot7/a.png,lot7,audit,bad,bad,9\n")
    labels.write_text("path,label\nb.png,good\n")
    for given in (
        ["--read", saved, "--labels", labels, "--out", saved],
        ["--model", "t", "--images", lot, "--out", labels],
    ):
        assert start(*given) == 1
        assert f"{given[-1]} exists already" in capsys.readouterr().err
    assert saved.read_text().startswith(about) and "review" not in labels.read_text()
    assert start("--read", saved, "--labels", labels, "--out", labels) == 0
    assert pd.read_csv(labels).review.tolist()[1] == "bad"
    assert "1 audited, 1 bad, 0 undecided" in capsys.readouterr().out


def test_a_lot_is_judged_by_keys_alone_and_becomes_labels_of_a_next_run(
    lot, described, described_run, browser, tmp_path, capsys
):
    parts, page, remark = tmp_path / "parts", tmp_path / "lot7.html", "<script>alert(1)</script>"
    shutil.copytree(described_run / "parts", parts)
    suspect = parts / "good" / "good07.png"
    table = pd.DataFrame({"path": suspect, "label": 0, "reason": remark}, index=[0])
    files.save_csv(tmp_path / "labels_to_check.csv", table)
    given = ["--suspects", tmp_path / "labels_to_check.csv", "--audit-share", 0.3, "--out", page]
    assert start("--model", "t", "--images", lot, "--rejects", *given) == 0

    def press(keys):
        for key in keys:
            browser.switch_to.active_element.send_keys(key)

    def text(*names):
        return [browser.find_element("id", name).text for name in names]

    browser.get(page.as_uri())
    seen = []
    for key in "gbu":
        seen += [text("verdict", "doubt", "status")]
        press(key)
    until = time.monotonic() + 10
    browser.refresh()
    while text("number") == ["Part 1 of 17"] and time.monotonic() < until:
        browser.refresh()  # a busy browser stores what was judged a moment later
    assert text("number", "status") == ["Part 4 of 17", "3 of 17 judged"]
    press("\ue0121m")  # back with the left arrow: unsure becomes good; the next open part, its map
    assert text("number", "status") == ["Part 4 of 17", "3 of 17 judged"]
    seen += [text("verdict", "doubt", "status")]
    assert text("legend") == ["Opens when it is judged."]
    assert browser.execute_script("return map.hidden")
    press("bn1, bad\ue007")  # it stays to show the map; the words are no judgements
    assert text("number", "status") == ["Part 4 of 17", "4 of 17 judged"]
    browser.find_element("id", "inspector").send_keys("Ada 2\ue007")
    press("g+cjjjjjj")  # what is changed now does not count as audited; zoom and contrast
    browser.execute_script("stage.dispatchEvent(new WheelEvent('wheel', {deltaY: -400}))")
    style = browser.execute_script("return frame.style.cssText + image.style.cssText")
    assert "scale(4.07" in style and "contrast(1.25)" in style and " 0% 50%" in style
    press("0m")
    for _ in range(12):
        seen += [text("verdict", "doubt", "status")]
        press("b")
    # before all parts are judged nothing tells an audited one from the others
    hidden = "shown when all are judged"
    assert seen == [[hidden, "", f"{number} of 17 judged"] for number in range(16)]
    assert text("verdict", "doubt") == [hidden, "Is its label, good, right?"]
    press("2s")
    assert remark in text("doubt")[0] and text("status") == ["17 of 17 judged, saved"]
    saved, until = tmp_path / "lot7.judged.csv", time.monotonic() + 10
    while not saved.exists() and time.monotonic() < until:
        time.sleep(0.02)
    judged = pd.read_csv(saved)
    assert judged.judgement.tolist() == ["good", "bad", "good", "good", *["bad"] * 13]
    assert judged.before_scores[3] == "bad" and judged.comment[3] == "1, bad"
    assert judged.comment.count() == 1 and set(judged.inspector) == {"Ada 2"}
    counts = judged.drawn.value_counts().to_dict()
    assert counts == {"look again": 11, "audit": 4, "reject": 1, "suspect label": 1}
    assert set(judged.path[:16]) <= {f"lot7/{path.relative_to(lot)}" for path in lot.rglob("*.png")}
    assert set(judged.group[:16]) == {f"lot7/{GROUP}", "lot7"}
    # what the names hold is text
    assert browser.title == "Review: lot7" and not browser.find_elements("tag name", "b")
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    fits = "document.documentElement.scrollHeight <= innerHeight"
    assert browser.execute_script(f"return image.naturalWidth === 32 && map.src && {fits}")

    labels = tmp_path / "labels.csv"
    assert start("--read", saved, "--out", labels) == 0
    said, audits = capsys.readouterr().out, judged[judged.drawn == "audit"]
    assert f"4 audited, {(audits.before_scores == 'bad').sum()} bad, 0 undecided" in said
    assert judged.page.nunique() == 1 and judged.saved.notna().all()
    shutil.copytree(lot, parts / "lot7")
    with edit_run(described) as record:
        record["dataset"] = f"folder:{parts}"
    reviews = pd.read_csv(labels)
    before = read_split(described.split_csv).set_index("id")
    assert run_split(parts, "--name", "next", "-p", f"LABELS_CSV={labels}") == 0
    after = read_split(RunPaths("next").split_csv).set_index("id")
    assert after.loc[before.index, ["split", "label"]].equals(before[["split", "label"]])
    assert after.split.drop(before.index).tolist() == ["review"] * (len(reviews) - 1)
    assert (after.label["good07"], after.review["good07"]) == (0, 1)
