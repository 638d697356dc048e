"""Put the outputs of a run into `notebooks/`: `python -m helpers.run --publish`.

A published notebook is the source with the cleaned outputs of the run's executed copy, and a stamp
in its metadata that names the code, the run and the machine. The tables whose numbers README tells
lie beside, in `notebooks/results/`.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.commands import executed
from helpers.core import files, paths
from helpers.core.paths import RunPaths
from helpers.runs import settings as config
from helpers.runs import stages

if TYPE_CHECKING:
    from nbformat import NotebookNode

# at least two names deep, so that "and/or" and "</td>" do not match; Windows's paths too
_ABSOLUTE_PATH = re.compile(r"(?<![\w./<~])/[\w.+@~-]+/[\w.+@~/-]+|file://\S+|\b[A-Z]:\\\w\S*")
_SOURCE = re.compile(r"<pre>.*?</pre>", re.DOTALL)  # the package's, as `style.source` shows it
_FOREIGN = re.compile(r"Traceback|\w*Warning\b|\bsessions?\b|\bsandbox\b|\blocalhost\b", re.I)

# tables of the run, and of the run that 06 compares it with
TABLES = ("02_repeated_splits", "06_results", "06_two_splits", "06_operating_points")


class PublishError(files.ArtifactError):
    """The run's notebooks cannot be published; the message says why."""


def publish(run_paths: RunPaths) -> list[Path]:
    """Write the run's executed notebooks over those in `notebooks/`, and its `TABLES`, or nothing.

    Raises:
        PublishError: an incomplete run, or an output that must not be shown.
    """
    import nbformat

    record = stages.load_run(run_paths)
    sources = {stage: paths.notebooks_root() / f"{stage}.ipynb" for stage in config.STAGES}
    missing = []
    for stage, source in sources.items():
        own, code = record.get("stages", {}).get(stage), executed.code_digest(source)
        settings = own and config.resolve(stage, record["preset"], own["settings"])
        shown = own and executed.has_copy(run_paths, stage)
        if not shown or not stages.is_current(stage, settings, run_paths, code):
            missing.append(stage)
    if missing:
        raise PublishError(
            f"run {run_paths.name!r} is not complete: {', '.join(missing)} not done, or done with "
            "other inputs or code; run it without --only and --from"
        )
    contents = {}
    for stage, source in sources.items():
        notebook = _with_outputs(source, run_paths, record)
        if wrong := faults(notebook, record["stages"][stage]["notebook"]):
            raise PublishError(f"{stage} is not fit to be published: {'; '.join(wrong[:3])}")
        contents[source] = nbformat.writes(notebook).rstrip("\n").encode() + b"\n"
    other = record["stages"]["06_analysis"]["settings"].get("compare_run")
    for one in (run_paths, *([RunPaths(other)] if other else [])):
        for table in filter(Path.is_file, map(one.table, TABLES)):
            contents[paths.notebooks_root() / "results" / one.name / table.name] = (
                table.read_bytes()
            )
    for path, content in contents.items():
        files.write_bytes(path, content)
    return list(contents)


def _with_outputs(path: Path, run_paths: RunPaths, record: dict[str, Any]) -> NotebookNode:
    """Return the source notebook with the outputs of its executed copy, and the stamp."""
    source, copy = executed.read(path), executed.read(run_paths.notebook(path.stem))
    given = copy.metadata.get("papermill", {}).get("parameters", {})
    copies = {cell.id: cell for cell in executed.tidy(copy).cells}
    for cell in executed.tidy(source).cells:
        if cell.cell_type != "code":
            continue
        if cell.id not in copies or copies[cell.id].source != cell.source:
            raise PublishError(f"{path.stem}, cell {cell.id}: the executed copy has another code")
        cell.outputs = copies[cell.id].outputs
        for output in cell.outputs:
            content = output.get("data", output)  # a printed text has it in the output itself
            content.update({kind: _relative(text) for kind, text in _texts(output).items()})
            if "image/png" in content:
                content["image/png"] = smaller_png(content["image/png"])
    own = record["stages"][path.stem]
    source.metadata = type(source.metadata)(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "published": {
                "code": own["notebook"],
                "run": run_paths.name,
                "preset": record["preset"],
                "parameters": {
                    name: _relative(value) if isinstance(value, str) else value
                    for name, value in given.items()
                },
                "commit": own["commit"],
                "machine": f"{own['device']}, {own['precision']}",
            },
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


def faults(notebook: NotebookNode, code: str) -> list[str]:
    """Return what is wrong with the outputs of a notebook; nothing if it has no outputs.

    Args:
        notebook: as it is in `notebooks/`, or is about to be.
        code: the digest of its code cells, `executed.code_digest`.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not any(cell.outputs for cell in cells):
        return []
    stamp = dict(notebook.metadata.get("published", {}))
    found = []
    if stamp.get("code") != code:
        found.append("its outputs are not those of its present code: publish a run again")
    texts = [("the stamp", repr(stamp))]
    for cell in cells:
        for output in cell.outputs:
            kind = output.get("name", output.output_type)  # a printed text is "stdout" or "stderr"
            if kind in ("stderr", "error") or executed.WIDGET in output.get("data", {}):
                found.append(f"cell {cell.id} shows a warning, an error or a progress bar")
            texts += [(f"cell {cell.id}", _SOURCE.sub("", t)) for t in _texts(output).values()]
    for place, text in texts:
        if path := _ABSOLUTE_PATH.search(text):
            found.append(f"{place} holds a path of one machine: {path[0]}")
        elif word := _FOREIGN.search(text):
            found.append(f"{place} speaks of the machinery: {word[0]!r}")
    return found


def smaller_png(content: str) -> str:
    """Return a PNG (base64) in at most 256 colours, which take about a third of the bytes.

    No pixel changes by more than about 20 of 255 levels, and grays stay gray to the eye.
    """
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        small = image.convert("RGB").quantize(
            256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE
        )
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return min(content, base64.b64encode(buffer.getvalue()).decode(), key=len)
