"""Executed copies of notebooks, and what in them is worth a reader's time.

Progress bars, warnings, what papermill adds, addresses of objects: all of it is gone after `tidy`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.runs import stages

if TYPE_CHECKING:
    from nbformat import NotebookNode


INJECTED = "injected-parameters"  # papermill's tag of the cell that it adds
WIDGET = "application/vnd.jupyter.widget-view+json"  # progress bars, dead without a kernel
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_OVERWRITTEN = re.compile(r"^.*\r(?=[^\n])", re.MULTILINE)  # what a carriage return has wiped out


def code_digest(notebook: Path) -> str:
    """A digest of a notebook's code cells; outputs and story don't count."""
    cells = files.load_json(notebook)["cells"]
    return files.fingerprint(["".join(c["source"]) for c in cells if c["cell_type"] == "code"])


def has_copy(run_paths: RunPaths, stage: str) -> bool:
    """Whether the executed copy shows the stage's last execution.

    It does not when the notebook was executed by hand since.
    """
    record = stages.load_run(run_paths).get("stages", {}).get(stage, {})
    return "notebook" in record and run_paths.notebook(stage).is_file()


def read(path: Path) -> NotebookNode:
    """A notebook, or the file that is missing or damaged.

    Raises:
        ArtifactError: no such file, or no notebook.
    """
    import nbformat  # slow to import; a run that is up to date does without

    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise files.ArtifactError(f"{path} is missing") from None
    except (ValueError, AttributeError, nbformat.ValidationError) as error:
        raise files.ArtifactError(f"{path} is no notebook: {error}") from None


def given_parameters(notebook: NotebookNode) -> dict:
    """What papermill was given for this execution: parameter names and values."""
    return dict(notebook.metadata.get("papermill", {}).get("parameters", {}))


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Leave an executed notebook's own cells and what they say; changes it and returns it.

    Code cells are numbered from 1 in their order.
    """
    own = [c for c in notebook.cells if INJECTED not in c.metadata.get("tags", [])]
    code = [cell for cell in own if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number
        cell.outputs = _worth_keeping(cell.outputs)
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
    for cell in own:
        tags = cell.metadata.get("tags")
        cell.metadata = type(cell.metadata)({"tags": tags} if tags else {})
    notebook.cells = own
    for name in ("papermill", "widgets"):
        notebook.metadata.pop(name, None)
    return notebook


def without_outputs(content: bytes) -> bytes:
    """A notebook's file without what its cells have shown: a few kilobytes to send around."""
    notebook = json.loads(content)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    notebook["metadata"].pop("published", None)
    return json.dumps(notebook, indent=1, ensure_ascii=False).encode()


def texts(output: NotebookNode) -> dict[str, str]:
    """What of an output can be read, by its kind: "stdout", "text/plain", "text/html", ...

    Of a widget nothing can be.
    """
    if output.output_type == "stream":
        return {output.name: output.text}
    if output.output_type == "error":
        return {"error": "\n".join([output.ename, output.evalue, *output.traceback])}
    found = {kind: text for kind, text in output.data.items() if kind.startswith("text/")}
    return {WIDGET: ""} if WIDGET in output.data else found


def _worth_keeping(outputs: list[NotebookNode]) -> list[NotebookNode]:
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            output.text = _OVERWRITTEN.sub("", output.text)
            if kept and kept[-1].output_type == "stream":  # a progress bar stood between
                kept[-1].text += output.text
                continue
        elif WIDGET in output.get("data", {}):
            continue
        elif "text/plain" in output.get("data", {}):
            output.data["text/plain"] = _ADDRESS.sub("", output.data["text/plain"])
        kept.append(output)
    return kept
