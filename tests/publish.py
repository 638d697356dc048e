"""Put the outputs of a finished run into `notebooks/`: `python -m tests.publish RUN`.

`python -m tests.publish 00_start` executes the notebook that belongs to no run, and does the same.

A published notebook is the source with the cleaned outputs of the run's executed copy, and a stamp
in its metadata that names the code, the run and the machine. The tables whose numbers README states
are written to `notebooks/results/`, with the versions of the run's packages, README's figures to
`notebooks/images/`.
"""

import base64
import copy
import io
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

from helpers.core import files, paths
from helpers.runs.record import load_run
from helpers.runs.settings import FIRST, STAGES

# at least two names deep, so that "and/or" and "</td>" do not match; Windows's paths too
ABSOLUTE_PATH = re.compile(r"(?<![\w./<~])/[\w.+@~-]+/[\w.+@~/-]+|file://\S+|\b[A-Z]:\\+\w\S*")
TABLES = ("05_retraining", "06_claims", "06_comparison", "06_label_mappings", "06_results")
TABLES += ("06_order_and_rate", "06_three_columns", "06_true_masks", "07_operating_points")
TABLES += ("08_groups",)
PICTURE = re.compile(r"base64,[\w+/=]+")  # its letters mean nothing
FIGURES = ("06_order_and_rate", "08_journey")  # README's
START = "00_start"
WIDGET = "application/vnd.jupyter.widget-view+json"  # a progress bar, dead without a kernel


def publish(name):
    """Write notebooks, tables and README's figures; nothing if anything is wrong."""
    run_paths, root = paths.RunPaths(name), paths.notebooks_root()
    record = load_run(run_paths)
    missing = {*STAGES} - {n for n, s in record.get("stages", {}).items() if s["status"] == "done"}
    if missing or record["preset"] == "smoke":
        text = f"run {name} is a smoke run, or lacks {', '.join(sorted(missing))}"
        raise files.ArtifactError(text)
    contents, place = {}, root / "results" / name
    for stage in STAGES:
        contents[root / f"{stage}.ipynb"] = file_of(stage, with_outputs(stage, run_paths, record))
    for table in filter(Path.is_file, map(run_paths.table, TABLES)):
        contents[place / table.name] = table.read_bytes()
    versions = {n: v.partition("+")[0] for n, v in record["stages"][FIRST]["versions"].items()}
    pinned = [f"# Python {versions.pop('python')}", *(f"{n}=={v}" for n, v in versions.items())]
    contents[place / "constraints.txt"] = "\n".join([*pinned, ""]).encode()  # for `pip install -c`
    for name in filter(lambda name: run_paths.figure(name).is_file(), FIGURES):
        figure = base64.b64encode(run_paths.figure(name).read_bytes()).decode()
        contents[root / "images" / f"{name}.png"] = base64.b64decode(smaller(figure)["image/png"])
    for path, content in contents.items():
        files.write_bytes(path, content)
    return list(contents)


def publish_start():
    """Execute the notebook that needs no run, and write it with its outputs."""
    path = paths.notebooks_root() / f"{START}.ipynb"
    source = nbformat.read(path, as_version=4)
    executed = copy.deepcopy(source)
    NotebookClient(executed, resources={"metadata": {"path": path.parent}}).execute()
    take_outputs(START, source, executed)
    source.metadata["published"] = {"code": cells_digest(source)}
    files.write_bytes(path, file_of(START, source))
    return [path]


def file_of(stage, notebook):
    """Return the file of a notebook that is fit to be published."""
    if wrong := faults(notebook):
        raise files.ArtifactError(f"{stage} is not fit to be published: {'; '.join(wrong[:3])}")
    return nbformat.writes(notebook).rstrip("\n").encode() + b"\n"


