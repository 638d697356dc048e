"""A run's report: one file that needs nothing else, all notebooks, and what they cost."""

import re

from helpers.commands import report, run
from helpers.core import files, paths
from helpers.runs import settings, stages
from tests.executed_fixtures import *  # noqa: F403 - the fixture, which pytest finds by name
from tests.executed_fixtures import bar, execute, loaded_from_elsewhere, said, shown

SMOKE = "Smoke preset: wiring only, the numbers mean nothing."


def _written(run_paths):
    return report.write(run_paths).read_text(encoding="utf-8")


def test_the_report_is_one_file_with_all_notebooks_in_their_order(finished_run):
    text = _written(finished_run)
    assert loaded_from_elsewhere(text) == []
    assert re.findall(r'<a href="#(\w+)">', text) == list(settings.STAGES)
    assert re.findall(r'<a id="(\w+)">', text) == list(settings.STAGES)
    assert re.findall(r"(\d\d_\w+) speaks", text) == list(settings.STAGES)
    assert "<h1" in text and 'src="data:image/png;base64,' in text
    assert r"\bar o(x) = \sum_{o} \frac" in text  # a formula, readable without MathJax
    assert SMOKE not in text and "older than" not in text


HOSTILE = (
    '<script src="https://cdn.example/x.js"></script>',
    "<script>run()</script>",
    '<img src="x" onerror="run()">',
    '<link href="http://a/b.css"><iframe src="http://a"></iframe>',
    '<a href="javascript:run()">x</a>',
    "<style>td { background: url(http://a/b.png) }</style>",
)


def test_nothing_of_an_output_is_run_or_loaded(finished_run):
    table = "<table><th>kept</th></table>"
    execute("02_features_baselines", [shown(html=html + table, plain="") for html in HOSTILE])
    text = _written(finished_run)
    assert loaded_from_elsewhere(text) == []
    assert "run()" not in text and "http://a" not in text
    assert text.count("<th>kept</th>") == len(HOSTILE)


def test_the_policy_forbids_to_run_or_load_anything_before_anything_else_is_said(finished_run):
    text = _written(finished_run)
    (meta,) = re.findall(r'<meta\b[^>]*"Content-Security-Policy"[^>]*>', text)
    policy = re.search(r'content="([^"]*)"', meta)[1]
    allowed = dict(rule.split(maxsplit=1) for rule in policy.split(";"))
    assert allowed["default-src"] == "'none'" and allowed["img-src"] == "data:"
    assert "script-src" not in allowed and "connect-src" not in allowed
    assert text.index("Content-Security-Policy") < text.index("<style")


def test_a_run_s_name_is_neither_html_nor_markdown(finished_run):
    root = finished_run.root.rename(finished_run.root.with_name("<b> *x* [y](z)"))
    text = _written(paths.RunPaths(root.name))
    assert "<h1>Good or bad: run &lt;b&gt; *x* [y](z)</h1>" in text
    assert "<title>Good or bad: run &lt;b&gt; *x* [y](z)</title>" in text


def test_printed_text_is_shown_as_it_is_and_progress_bars_are_not_shown(finished_run):
    lines = [bar("search 1/2"), said("beware", "stderr"), said("<b>bold</b> & <script>run()")]
    execute("01_data_split", lines)
    text = _written(finished_run)
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; &lt;script&gt;run()" in text
    assert "search 1/2" not in text and "beware" not in text


def test_facts_and_costs_come_from_the_run_s_record(finished_run):
    record = stages.load_run(finished_run) | {"preset": "smoke"}
    first, tuned = record["stages"]["01_data_split"], record["stages"]["03_finetuning"]
    first |= {"images": {"test 0": 60, "train 1": 1104}, "caveats": "<i>odd</i> " + 60 * "long "}
    tuned |= {"seconds": 301.5, "backbone": "resnet18"}
    record["steps"] = {
        "fbp": {"stage": "03_finetuning", "seconds": 240.5, "key": "k", "outputs": {}}
    }
    files.save_json(finished_run.run_json, record)
    text = _written(finished_run)
    assert SMOKE in text
    for cell in ("60 test 0, 1,104 train 1", "resnet18", "abc1234", "301.5", "240.5"):
        assert f"<td>{cell}</td>" in text
    assert "<td>FBP_EPOCHS=8</td>" in text
    assert "&lt;i&gt;odd&lt;/i&gt; " + 59 * "long " + "long" in text


def test_a_missing_and_an_older_copy_are_told_and_the_stage_is_run_again_for_a_report_alone(
    finished_run, monkeypatch, capsys
):
    record = stages.load_run(finished_run)
    del record["stages"]["04_darts_search"]["notebook"]  # executed by hand
    files.save_json(finished_run.run_json, record)
    finished_run.notebook("06_analysis").unlink()
    text = _written(finished_run)
    assert text.count("This notebook was not run.") == 1 and "06_analysis speaks" not in text
    assert text.count("This copy is older than the stage's last execution") == 1
    ran = []
    monkeypatch.setattr(run, "_run_notebook", lambda *given: ran.append(given[-1]))
    assert run.main(["--preset", "quick"]) == 0
    assert ran == []
    assert run.main(["--preset", "quick", "--html"]) == 0
    assert ran == ["04_darts_search", "06_analysis"]
    assert f"report: {finished_run.root / 'report.html'}" in capsys.readouterr().out
