"""A run's report: one file that needs nothing else, all notebooks, and what they cost."""

import re

from helpers.commands import kernel, report, run
from helpers.core import files, paths
from helpers.runs import settings, stages
from tests.executed_fixtures import *  # noqa: F403 - the fixture, which pytest finds by name
from tests.executed_fixtures import bar, execute, loaded_from_elsewhere, said


def _written(run_paths):
    return report.write(run_paths).read_text(encoding="utf-8")


def test_the_report_is_one_file_with_all_notebooks_that_runs_and_loads_nothing(finished_run):
    text = _written(finished_run)
    assert loaded_from_elsewhere(text) == []
    assert re.findall(r'<a href="#(\w+)">', text) == list(settings.STAGES)
    assert re.findall(r'<a id="(\w+)">', text) == list(settings.STAGES)
    assert re.findall(r"(\d\d_\w+) speaks", text) == list(settings.STAGES)
    assert "<h1" in text and 'src="data:image/png;base64,' in text
    assert r"\bar o(x) = \sum_{o} \frac" in text  # a formula, readable without MathJax
    (meta,) = re.findall(r'<meta\b[^>]*"Content-Security-Policy"[^>]*>', text)
    policy = re.search(r'content="([^"]*)"', meta)[1]
    allowed = dict(rule.split(maxsplit=1) for rule in policy.split(";"))
    assert allowed["default-src"] == "'none'" and allowed["img-src"] == "data:"
    assert "script-src" not in allowed and "connect-src" not in allowed
    assert text.index("Content-Security-Policy") < text.index("<style")


def test_names_times_and_printed_texts_are_shown_as_they_are_and_no_progress_bars(finished_run):
    record = stages.load_run(finished_run) | {"preset": "smoke"}
    record["stages"]["03_finetuning"]["seconds"] = 301.5
    files.save_json(finished_run.run_json, record)
    lines = [bar("search 1/2"), said("beware", "stderr"), said("<b>bold</b> & <script>run()")]
    execute("01_data_split", lines)
    root = finished_run.root.rename(finished_run.root.with_name("<b> *x* [y](z)"))
    text = _written(paths.RunPaths(root.name))
    assert "<h1>Good or bad: run &lt;b&gt; *x* [y](z)</h1>" in text
    assert "<title>Good or bad: run &lt;b&gt; *x* [y](z)</title>" in text
    assert "Smoke preset" in text and "<td>301.5</td>" in text
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; &lt;script&gt;run()" in text
    assert "search 1/2" not in text and "beware" not in text


def test_a_missing_copy_is_told_and_its_notebook_is_run_again_for_a_report_alone(
    finished_run, monkeypatch
):
    finished_run.notebook("06_analysis").unlink()
    ran = []
    monkeypatch.setattr(kernel, "run_notebook", lambda source, *_: ran.append(source.stem))
    assert run.main(["--preset", "quick"]) == 0
    assert ran == []
    assert run.main(["--preset", "quick", "--html"]) == 0
    assert ran == ["06_analysis"]
    text = (finished_run.root / "report.html").read_text(encoding="utf-8")
    assert text.count("This notebook was not run.") == 1 and "06_analysis speaks" not in text
