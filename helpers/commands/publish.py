"""The executed notebooks of a run into `notebooks/`: `python -m helpers.run --publish`.

What is published is the source as it lies there, with the outputs of the run's executed copy in
it, cleaned, and a stamp in the metadata that says which code, run and machine they come from.
"""

from __future__ import annotations

import base64
import io
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.commands import executed
from helpers.core import files, paths
from helpers.core.paths import RunPaths
from helpers.runs import settings as config
from helpers.runs import stages
from helpers.runs.record import edit_run

if TYPE_CHECKING:
    from nbformat import NotebookNode


MAX_TOTAL_BYTES = 6_000_000  # of all notebooks: each publication stays in git's history
# 256 colours take a third of the bytes; no gray is off by more than 1 of 255 levels, and no colour
# by more than 20 (with median cut, which spares rare colours, by up to 90)
PALETTE_FROM_BYTES = 60_000
GRAYS = 86  # of the 256: every third level, 0 and 255 among them

# at least two names deep, so that "and/or" and "</td>" are none; Windows's too
_ABSOLUTE_PATH = re.compile(r"(?<![\w./<~])/[\w.+@~-]+/[\w.+@~/-]+|file://\S+|\b[A-Z]:\\\w\S*")
_FOREIGN = re.compile(r"Traceback|\w*Warning\b|\bsessions?\b|\bsandbox\b|\blocalhost\b", re.I)


class PublishError(files.ArtifactError):
    """The run's notebooks cannot be published; the message says what stands in the way."""


def publish(run_paths: RunPaths) -> list[Path]:
    """Write the run's executed notebooks over those in `notebooks/`, all of them or none.

    Raises:
        PublishError: a smoke run, an incomplete one, or an output that is not fit to be shown.
    """
    record = _complete_record(run_paths)
    notebooks = {stage: _with_outputs(stage, run_paths, record) for stage in config.STAGES}
    contents = {stage: _as_text(notebook) for stage, notebook in notebooks.items()}
    for stage, notebook in notebooks.items():
        if wrong := faults(notebook, record["stages"][stage]["notebook"]):
            raise PublishError(f"{stage} is not fit to be published: {'; '.join(wrong[:3])}")
    _check_size(contents)
    targets = {stage: paths.notebooks_root() / f"{stage}.ipynb" for stage in contents}
    for stage, text in contents.items():
        files.write_bytes(targets[stage], text.encode())
    stamps = {stage: notebook.metadata.published for stage, notebook in notebooks.items()}
    with edit_run(run_paths) as run:
        run["published"] = stamps
    return list(targets.values())


