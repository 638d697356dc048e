"""A run's report: one file that needs nothing else, the six notebooks, and what they cost."""

import re

import pytest

from helpers.commands import report, run
from helpers.core import files
from helpers.runs import settings, stages
from tests.executed_fixtures import *  # noqa: F403 - the fixture, which pytest finds by name
from tests.executed_fixtures import bar, execute, loaded_from_elsewhere, said, shown

TITLES = [
    "01 Data and split",
    "02 Pretrained features and four classical models",
    "03 Training networks: from scratch, the last layer, all layers",
    "04 DARTS: searching a cell",
    "05 Genotypes: networks of cells, trained from scratch",
    "06 Analysis: the whole table, the decision, and what the models look at",
]


def _written(run_paths):
    return report.write(run_paths).read_text(encoding="utf-8")


def test_the_report_is_one_file_that_loads_nothing(finished_run):
    html = '<script src="https://cdn.example/x.js"></script><link href="http://a/b.css"><b>t</b>'
    execute("02_features_baselines", [shown(html=html, plain="")])
    text = _written(finished_run)
    assert loaded_from_elsewhere(text) == []
    assert "<b>t</b>" in text and 'src="data:image/png;base64,' in text


def test_the_contents_lead_to_the_six_notebooks_in_their_order(finished_run):
    text = _written(finished_run)
    links = re.findall(r'<li><a href="#(\w+)">(.+?)</a></li>', text)
    assert links == list(zip(settings.STAGES, TITLES, strict=True))
    sections = re.findall(r'<section id="(\w+)" class="notebook">\s*<h1>(.+?)</h1>', text)
    assert sections == links
    said_by = re.findall(r"(\d\d_\w+) speaks", text)
    assert said_by == list(settings.STAGES)


def test_progress_bars_and_warnings_are_not_shown_and_formulas_are_drawn(finished_run):
    execute("04_darts_search", [bar("search 1/2"), said("beware", "stder"), said("found")])
    text = _written(finished_run)
    assert "found" in text
    assert "search 1/2" not in text and "beware" not in text and "$$" not in text
    assert 'class="formula"' in text


def test_pictures_are_described_by_the_heading_above_them(finished_run):
    assert 'alt="Figure: The images"' in _written(finished_run)


def test_output_that_looks_like_html_is_shown_as_it_is(finished_run):
    execute("01_data_split", [said("<b>bold</b> & <script>run()</script>")])
    text = _written(finished_run)
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; &lt;script&gt;run()&lt;/script&gt;" in text


def test_facts_come_from_the_run_s_record(finished_run):
    record = stages.load_run(finished_run)
    first, last = record["stages"]["01_data_split"], record["stages"]["06_analysis"]
    first["images"] = {"test 0": 60, "test 1": 20, "train 0": 1104, "train 1": 36}
    last |= {"backbone": "resnet18", "submitted": "rf_finetuned"}
    facts = report.facts(record)
    assert facts["images"] == "train 1,104 good and 36 bad; test 60 good and 20 bad"
    assert facts["submission"] == "RF on FBP features"
    assert facts["machine"] == "CPU, 2 threads, bf16"
    assert facts["backbone"] == "resnet18" and facts["commit"] == "abc1234"
    assert facts["preset"] == "quick" and facts["data set"] == "elpv"


def test_costs_name_stages_steps_and_speeds_and_add_up(finished_run):
    record = stages.load_run(finished_run)
    tuned = record["stages"]["03_finetuning"]
    tuned |= {"seconds": 300.0, "peak_memory_mb": 2200, "reused": ["features"]}
    tuned["images_per_s"] = {"fbp": 55.2, "embed fbp": 1240.0}
    tuned["outputs"] = {"checkpoints/fbp.safetensors": "digest", "features/lite0.npz": "digest"}
    record["steps"] = {
        "fbp": {"outputs": {"checkpoints/fbp.safetensors": "digest"}, "seconds": 240.0},
        "features": {"outputs": {"features/lite0.npz": "digest"}, "seconds": 9.0},
        "search": {"outputs": {"genotypes/searched.json": "digest"}, "seconds": 9.0},
    }
    rows = report.costs(record)
    assert [row["stage"] for row in rows] == [*settings.STAGES, ""]
    row = rows[2]
    assert (row["time"], row["memory"], row["share"]) == ("5.0 min", "2.2 GB", 0.5)
    assert row["work"] == [
        "fbp: 4.0 min, 55 images/s",
        "features: kept from before",
        "embed fbp: 1,240 images/s",
    ]
    assert (rows[-1]["time"], rows[-1]["memory"]) == ("10.0 min", "2.2 GB")
    assert sum(row["share"] for row in rows[:-1]) == pytest.approx(1)


def test_a_notebook_that_was_not_run_says_so(finished_run):
    finished_run.notebook("06_analysis").unlink()
    text = _written(finished_run)
    assert "There is no executed copy: this notebook was not run." in text
    assert TITLES[5] in text and "06_analysis speaks" not in text


def test_a_copy_older_than_an_execution_by_hand_says_so(finished_run):
    assert "older than" not in _written(finished_run)
    _executed_by_hand(finished_run, "04_darts_search")
    assert _written(finished_run).count("This copy is older than the stage's last") == 1


def test_a_stage_executed_by_hand_is_run_again_for_a_report_and_only_then(
    finished_run, monkeypatch, capsys
):
    _executed_by_hand(finished_run, "04_darts_search")
    ran = []
    monkeypatch.setattr(run, "_run_notebook", lambda *given: ran.append(given[-1]))
    assert run.main(["--preset", "quick"]) == 0
    assert ran == []
    assert run.main(["--preset", "quick", "--html"]) == 0
    assert ran == ["04_darts_search"]
    assert f"report: {finished_run.root / 'report.html'}" in capsys.readouterr().out


def test_a_smoke_run_s_report_says_that_its_numbers_mean_nothing(finished_run):
    warning = "Smoke preset: wiring only, the numbers mean nothing."
    assert warning not in _written(finished_run)
    record = stages.load_run(finished_run)
    files.save_json(finished_run.run_json, record | {"preset": "smoke"})
    assert warning in _written(finished_run)


def _executed_by_hand(run_paths, stage):
    record = stages.load_run(run_paths)
    del record["stages"][stage]["notebook"]
    files.save_json(run_paths.run_json, record)
