"""Read executed notebooks and leave only what is worth a reader's time.

`tidy` removes progress bars, warnings, addresses of objects and what papermill adds.
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
WIDGET = "application/vnd.jupyter.widget-view+json"  # a progress bar, dead without a kernel
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_OVERWRITTEN = re.compile(r"^.*\r(?=[^\n])", re.MULTILINE)  # text before a carriage return


def code_digest(notebook: Path) -> str:
    """Return a digest of a notebook's code cells; text and outputs do not count."""
    cells = files.load_json(notebook)["cells"]
    return files.fingerprint(["".join(c["source"]) for c in cells if c["cell_type"] == "code"])


def has_copy(run_paths: RunPaths, stage: str) -> bool:
    """Return True if the executed copy shows the stage's last execution.

    It is older if the notebook was executed by hand after it.
    """
    record = stages.load_run(run_paths).get("stages", {}).get(stage, {})
    return "notebook" in record and run_paths.notebook(stage).is_file()


def read(path: Path) -> NotebookNode:
    """Load a notebook.

    Raises:
        ArtifactError: the file is missing or not a notebook.
    """
    import nbformat  # slow to import, and not needed by a run that is up to date

    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise files.ArtifactError(f"{path} is missing") from None
    except (ValueError, AttributeError, nbformat.ValidationError) as error:
        raise files.ArtifactError(f"{path} is not a notebook: {error}") from None


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Change an executed notebook to its own cells with readable outputs, and return it.

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
    """Return a notebook's file without outputs: a few kilobytes to send around."""
    notebook = json.loads(content)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    notebook["metadata"].pop("published", None)
    return json.dumps(notebook, indent=1, ensure_ascii=False).encode()


def _worth_keeping(outputs: list[NotebookNode]) -> list[NotebookNode]:
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            output.text = _OVERWRITTEN.sub("", output.text)
            if kept and kept[-1].output_type == "stream":  # a progress bar was between them
                kept[-1].text += output.text
                continue
        elif WIDGET in output.get("data", {}):
            continue
        elif "text/plain" in output.get("data", {}):
            output.data["text/plain"] = _ADDRESS.sub("", output.data["text/plain"])
        kept.append(output)
    return kept
