"""Read executed notebooks and leave only what is worth a reader's time.

`tidy` removes progress bars, warnings, addresses of objects and what papermill adds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.core import files
from helpers.runs import code

if TYPE_CHECKING:
    from nbformat import NotebookNode

INJECTED = "injected-parameters"  # papermill's tag of the cell that it adds
WIDGET = "application/vnd.jupyter.widget-view+json"  # a progress bar, dead without a kernel


def code_digest(notebook: Path) -> str:
    """Return a digest of a notebook's code cells and of all code of the package that they reach.

    Text, comments and outputs do not count.
    """
    cells = files.load_json(notebook)["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    lines = "\n".join(sources).splitlines()
    return code.digest_of_source(
        "\n".join(line for line in lines if not line.startswith(("%", "!")))
    )


def read(path: Path) -> NotebookNode:
    """Load a notebook.

    Raises:
        ArtifactError: the file is missing or not a notebook.
    """
    import nbformat  # slow to import, and not needed by a run that is up to date

    with files.reading(path, "notebook"):
        return nbformat.read(path, as_version=4)


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Change an executed notebook to its own cells with readable outputs, and return it.

    Code cells are numbered from 1 in their order.
    """
    notebook.cells = [c for c in notebook.cells if INJECTED not in c.metadata.get("tags", [])]
    number = 0
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = type(cell.metadata)({"tags": tags} if tags else {})
        if cell.cell_type != "code":
            continue
        number += 1
        cell.execution_count, outputs, cell.outputs = number, cell.outputs, []
        for output in outputs:
            data = output.get("data", {})
            if output.get("name") == "stderr" or WIDGET in data:
                continue
            if "text/plain" in data:
                data["text/plain"] = re.sub(r" at 0x[0-9a-fA-F]+", "", data["text/plain"])
            if output.output_type == "execute_result":
                output.execution_count = number
            elif output.output_type == "stream":
                # without what a carriage return has overwritten
                output.text = re.sub(r"(?m)^.*\r(?=[^\n])", "", output.text)
                if cell.outputs and cell.outputs[-1].output_type == "stream":
                    cell.outputs[-1].text += output.text  # a progress bar was between them
                    continue
            cell.outputs.append(output)
    for name in ("papermill", "widgets"):
        notebook.metadata.pop(name, None)
    return notebook
