"""What the runner says: the line of a training inside a cell, and times that earlier runs took."""

import dataclasses

import nbformat
import papermill

from helpers.commands import progress, run
from helpers.commands.plan import make_plan
from helpers.core import files, paths, status
from helpers.core.devices import default_device, device_name
from helpers.runs import settings as config
from helpers.runs import stages

CELL = """
from helpers.core import status
import sys, time
status.tell("FBP: epoch 2 of 8")
time.sleep(0.2)
print("a message of the kernel", file=sys.stderr, flush=True)
time.sleep(1.2)
print("another", flush=True)
time.sleep(0.3)
"""


def test_the_line_of_a_training_is_shown_while_its_cell_runs_and_not_in_the_copy(tmp_path, capsys):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    nbformat.write(notebook, tmp_path / "a.ipynb")
    bar = progress.bar_options("03_finetuning") | {"mininterval": 0}
    with status.listening(tmp_path / "status"):
        copy = papermill.execute_notebook(
            *(str(tmp_path / name) for name in ("a.ipynb", "b.ipynb")),
            engine_name=progress.register_engine(tmp_path / "status"),
            kernel_name="python3",
            cwd=str(paths.project_root()),
            progress_bar=bar,
        )
    shown = capsys.readouterr().err
    assert "03_finetuning: 0/1 cells, 00:0" in shown and ", FBP: epoch 2 of 8" in shown
    assert "epoch 2 of 8" not in str([cell.outputs for cell in copy.cells])


def _plan(*arguments):
    return make_plan(run.parser().parse_args(arguments), list(arguments))


def _record(plan, name, **changed):
    """Write run.json of a run whose stages took 100, 200, ... seconds."""
    done = {}
    for number, stage in enumerate(config.STAGES, start=1):
        done[stage] = {
            "status": "done",
            "settings": dataclasses.asdict(plan.settings[stage]),
            "device": device_name(default_device()),
            "started": "2026-01-01 10:00:00",
            "seconds": 100.0 * number - 10,
            "reused_seconds": 10.0,
            **changed.get(stage, {}),
        }
    files.save_json(paths.RunPaths(name).run_json, {"stages": done})


def test_times_come_from_equal_stages_on_the_same_device_alone(home):
    plan = _plan("--preset", "smoke", "--name", "new", "-p", "SEED=1")
    order = list(config.STAGES)
    assert progress.expected(order, plan.settings) == ""  # there is no record
    _record(_plan("--preset", "smoke"), "old")  # another seed takes as long
    assert progress.expected(order[:3], plan.settings) == (
        "2 min in run old, 10 min with the 2 notebook(s) after it"
    )
    assert progress.expected(order[2:3], plan.settings) == "5 min in run old"
    _record(_plan("--preset", "smoke"), "old", **{order[1]: {"device": "another"}})
    assert progress.expected(order[:3], plan.settings) == "2 min in run old"  # no sum is invented
    assert progress.expected(order[1:3], plan.settings) == ""
    longer = _plan("--preset", "smoke", "-p", "FBP_EPOCHS=9")
    assert progress.expected(order[2:], longer.settings) == ""
    more_images = _plan("--preset", "smoke", "-p", "MAX_IMAGES=300")
    assert progress.expected(order[2:], more_images.settings) == ""
    files.write_bytes(paths.RunPaths("broken").run_json, b"{")
    assert progress.expected(order[2:3], plan.settings) == "5 min in run old"


def test_stages_after_a_changed_one_count_as_left_even_if_they_are_up_to_date(home, monkeypatch):
    plan, order = _plan("--preset", "smoke", "--name", "t"), list(config.STAGES)
    run_paths = paths.RunPaths("t")
    _record(plan, "t", **{order[2]: {"key": "k"}})
    monkeypatch.setattr(stages, "stage_key", lambda *_: "k")
    monkeypatch.setattr(stages, "is_current", lambda stage, *_: stage != order[4])
    assert run._to_run(plan, order[2], run_paths) == [order[2], order[4]]
    monkeypatch.setattr(stages, "stage_key", lambda *_: "other")
    assert run._to_run(plan, order[2], run_paths) == order[2:]


def test_the_end_shows_what_the_notebooks_found_and_where_everything_is(described, capsys):
    long = (
        "A sentence that is longer than one line of the terminal, since it holds many words. " * 2
    )
    with stages.edit_run(described) as record:
        record["stages"]["01_data_split"]["findings"] = ["Bad parts are brighter.", long.strip()]
    files.write_bytes(described.submission, b"")
    run._show_results(described, described.root / "report.html", 65.0)
    out = capsys.readouterr().out
    assert "What the notebooks found\n01  Bad parts are brighter.\n01  A sentence" in out
    assert "\n    " in out and max(map(len, out.splitlines())) < 220
    assert out.endswith(
        f"submission: {described.submission}\n"
        f"model: {described.root}/checkpoints/net (python -m helpers.predict IMAGE --model t/net)\n"
        f"report: {described.root}/report.html\nrun folder: {described.root}\ntotal: 65 s\n"
    )