def take_outputs(stage, source, executed):
    """Put the cleaned outputs of the executed copy into the source."""
    copies = {cell.id: cell for cell in executed.cells}
    for number, cell in enumerate(code_cells(source), start=1):
        if cell.id not in copies or copies[cell.id].source != cell.source:
            raise files.ArtifactError(f"{stage}, cell {cell.id}: the executed copy has other code")
        cell.execution_count = number
        cell.outputs = [cleaned(o, number) for o in copies[cell.id].outputs if not is_noise(o)]


def with_outputs(stage, run_paths, record):
    """Return the source notebook with the outputs of its executed copy, and the stamp."""
    source = nbformat.read(paths.notebooks_root() / f"{stage}.ipynb", as_version=4)
    executed = nbformat.read(run_paths.notebook(stage), as_version=4)
    take_outputs(stage, source, executed)
    given = executed.metadata.papermill.parameters
    source.metadata["published"] = {
        "code": cells_digest(source),
        "run": run_paths.name,
        "preset": record["preset"],
        "parameters": {n: relative(v) if isinstance(v, str) else v for n, v in given.items()},
        "commit": record["stages"][stage]["commit"],
        "machine": "{device}, {precision}".format_map(record["stages"][stage]),
    }
    return source


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def cells_digest(notebook):
    return files.fingerprint([cell.source for cell in code_cells(notebook)])


def is_noise(output):
    return output.get("name") == "stderr" or WIDGET in output.get("data", {})


def cleaned(output, number):
    """Return an output of cell `number`: relative paths, no addresses, a small picture."""
    if output.output_type == "execute_result":
        output.execution_count = number
    content = output.get("data", output)
    for kind, text in texts_of(output).items():
        content[kind] = re.sub(r" at 0x[0-9a-fA-F]+", "", relative(text))
    if picture := content.pop("image/png", None):
        content |= smaller(picture, ("png", "jpeg"))
    return output


def texts_of(output):
    """Return what a reader can read in an output: the printed text, or its texts by kind."""
    content = output.get("data", output)  # a printed text is in the output itself
    return {k: text for k, text in content.items() if k == "text" or k.startswith("text/")}


def relative(text):
    """Return a text with paths below the project and the home folder as the README writes them."""
    for root in {str(paths.project_root()), str(paths.home())}:
        text = text.replace(f"{root}/", "")
    return text.replace(f"{Path.home()}/", "~/") if Path.home() != Path("/") else text


def faults(notebook):
    """Return what is wrong with the outputs of a notebook; nothing if it has no outputs."""
    if not any(cell.outputs for cell in code_cells(notebook)):
        return []
    stamp, wrong = dict(notebook.metadata.get("published", {})), []
    if stamp.get("code") != cells_digest(notebook):
        wrong.append("its outputs are not those of its present code: publish a run again")
    texts = [("the stamp", repr(stamp))]
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if is_noise(output) or output.output_type == "error":
                wrong.append(f"cell {cell.id} shows a warning, an error or a progress bar")
            texts += [(f"cell {cell.id}", text) for text in texts_of(output).values()]
    for where, text in texts:
        for path in ABSOLUTE_PATH.findall(PICTURE.sub("", text)):
            wrong.append(f"{where} holds a path of one machine: {path}")
    return wrong


def smaller(content, kinds=("png",)):
    """Return a PNG (base64) in 256 colours, or as JPEG (photographs), whichever is smaller."""
    picture, found = Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"), {}
    few = picture.quantize(method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    for kind in kinds:
        buffer = io.BytesIO()
        options = {"optimize": True} if kind == "png" else {"quality": 80}
        (few if kind == "png" else picture).save(buffer, kind, **options)
        found[f"image/{kind}"] = base64.b64encode(buffer.getvalue()).decode()
    best = min(found, key=lambda kind: len(found[kind]))
    return {best: found[best]}


if __name__ == "__main__":
    print(*(publish_start() if sys.argv[1:] == [START] else publish(sys.argv[1])), sep="\n")