def faults(notebook: NotebookNode, code: str) -> list[str]:
    """What is wrong with the outputs of a notebook that readers see; a fresh one has no fault.

    Args:
        notebook: as it lies in `notebooks/`, or is about to.
        code: the digest of its code cells, `executed.code_digest`.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not any(cell.outputs for cell in cells):
        return []
    found = []
    stamp = dict(notebook.metadata.get("published", {}))
    if stamp.get("code") != code:
        found.append("its outputs are not those of its present code: publish a run again")
    readable = [("the stamp", "metadata", repr(stamp))]
    readable += [(f"cell {c.id}", kind, text) for c in cells for kind, text in _readable(c)]
    for place, kind, text in readable:
        if kind == executed.WIDGET:
            found.append(f"{place} shows a progress bar")
        elif kind in ("stderr", "error"):
            found.append(f"{place} shows {kind}: {text[:80]!r}")
        elif path := _ABSOLUTE_PATH.search(text):
            found.append(f"{place} holds a path of one machine: {path[0]}")
        elif word := _foreign_word(text):
            found.append(f"{place} speaks of the machinery: {word!r}")
    return found


def _readable(cell: NotebookNode) -> Iterator[tuple[str, str]]:
    for output in cell.outputs:
        yield from executed.texts(output).items()


def _foreign_word(text: str) -> str:
    if word := _FOREIGN.search(text):
        return word[0]
    host = platform.node()
    return host if len(host) > 3 and re.search(rf"\b{re.escape(host)}\b", text) else ""


def _complete_record(run_paths: RunPaths) -> dict[str, Any]:
    """run.json of a run whose stages are all done with the notebooks as they are now."""
    record = stages.load_run(run_paths)
    if record.get("preset") == "smoke":
        raise PublishError(
            f"run {run_paths.name!r} is of the preset smoke, whose numbers mean nothing: publish "
            "a run of another preset"
        )
    missing = []
    for stage in config.STAGES:
        code = executed.code_digest(paths.notebooks_root() / f"{stage}.ipynb")
        own = record.get("stages", {}).get(stage)
        if own is None or not executed.has_copy(run_paths, stage):
            missing.append(stage)
            continue
        settings = config.resolve(stage, record["preset"], own["settings"])
        if not stages.is_current(stage, settings, run_paths, code):
            missing.append(stage)
    if missing:
        raise PublishError(
            f"run {run_paths.name!r} is not complete: {', '.join(missing)} not done, or done with "
            "other inputs or code; run it without --only and --from"
        )
    return record


def _with_outputs(stage: str, run_paths: RunPaths, record: dict[str, Any]) -> NotebookNode:
    """The source notebook with the outputs of its executed copy, and the stamp."""
    from nbformat import NotebookNode

    source = executed.read(paths.notebooks_root() / f"{stage}.ipynb")
    copy = executed.read(run_paths.notebook(stage))
    given = executed.given_parameters(copy)
    outputs = {cell.id: cell for cell in executed.tidy(copy).cells}
    for cell in executed.tidy(source).cells:
        if cell.cell_type != "code":
            continue
        if cell.id not in outputs or outputs[cell.id].source != cell.source:
            raise PublishError(f"{stage}, cell {cell.id}: the executed copy has another code")
        cell.outputs = [_for_readers(output) for output in outputs[cell.id].outputs]
    own = record["stages"][stage]
    source.metadata = NotebookNode(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "published": {
                "code": own["notebook"],
                "run": run_paths.name,
                "preset": record["preset"],
                "parameters": {name: _relative_if_text(value) for name, value in given.items()},
                "commit": own["commit"],
                "machine": f"{own['device']}, {own['precision']}",
            },
        }
    )
    return source


def _as_text(notebook: NotebookNode) -> str:
    import nbformat

    return nbformat.writes(notebook).rstrip("\n") + "\n"


def _check_size(contents: dict[str, str]) -> None:
    sizes = {stage: len(text.encode()) for stage, text in contents.items()}
    if sum(sizes.values()) > MAX_TOTAL_BYTES:
        largest = max(sizes, key=sizes.__getitem__)
        raise PublishError(
            f"the notebooks would take {sum(sizes.values()) / 1e6:.1f} MB, more than "
            f"{MAX_TOTAL_BYTES / 1e6:.0f}; {largest} alone {sizes[largest] / 1e6:.1f}: show less "
            "in it"
        )


def _for_readers(output: NotebookNode) -> NotebookNode:
    """An output without this machine's paths, its picture as small as it can be."""
    if output.output_type == "stream":
        output.text = _relative(output.text)
        return output
    for kind, content in output.get("data", {}).items():
        if kind.startswith("text/"):
            output.data[kind] = _relative(content)
    if "image/png" in output.get("data", {}):
        output.data["image/png"] = smaller_png(output.data["image/png"])
    return output


def _relative_if_text(value: Any) -> Any:
    return _relative(value) if isinstance(value, str) else value


def _relative(text: str) -> str:
    """Paths below the project and the home folder of runs as the README writes them."""
    for root in {str(paths.project_root()), str(paths.home())}:
        text = text.replace(f"{root}/", "")
    return text.replace(f"{Path.home()}/", "~/") if Path.home() != Path("/") else text


def smaller_png(content: str) -> str:
    """A PNG (base64) in fewer bytes: compressed better, a large one with 256 colours."""
    from PIL import Image

    raw = base64.b64decode(content)
    with Image.open(io.BytesIO(raw)) as image:
        bands: Any = image.convert("RGBA").getextrema()
        if bands[3][0] < 255:
            return content  # transparent: 256 colours would leave ragged edges
        opaque = image.convert("RGB")
    candidates = [raw, _png_bytes(opaque)]
    if len(raw) > PALETTE_FROM_BYTES:
        candidates.append(_png_bytes(_in_256_colours(opaque)))
    return base64.b64encode(min(candidates, key=len)).decode()


def _in_256_colours(image: Any) -> Any:
    """An RGB image with a palette of `GRAYS` grays and else colours, or one of grays as it is.

    Grays have a share of their own because a palette chosen from all pixels tints photos of parts.
    """
    from PIL import Image
    from scipy.spatial import KDTree

    pixels = np.asarray(image)
    is_gray = (pixels == pixels[..., :1]).all(axis=-1)
    if is_gray.all():
        return image.convert("L")
    grays = np.linspace(0, 255, GRAYS).astype(np.uint8)[:, np.newaxis].repeat(3, axis=1)
    coloured = Image.fromarray(pixels[~is_gray][np.newaxis])
    chosen: Any = coloured.quantize(256 - GRAYS, Image.Quantize.MAXCOVERAGE, kmeans=1)
    colours = np.reshape(chosen.getpalette(), (-1, 3))[: 256 - GRAYS]
    palette = np.concatenate([grays, colours]).astype(np.uint8)
    indices = np.empty(is_gray.shape, np.uint8)
    indices[is_gray] = np.rint(pixels[is_gray, 0] * ((GRAYS - 1) / 255))
    indices[~is_gray] = KDTree(palette).query(pixels[~is_gray])[1]  # pale ones may become gray
    small = Image.fromarray(indices)
    small.putpalette(palette.ravel().tolist())
    return small


def _png_bytes(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
