"""Publishing a run: sources with outputs and a stamp, nothing of one machine in them."""

import base64
import io
import shutil

import nbformat
import numpy as np
import pytest
from nbformat import v4
from PIL import Image

from helpers.commands import cli, kernel, publish
from helpers.core import files, paths
from helpers.results import out_of_fold
from helpers.runs import settings as config
from helpers.runs import stages
from helpers.runs.memo import read_all_predictions
from tests import planted

RUN = "elpv-quick"
STAGE = "03_finetuning"
NOTEBOOKS = sorted(paths.notebooks_root().glob("*.ipynb"))


def png():
    """Return a small picture as a notebook holds it."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def bar(text="CNN 1/1:   0%|          | 0/140"):
    """Return what tqdm leaves behind in a headless run."""
    data = {publish.WIDGET: {"model_id": "1"}, "text/plain": text}
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
    notebook = publish.read(paths.notebooks_root() / f"{stage}.ipynb")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=2):
        cell.execution_count, cell.outputs = number, []
        cell.metadata |= {"papermill": {"duration": 1.0, "status": "completed"}}
    code[2].outputs = [nbformat.from_dict(output) for output in outputs]
    injected = v4.new_code_cell("RUN = 'x'", metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(2, injected)
    notebook.metadata["papermill"] = {"parameters": parameters or {"RUN": RUN}}
    target = paths.RunPaths(RUN).notebook(stage)
    files.write_bytes(target, nbformat.writes(notebook).encode())


def write_record():
    """Write run.json of a run whose stages are done."""
    run_paths = paths.RunPaths(RUN)
    record = {"run": RUN, "preset": "quick", "dataset": "elpv", "stages": {}, "steps": {}}
    for stage in config.STAGES:
        settings = config.resolve(stage, "quick", {})
        record["stages"][stage] = {
            "status": "done",
            "key": stages.stage_key(stage, settings, record),
            "settings": vars(settings),
            "device": "CPU, 2 threads",
            "precision": "bf16",
            "commit": "abc1234",
            "outputs": {},
            "notebook": kernel.code_digest(paths.notebooks_root() / f"{stage}.ipynb"),
        }
    files.save_json(run_paths.run_json, record)


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
            notebook = publish.read(path)
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs = []
            nbformat.write(notebook, path)
        planted.make_run(name=RUN)
        write_record()
        figure = paths.RunPaths(RUN).figure(publish.FIGURE)
        files.write_bytes(figure, base64.b64decode(png()))
        for stage in config.STAGES:
            execute(stage, [bar(), said(f"{stage} speaks\n"), shown(png=png(), plain="<Figure>")])
    return place


@pytest.fixture
def finished_run(executed_run, home, monkeypatch):
    """Return the paths of a finished run, with a copy of `notebooks/` to write to."""
    shutil.copytree(executed_run, home, dirs_exist_ok=True)
    monkeypatch.setattr(paths, "notebooks_root", lambda: home / "project" / "notebooks")
    return paths.RunPaths(RUN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_of_the_repository_has_no_outputs_or_those_of_its_present_code(path):
    notebook = publish.read(path)
    assert publish.faults(notebook) == []
    assert set(notebook.metadata) <= {"kernelspec", "language_info", "published"}
    for cell in notebook.cells:
        assert cell.metadata in (
            {},
            *({"tags": [tag]} for tag in ("parameters", kernel.BOTH_CLASSES)),
        )


def test_all_notebooks_together_are_small():
    # each publication stays in git's history
    assert sum(path.stat().st_size for path in NOTEBOOKS) < 6_000_000


def test_readme_s_picture_is_a_figure_that_a_notebook_saves():
    code = "".join(cell.source for path in NOTEBOOKS for cell in publish.read(path).cells)
    assert f'"{publish.FIGURE}"' in code


def test_bars_warnings_and_addresses_are_removed_and_the_text_around_them_is_joined():
    printed = [said("one\n"), bar(), said("a warning\n", "stderr"), said(" 10%\r100%\ntwo\n")]
    table = shown(html="<table></table>", plain="<pandas.Styler at 0x7f107ff44290>")
    text, table = publish.tidied([*printed, table], 3)
    assert (text.name, text.text) == ("stdout", "one\n100%\ntwo\n")
    assert table.data == {"text/html": "<table></table>", "text/plain": "<pandas.Styler>"}
    assert table.execution_count == 3


def _published(stage=STAGE):
    return nbformat.read(paths.notebooks_root() / f"{stage}.ipynb", as_version=4)


def _files():
    return {p: p.read_bytes() for p in paths.notebooks_root().rglob("*") if p.is_file()}


def _outputs(notebook):
    return [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]


def test_publishing_puts_outputs_and_a_stamp_into_the_sources_and_nothing_else(finished_run):
    execute(STAGE, [bar(), said("hello\n"), shown(html="<b>t</b>")], {"RUN": RUN, "FBP_EPOCHS": 2})
    before = _published()
    written = publish.publish(finished_run)
    assert [path.stem for path in written] == [*config.STAGES, publish.FIGURE]
    after = _published()
    printed, table = _outputs(after)
    assert printed.text == "hello\n" and dict(table.data) == {"text/html": "<b>t</b>"}
    assert dict(after.metadata.published) == {
        "code": publish.cells_digest(before),
        "run": RUN,
        "preset": "quick",
        "parameters": {"RUN": RUN, "FBP_EPOCHS": 2},
        "commit": "abc1234",
        "machine": "CPU, 2 threads, bf16",
    }
    code = [[(c.id, c.source, c.metadata) for c in n.cells] for n in (before, after)]
    assert code[0] == code[1]
    assert set(after.metadata) == {"kernelspec", "language_info", "published"}
    nbformat.validate(after)


def test_a_published_run_stays_up_to_date_and_can_be_published_again(finished_run, capsys):
    publish.publish(finished_run)
    first = _files()
    assert cli.start("run", ["--preset", "quick", "--publish"]) == 0
    assert capsys.readouterr().out.count("up to date") == len(config.STAGES)
    assert _files() == first


def test_paths_below_the_project_and_home_become_relative_and_other_slashes_stay(
    finished_run, monkeypatch
):
    monkeypatch.setattr(paths, "project_root", lambda: paths.Path("/srv/project"))
    user = paths.Path.home()
    stay = "good/bad, 1/2, 3 / 4, data/runs/x/y.csv, ../data/x/y, https://doi.org/10.1/x, ~/.a/b\n"
    texts = f"{finished_run.root}/split.csv {user}/.cache/x /srv/project/helpers/a.py\n{stay}"
    execute(STAGE, [said(texts), shown(html=f"<td>{finished_run.root}/a.csv</td>", plain="</a/b>")])
    publish.publish(finished_run)
    printed, table = _outputs(_published())
    assert printed.text == f"data/runs/{RUN}/split.csv ~/.cache/x helpers/a.py\n{stay}"
    assert table.data["text/html"] == f"<td>data/runs/{RUN}/a.csv</td>"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("read /srv/parts/a.png", "/srv/parts/a.png"),
        ("dataset='folder:/srv/parts'", "/srv/parts"),
        ("file:///srv/x", "file:///srv/x"),
        ("C:\\Users\\me", "C:\\Users\\me"),
    ],
)
def test_a_path_of_one_machine_stops_the_publication_of_all(finished_run, capsys, text, path):
    before = _files()
    cell = [cell.id for cell in _published().cells if cell.cell_type == "code"][2]
    execute(STAGE, [said(text)])
    assert cli.start("run", ["--preset", "quick", "--publish"]) == 1
    error = capsys.readouterr().err
    assert STAGE in error and f"cell {cell}" in error and path in error
    execute(STAGE, [said("x")], {"RUN": RUN, "WEIGHTS": path})
    with pytest.raises(files.ArtifactError, match="the stamp"):
        publish.publish(finished_run)
    assert _files() == before


def test_outputs_of_other_code_are_refused(finished_run):
    copy = finished_run.notebook(STAGE)
    notebook = publish.read(copy)
    [cell for cell in notebook.cells if cell.cell_type == "code"][-1].source += "\nx = 1"
    nbformat.write(notebook, copy)
    with pytest.raises(files.ArtifactError, match="03_finetuning"):
        publish.publish(finished_run)
    copy.write_text("{")
    with pytest.raises(files.ArtifactError, match="03_finetuning"):
        publish.publish(finished_run)


def test_the_tables_behind_readme_s_numbers_lie_beside_the_notebooks(finished_run):
    table = finished_run.table("06_results")
    table.parent.mkdir(exist_ok=True)
    table.write_text("model,test_auc\nfbp,0.9\n")
    copy = paths.notebooks_root() / "results" / finished_run.name / "06_results.csv"
    assert copy in publish.publish(finished_run)
    assert copy.read_bytes() == table.read_bytes()


def test_the_scores_out_of_fold_are_published_and_those_of_earlier_models_removed(finished_run):
    planted.make_run_without_test(RUN, by_groups=False)
    planted.plant(finished_run, "fbp", 2.0, 0, 1)
    write_record()
    place = paths.notebooks_root() / "results" / RUN
    files.write_bytes(place / "random" / "gone.csv", b"id,seed0\n")
    assert place / "folds.csv" in publish.publish(finished_run)
    assert [path.name for path in place.glob("*/*.csv")] == ["fbp.csv"]
    found = out_of_fold.read_folder(place)
    assert out_of_fold.three_columns(found).unseen_auc.isna().all()  # of another run
    scores = found.scores["random"]["fbp"]
    expected = read_all_predictions(finished_run)["fbp"].val.defect_score
    np.testing.assert_allclose(scores.mean(axis=1), expected, rtol=1e-4)


def test_stale_outputs_warnings_and_bars_in_a_notebook_are_faults(finished_run):
    publish.publish(finished_run)
    notebook = _published()
    assert publish.faults(notebook) == []
    for output in (said("oh\n", "stderr"), bar()):
        notebook.cells[1].outputs = [output]
        (wrong,) = publish.faults(notebook)
        assert "cell 03-01" in wrong
    notebook.cells[1].outputs = []
    notebook.cells[1].source += "\nx = 1"
    (stale,) = publish.faults(notebook)
    assert "present code" in stale
    del notebook.metadata["published"]
    assert publish.faults(notebook) == [stale]


def test_a_picture_takes_fewer_bytes_and_stays_close_to_the_original():
    # a photo of all grays, and below it the same under colours of every strength
    gray = np.random.default_rng(1).integers(0, 256, (200, 300, 1)).repeat(3, axis=-1)
    hue = np.linspace(0, 1, 300)[:, np.newaxis] * (255, 230, 30)
    share = np.linspace(0.1, 0.6, 200)[:, np.newaxis, np.newaxis]
    pixels = np.concatenate([gray, (1 - share) * gray + share * hue]).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    small = base64.b64decode(publish.smaller_png(base64.b64encode(buffer.getvalue()).decode()))
    assert len(small) < 0.6 * len(buffer.getvalue())
    with Image.open(io.BytesIO(small)) as image:
        kept = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(kept - pixels).max() <= 20
    assert np.ptp(kept[:200], axis=-1).max() <= 8  # grays
