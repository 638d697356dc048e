"""Publishing a run: sources with outputs and a stamp, nothing of one machine in them."""

import shutil

import nbformat
import pytest
from nbformat import v4
from PIL import Image

from helpers.commands import kernel
from helpers.core import files, paths
from helpers.runs.settings import STAGES
from tests import planted, publish

RUN, STAGE = "elpv-full", "03_finetuning"
PUBLISHED = {".ipynb", ".csv", ".png", ".txt", ".md", ".jsonl"}
NOTEBOOKS = sorted(paths.notebooks_root().glob("*.ipynb"))
BAR = v4.new_output("display_data", data={publish.WIDGET: {"model_id": "1"}, "text/plain": "0 %"})
WARNING = v4.new_output("stream", name="stderr", text="oh\n")


def read(stage=STAGE):
    return nbformat.read(paths.notebooks_root() / f"{stage}.ipynb", as_version=4)


def said(text):
    return v4.new_output("stream", name="stdout", text=text)


def execute(stage, *outputs, **parameters):
    """Write an executed copy as papermill does: `outputs` in the third code cell of the source."""
    notebook = read(stage)
    for cell in publish.code_cells(notebook):
        cell.outputs = []
    publish.code_cells(notebook)[2].outputs = [nbformat.from_dict(output) for output in outputs]
    notebook.cells.insert(2, v4.new_code_cell("RUN = 'x'"))  # the injected parameters
    notebook.metadata["papermill"] = {"parameters": {"RUN": RUN} | parameters}
    target = paths.RunPaths(RUN).notebook(stage)
    files.write_bytes(target, nbformat.writes(notebook).encode())


@pytest.fixture
def finished_run(home, monkeypatch):
    """Return the paths of a finished run, with a copy of `notebooks/` to write to."""
    copies = home / "project" / "notebooks"
    shutil.copytree(paths.notebooks_root(), copies, ignore=shutil.ignore_patterns("images"))
    monkeypatch.setattr(paths, "notebooks_root", lambda: copies)
    run_paths = planted.make_run(name=RUN)
    about = {"status": "done", "device": "CPU, 2 threads", "precision": "bf16", "commit": "abc1234"}
    about["versions"] = {"python": "3.11.7", "torch": "2.13.0+cpu"}
    files.save_json(run_paths.run_json, {"preset": "quick", "stages": dict.fromkeys(STAGES, about)})
    for name in publish.FIGURES:
        run_paths.figure(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(run_paths.figure(name))
    files.write_bytes(run_paths.table("06_results"), b"model,test_auc\nfbp,0.9\n")
    for stage in STAGES:
        execute(stage, said(f"{stage} speaks\n"))
    return run_paths


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_of_the_repository_has_no_outputs_or_those_of_its_present_code(path):
    notebook = read(path.stem)
    assert publish.faults(notebook) == []
    assert set(notebook.metadata) <= {"kernelspec", "language_info", "published"}
    tags = [{}, {"tags": ["parameters"]}, {"tags": [kernel.BOTH_CLASSES]}]
    assert all(cell.metadata in tags for cell in notebook.cells)


def test_all_notebooks_together_are_small():  # each publication stays in git's history
    tracked = [p for p in paths.notebooks_root().rglob("*") if p.suffix in PUBLISHED]
    assert sum(path.stat().st_size for path in tracked) < 5_000_000


def test_publishing_puts_outputs_and_a_stamp_into_the_sources_and_nothing_else(finished_run):
    data = {"text/html": f"<td>{finished_run.root}/a.csv</td>", "text/plain": "<x at 0x7f10>"}
    table = v4.new_output("execute_result", data=data, execution_count=9)
    stay = "good/bad, 1/2, data/runs/x.csv, ../data/x/y, https://doi.org/10.1/x, ~/.a/b\n"
    printed = said(f"{finished_run.root}/split.csv {stay}")
    execute(STAGE, BAR, printed, WARNING, table, FBP_EPOCHS=2)
    before = read()
    written = publish.publish(RUN)
    assert [p.stem for p in written] == [*STAGES, "06_results", "constraints", *publish.FIGURES]
    assert Image.open(written[-1]).size == (8, 8)
    assert written[-3].read_text() == "# Python 3.11.7\ntorch==2.13.0\n"
    after = read()
    printed, table = publish.code_cells(after)[2].outputs
    assert printed.text == f"data/runs/{RUN}/split.csv {stay}"
    assert table.data == {"text/html": f"<td>data/runs/{RUN}/a.csv</td>", "text/plain": "<x>"}
    stamp = {"code": publish.cells_digest(before), "run": RUN, "preset": "quick"}
    stamp |= {"parameters": {"RUN": RUN, "FBP_EPOCHS": 2}, "commit": "abc1234"}
    assert after.metadata.published == stamp | {"machine": "CPU, 2 threads, bf16"}
    code = [[(c.id, c.source, c.metadata) for c in n.cells] for n in (before, after)]
    assert code[0] == code[1]
    assert publish.faults(after) == []
    after.cells[1].outputs = [WARNING]
    assert after.cells[1].id in publish.faults(after)[0]
    after.cells[1].source += "\nx = 1"
    assert len(publish.faults(after)) == 2  # stale
    published = paths.notebooks_root() / f"{STAGE}.ipynb"
    whole = published.read_bytes()
    for text, parameters, culprit in (
        ("read '/srv/parts/a.png'", {}, ": cell "),
        ("x", {"WEIGHTS": "C:\\Users\\me"}, "the stamp"),
    ):
        execute(STAGE, said(text), **parameters)
        with pytest.raises(files.ArtifactError, match=f"{STAGE}.*{culprit}"):
            publish.publish(RUN)
    assert published.read_bytes() == whole
