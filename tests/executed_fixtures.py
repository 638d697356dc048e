"""A finished run without its work: run.json and executed copies of the notebooks, made by hand."""

import base64
import io
import shutil

import nbformat
import pytest
from nbformat import v4
from PIL import Image

from helpers.commands import executed, publish
from helpers.core import files, paths
from helpers.runs import settings as config
from helpers.runs import stages

RUN = "elpv-quick"


def png():
    """Return a small picture as a notebook holds it."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def bar(text="CNN 1/1:   0%|          | 0/140"):
    """Return what tqdm leaves behind in a headless run."""
    data = {executed.WIDGET: {"model_id": "1"}, "text/plain": text}
    return v4.new_output("display_data", data=data)


def said(text, name="stdout"):
    """Return a text that a cell has printed."""
    return v4.new_output("stream", name=name, text=text)


def shown(**data):
    """Return the value of a cell's last line, given by its kinds: `html`, `png`, `plain`."""
    kinds = {"html": "text/html", "png": "image/png", "plain": "text/plain"}
    named = {kinds[kind]: content for kind, content in data.items()}
    return v4.new_output("execute_result", data=named, execution_count=9)


def execute(stage, outputs, parameters=None):
    """Write an executed copy as papermill does: `outputs` in the third code cell of the source."""
    notebook = executed.read(paths.notebooks_root() / f"{stage}.ipynb")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=2):
        cell.execution_count, cell.outputs = number, []
        cell.metadata |= {"execution": {"iopub.status.idle": "2026-01-01T00:00:00"}}
        cell.metadata |= {"papermill": {"duration": 1.0, "status": "completed"}}
    code[2].outputs = [nbformat.from_dict(output) for output in outputs]
    injected = v4.new_code_cell("RUN = 'x'", metadata={"tags": [executed.INJECTED]})
    notebook.cells.insert(2, injected)
    notebook.metadata["papermill"] = {"parameters": parameters or {"RUN": RUN}}
    notebook.metadata["widgets"] = {"state": {}}
    target = paths.RunPaths(RUN).notebook(stage)
    files.write_bytes(target, nbformat.writes(notebook).encode())


def write_record(without=()):
    """Write run.json of a run whose stages are done, except those of `without`."""
    run_paths = paths.RunPaths(RUN)
    record = {"run": RUN, "preset": "quick", "dataset": "elpv", "stages": {}, "steps": {}}
    for stage in config.STAGES:
        if stage in without:
            continue
        settings = config.resolve(stage, "quick", {})
        record["stages"][stage] = {
            "status": "done",
            "key": stages.stage_key(stage, settings, record),
            "settings": vars(settings),
            "device": "CPU, 2 threads",
            "precision": "bf16",
            "commit": "abc1234",
            "seconds": 60.0,
            "peak_memory_mb": 1500,
            "outputs": {},
            "notebook": executed.code_digest(paths.notebooks_root() / f"{stage}.ipynb"),
        }
    files.save_json(run_paths.run_json, record)
    return record


@pytest.fixture(scope="session")
def executed_run(tmp_path_factory):
    """Return a home with a finished run, and notebooks without outputs in `project`; read only."""
    place = tmp_path_factory.mktemp("executed")
    copies = place / "project" / "notebooks"
    shutil.copytree(paths.notebooks_root(), copies, ignore=shutil.ignore_patterns("images"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(paths.HOME_VARIABLE, str(place))
        patch.setattr(paths, "notebooks_root", lambda: copies)
        for path in copies.glob("*.ipynb"):
            notebook = executed.read(path)
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs = []
            nbformat.write(notebook, path)
        write_record()
        figures = {figure for parts in publish.PICTURES.values() for figure, *_ in parts}
        for figure in figures:
            files.write_bytes(paths.RunPaths(RUN).figure(figure), base64.b64decode(png()))
        for stage in config.STAGES:
            execute(stage, [bar(), said(f"{stage} speaks\n"), shown(png=png(), plain="<Figure>")])
    return place


@pytest.fixture
def finished_run(executed_run, home, monkeypatch):
    """Return the paths of a finished run, with a copy of `notebooks/` to write to."""
    shutil.copytree(executed_run, home, dirs_exist_ok=True)
    monkeypatch.setattr(paths, "notebooks_root", lambda: home / "project" / "notebooks")
    return paths.RunPaths(RUN)
