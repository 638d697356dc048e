"""The page of parts to judge: which parts are on it, its pictures, and that it is closed."""

import base64
import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from helpers.core import files
from helpers.deploy import predictor, review
from tests.deploy_run import save_described, small_models


def judged(again: int, passed: int) -> pd.DataFrame:
    """Return a lot's parts with verdicts, five of them rejected, and three suspect labels."""
    verdicts = ["pass"] * passed + ["look again"] * again + ["reject"] * 5
    table = pd.DataFrame({"verdict": verdicts, "label": None})
    doubted = pd.DataFrame({"verdict": "pass", "label": ["good"] * 3})
    return pd.concat([table, doubted], ignore_index=True).reset_index(names="path")


@pytest.mark.parametrize(("passed", "share", "audits"), [(150, 0.02, 3), (7, 0.02, 1), (0, 1, 0)])
def test_a_share_of_the_passed_parts_at_least_one_is_audited(passed, share, audits):
    parts = review.chosen(judged(30, passed), share, seed=0)
    drawn = [(parts.drawn == kind).sum() for kind in ("look again", "audit", "suspect label")]
    assert drawn == [30, audits, 3] and (parts.drawn[-3:] == "suspect label").all()
    assert (parts.passed == passed).all()
    assert set(parts.verdict[parts.drawn == "audit"]) <= {"pass"}


def test_every_passed_part_is_audited_equally_often_and_at_any_place():
    draws = [review.chosen(judged(8, 20), 0.1, seed) for seed in range(300)]
    pd.testing.assert_frame_equal(draws[3], review.chosen(judged(8, 20), 0.1, 3))
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
def test_an_overlay_fits_the_image_and_has_a_line_at_half_of_its_peak(sides):
    rows, columns = np.mgrid[:64, :64]
    heat = np.exp(-((rows - 30) ** 2 + (columns - 34) ** 2) / 100)
    overlay = review.overlay_of(torch.tensor(heat), sides)
    width, height = (64 * side // max(sides) for side in sides)
    assert overlay.size == (width, height)
    left, top = (64 - width) // 2, (64 - height) // 2
    inside = heat[top : top + height, left : left + width]
    pixels = np.asarray(overlay.convert("RGBA")).astype(int)
    line = (pixels == 255).all(axis=-1)
    assert line.any() and (abs(inside[line] - 0.5) < 0.1).all()
    np.testing.assert_allclose(pixels[~line][:, 3], 0.6 * 255 * inside[~line], atol=12)


def test_the_page_allows_its_own_script_alone_and_no_text_gets_out_of_its_data(tmp_path):
    model = predictor.TrainedModel(save_described(tmp_path / "net", small_models()))
    name = '</script><script>alert("1")</script>$x <!-- \u2028 ü'
    Image.fromarray(np.zeros((2400, 600), np.uint8)).save(tmp_path / "a.png")
    parts = pd.DataFrame({"file": [str(tmp_path / "a.png")], "path": name, "score": 0.5})
    parts = parts.assign(group=name, label=None, remark=None, drawn="audit", verdict="", passed=1)
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
    assert policy.split("; ") == [
        "default-src 'none'",
        f"script-src 'sha256-{digests[0]}'",
        f"style-src 'sha256-{digests[1]}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    other = review.page(model, parts.assign(path="b"), **about)
    assert json.loads(data)["digest"] not in other  # a browser keeps the two apart
