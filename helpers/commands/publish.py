"""Put the outputs of a run into `notebooks/`: `python -m helpers.run --publish`.

A published notebook is the source with the cleaned outputs of the run's executed copy, and a stamp
in its metadata that names the code, the run and the machine. The tables whose numbers README states
are written to `notebooks/results/`, with the scores out of fold of a run without a test set (see
`results.out_of_fold`), and the figure that it shows to `notebooks/images/`.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from PIL import Image

from helpers.core import files, paths
from helpers.core.files import ArtifactError
from helpers.core.paths import RunPaths
from helpers.datasets.split_file import read_split
from helpers.results import out_of_fold
from helpers.runs import report, stages
from helpers.runs import settings as config

# at least two names deep, so that "and/or" and "</td>" do not match; Windows's paths too
_ABSOLUTE_PATH = re.compile(r"(?<![\w./<~])/[\w.+@~-]+/[\w.+@~/-]+|file://\S+|\b[A-Z]:\\+\w\S*")

# tables of the run, and of the run that 06 compares it with
TABLES = ("06_results", "06_three_columns", "07_operating_points")
FIGURE = "08_journey"  # README's
WIDGET = "application/vnd.jupyter.widget-view+json"  # a progress bar, dead without a kernel


def publish(run_paths: RunPaths) -> list[Path]:
    """Write the notebooks, tables, scores and README's figure of a finished run into `notebooks/`.

    Raises:
        ArtifactError: an output must not be shown, or is not that of the source, or a notebook or a
            figure is missing or damaged; nothing is written.
    """
    record, root = stages.load_run(run_paths), paths.notebooks_root()
    sources = {stage: root / f"{stage}.ipynb" for stage in config.STAGES}
    contents = {}
    for source in sources.values():
        notebook = _with_outputs(source, run_paths, record)
        if wrong := faults(notebook):
            raise ArtifactError(f"{source.stem} is not fit to be published: {'; '.join(wrong[:3])}")
        contents[source] = nbformat.writes(notebook).rstrip("\n").encode() + b"\n"
    other = record["stages"]["06_analysis"]["settings"].get("compare_run")
    for shown in (run_paths, *([RunPaths(other)] if other else [])):
        for table in filter(Path.is_file, map(shown.table, TABLES)):
            contents[root / "results" / shown.name / table.name] = table.read_bytes()
    scores = root / "results" / run_paths.name
    if (read_split(run_paths.split_csv).split != "test").all():
        found = report.out_of_fold_scores(run_paths, other or "")
        contents |= {scores / name: text for name, text in out_of_fold.contents(found).items()}
    figure = run_paths.figure(FIGURE)
    with files.reading(figure):
        contents[root / "images" / figure.name] = figure.read_bytes()
    for path, content in contents.items():
        files.write_bytes(path, content)
    for path in {*scores.glob("*/*.csv")} - contents.keys():  # of an earlier publication
        path.unlink()
    return list(contents)


def read(path: Path) -> NotebookNode:
    """Load a notebook.

    Raises:
        ArtifactError: the file is missing or not a notebook.
    """
    with files.reading(path, "notebook"):
        return nbformat.read(path, as_version=4)


def tidied(outputs: list[NotebookNode], number: int) -> list[NotebookNode]:
    """Return the outputs of cell `number` without progress bars, warnings and addresses."""
    kept: list[NotebookNode] = []
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
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += output.text  # a progress bar was between them
                continue
        kept.append(output)
    return kept


def _with_outputs(path: Path, run_paths: RunPaths, record: dict[str, Any]) -> NotebookNode:
    """Return the source notebook with the outputs of its executed copy, and the stamp."""
    source, copy = read(path), read(run_paths.notebook(path.stem))
    given = copy.metadata.get("papermill", {}).get("parameters", {})
    copies = {cell.id: cell for cell in copy.cells}
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        if cell.id not in copies or copies[cell.id].source != cell.source:
            raise ArtifactError(f"{path.stem}, cell {cell.id}: the executed copy has another code")
        cell.execution_count, cell.outputs = number, tidied(copies[cell.id].outputs, number)
        for output in cell.outputs:
            content = output.get("data", output)  # a printed text has it in the output itself
            content.update({kind: _relative(text) for kind, text in _texts(output).items()})
            if "image/png" in content:
                content["image/png"] = smaller_png(content["image/png"])
    done = record["stages"][path.stem]
    parameters = {n: _relative(v) if isinstance(v, str) else v for n, v in given.items()}
    stamp = {
        "code": cells_digest(source),
        "run": run_paths.name,
        "preset": record["preset"],
        "parameters": parameters,
        "commit": done["commit"],
        "machine": f"{done['device']}, {done['precision']}",
    }
    source.metadata = type(source.metadata)(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "published": stamp,
        }
    )
    return source


def _texts(output: NotebookNode) -> dict[str, str]:
    """Return what a reader can read in an output: the printed text, or its texts by kind."""
    if output.output_type == "stream":
        return {"text": output.text}
    return {k: text for k, text in output.get("data", {}).items() if k.startswith("text/")}


def _relative(text: str) -> str:
    """Return a text with paths below the project and the home folder as the README writes them."""
    for root in {str(paths.project_root()), str(paths.home())}:
        text = text.replace(f"{root}/", "")
    return text.replace(f"{Path.home()}/", "~/") if Path.home() != Path("/") else text


def cells_digest(notebook: NotebookNode) -> str:
    """Return a digest of a notebook's code cells, without the code of the package."""
    return files.fingerprint([c.source for c in notebook.cells if c.cell_type == "code"])


def faults(notebook: NotebookNode) -> list[str]:
    """Return what is wrong with the outputs of a notebook; nothing if it has no outputs."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not any(cell.outputs for cell in cells):
        return []
    stamp = dict(notebook.metadata.get("published", {}))
    wrong = []
    if stamp.get("code") != cells_digest(notebook):
        wrong.append("its outputs are not those of its present code: publish a run again")
    texts = [("the stamp", repr(stamp))]
    for cell in cells:
        for output in cell.outputs:
            kind = output.get("name", output.output_type)  # a printed text is "stdout" or "stderr"
            if kind in ("stderr", "error") or WIDGET in output.get("data", {}):
                wrong.append(f"cell {cell.id} shows a warning, an error or a progress bar")
            texts += [(f"cell {cell.id}", text) for text in _texts(output).values()]
    for place, text in texts:
        if path := _ABSOLUTE_PATH.search(text):
            wrong.append(f"{place} holds a path of one machine: {path[0]}")
    return wrong


def smaller_png(content: str) -> str:
    """Return a PNG (base64) in at most 256 colours, which take about a third of the bytes.

    No pixel changes by more than about 20 of 255 levels, and grays stay gray to the eye.
    """
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        small = image.convert("RGB").quantize(
            256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE
        )
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return min(content, base64.b64encode(buffer.getvalue()).decode(), key=len)
