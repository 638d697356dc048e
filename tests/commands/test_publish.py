"""Publishing a run: sources with outputs and a stamp, nothing of one machine in them."""

import base64
import io

import nbformat
import numpy as np
import pytest
from PIL import Image

from helpers.commands import executed, publish, run
from helpers.core import paths
from helpers.runs import settings, stages
from tests.executed_fixtures import *  # noqa: F403 - the fixture, which pytest finds by name
from tests.executed_fixtures import RUN, bar, execute, png, said, shown, write_record

STAGE = "03_finetuning"


def _published(stage=STAGE):
    return nbformat.read(paths.notebooks_root() / f"{stage}.ipynb", as_version=4)


def _files():
    """The bytes of every notebook and picture of the project."""
    return {p: p.read_bytes() for p in paths.notebooks_root().rglob("*") if p.is_file()}


def _outputs(notebook):
    return [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]


def test_publishing_puts_outputs_into_the_sources_and_nothing_else(finished_run):
    before = _published()
    written = publish.publish(finished_run)
    assert [path.stem for path in written] == list(settings.STAGES)
    after = _published()
    said_, figure = _outputs(after)
    assert said_.text == "03_finetuning speaks\n"
    assert set(figure.data) == {"image/png", "text/plain"}
    for notebook in (before, after):
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
    assert after.cells == before.cells
    assert set(after.metadata) == {"kernelspec", "language_info", "published"}
    nbformat.validate(after)


def test_the_stamp_says_where_the_outputs_come_from(finished_run):
    execute(STAGE, [], {"RUN": RUN, "FBP_EPOCHS": 2})
    publish.publish(finished_run)
    stamp = dict(_published().metadata.published)
    code = executed.code_digest(paths.notebooks_root() / f"{STAGE}.ipynb")
    assert stamp == {
        "code": code,
        "run": RUN,
        "preset": "quick",
        "parameters": {"RUN": RUN, "FBP_EPOCHS": 2},
        "commit": "abc1234",
        "machine": "CPU, 2 threads, bf16",
    }
    assert stages.load_run(finished_run)["published"][STAGE] == stamp


def test_a_published_run_stays_up_to_date_and_can_be_published_again(finished_run, capsys):
    publish.publish(finished_run)
    first = _files()
    assert run.main(["--preset", "quick", "--publish"]) == 0
    assert capsys.readouterr().out.count("up to date") == len(settings.STAGES)
    assert _files() == first


def test_paths_below_the_project_and_home_become_relative(finished_run, monkeypatch):
    monkeypatch.setattr(paths, "project_root", lambda: paths.Path("/srv/project"))
    user = paths.Path.home()
    texts = f"{finished_run.root}/split.csv {user}/.cache/x /srv/project/helpers/a.py\n"
    execute(STAGE, [said(texts), shown(html=f"<td>{finished_run.root}/a.csv</td>", plain="")])
    publish.publish(finished_run)
    printed, table = _outputs(_published())
    assert printed.text == f"data/runs/{RUN}/split.csv ~/.cache/x helpers/a.py\n"
    assert table.data["text/html"] == f"<td>data/runs/{RUN}/a.csv</td>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("read /srv/parts/a.png", "holds a path of one machine: /srv/parts/a.png"),
        ("dataset='folder:/srv/parts'", "holds a path of one machine: /srv/parts"),
        ("file:///srv/x", "holds a path of one machine: file:///srv/x"),
        ("C:\\Users\\me", "holds a path of one machine: C:\\Users\\me"),
        ("UserWarning: the figure layout", "speaks of the machinery: 'UserWarning'"),
        ("until the session ends", "speaks of the machinery: 'session'"),
    ],
)
def test_an_output_of_one_machine_stops_the_publication_of_all(finished_run, text, message):
    before = _files()
    cell = [cell.id for cell in _published().cells if cell.cell_type == "code"][2]
    execute(STAGE, [said(text)])
    with pytest.raises(publish.PublishError) as error:
        publish.publish(finished_run)
    start = f"03_finetuning is not fit to be published: cell {cell} "
    assert str(error.value).startswith(start)
    assert message in str(error.value)
    assert _files() == before


def test_slashes_that_are_no_paths_are_published(finished_run):
    text = "good/bad, 1/2, 3 / 4, data/runs/x/y.csv, ../data/x/y, https://doi.org/10.1/x, ~/.a/b\n"
    execute(STAGE, [said(text), shown(html="<b>a</b><br/>/ b /", plain="</a/b>")])
    publish.publish(finished_run)
    assert _outputs(_published())[0].text == text


def test_a_parameter_that_names_a_path_stops_the_publication(finished_run):
    execute(STAGE, [said("x")], {"RUN": RUN, "WEIGHTS": "/srv/weights/resnet18.pth"})
    with pytest.raises(publish.PublishError, match="the stamp holds a path of one machine"):
        publish.publish(finished_run)


def test_a_smoke_run_is_refused(finished_run):
    write_record("smoke")
    with pytest.raises(publish.PublishError, match=r"of the preset smoke, whose numbers mean noth"):
        publish.publish(finished_run)


def test_an_incomplete_run_is_refused_with_the_stages_that_it_lacks(finished_run):
    write_record(without=("05_genotype_retraining", "06_analysis"))
    with pytest.raises(publish.PublishError) as error:
        publish.publish(finished_run)
    assert str(error.value) == (
        "run 'elpv-quick' is not complete: 05_genotype_retraining, 06_analysis not done, or done "
        "with other inputs or code; run it without --only and --from"
    )


def test_a_notebook_whose_code_has_changed_since_is_refused(finished_run):
    path = paths.notebooks_root() / f"{STAGE}.ipynb"
    path.write_text(path.read_text().replace("stage.finish()", "stage.finish( )"))
    with pytest.raises(publish.PublishError, match="not complete: 03_finetuning not done, or done"):
        publish.publish(finished_run)


def test_an_executed_copy_of_other_code_is_refused(finished_run):
    path = finished_run.notebook(STAGE)
    path.write_text(path.read_text().replace("stage.finish()", "stage.finish( )"))
    cell = _published().cells[-1].id
    with pytest.raises(publish.PublishError, match=f"cell {cell}: the executed copy has another"):
        publish.publish(finished_run)


def test_outputs_above_the_limit_are_refused_with_the_largest(finished_run, monkeypatch):
    monkeypatch.setattr(publish, "MAX_TOTAL_BYTES", 100_000)
    execute(STAGE, [shown(png=png(200, 200), plain="")])
    with pytest.raises(publish.PublishError, match=r"03_finetuning alone 0\.1: show less in it"):
        publish.publish(finished_run)


def test_the_command_line_says_why_nothing_is_published(finished_run, capsys):
    execute(STAGE, [said("/srv/parts/a.png")])
    assert run.main(["--preset", "quick", "--publish"]) == 1
    assert "error: 03_finetuning is not fit to be published" in capsys.readouterr().err


def test_a_large_picture_is_kept_in_256_colours_close_to_the_original():
    x = np.tile(np.linspace(0, 255, 500), (400, 1))
    noise = np.random.default_rng(0).integers(0, 60, (400, 500))
    pixels = np.stack([noise + 100] * 3, axis=-1)
    pixels[390:] = np.stack([x, 0 * x, 255 - x], axis=-1)[390:]  # a colour bar: few pixels
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    assert len(buffer.getvalue()) > publish.PALETTE_FROM_BYTES
    small = base64.b64decode(publish.smaller_png(base64.b64encode(buffer.getvalue()).decode()))
    assert Image.open(io.BytesIO(small)).mode == "P"
    assert len(small) < len(buffer.getvalue())
    error = np.abs(np.asarray(Image.open(io.BytesIO(small)).convert("RGB")).astype(int) - pixels)
    assert error.max() < 20


def _gray_photo_under_a_colour_map():
    """A photo of all grays and, below it, the same blended with colours of every strength."""
    gray = np.random.default_rng(1).integers(0, 256, (200, 300, 1)).repeat(3, axis=-1)
    hue = np.linspace(0, 1, 300)[:, np.newaxis] * (255, 230, 30)
    share = np.linspace(0.1, 0.6, 200)[:, np.newaxis, np.newaxis]
    return np.concatenate([gray, (1 - share) * gray + share * hue]).round().astype(np.uint8)


def test_a_photo_in_a_reduced_picture_stays_gray_beside_colours():
    pixels = _gray_photo_under_a_colour_map()
    content = _as_png(pixels)
    assert len(content) > publish.PALETTE_FROM_BYTES
    small = publish.smaller_png(content)
    assert len(small) < len(content)
    kept = _pixels(small)
    photo, coloured = kept[:200], np.abs(kept[200:] - pixels[200:].astype(int))
    assert (photo == photo[..., :1]).all()
    assert np.abs(photo - pixels[:200].astype(int)).max() <= 1
    assert coloured.max() < 20


def test_a_picture_of_grays_alone_loses_nothing():
    pixels = _gray_photo_under_a_colour_map()[:200]
    np.testing.assert_array_equal(_pixels(publish.smaller_png(_as_png(pixels))), pixels)


def _as_png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _pixels(content):
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    return np.asarray(image.convert("RGB")).astype(int)


def test_a_small_picture_loses_nothing():
    content = png(64, 64, step=8)
    small = publish.smaller_png(content)
    assert len(small) <= len(content)
    images = [Image.open(io.BytesIO(base64.b64decode(text))) for text in (content, small)]
    assert np.array_equal(*(np.asarray(image.convert("RGB")) for image in images))


def test_outputs_of_other_code_stderr_and_a_missing_stamp_are_faults(finished_run):
    publish.publish(finished_run)
    notebook = _published()
    assert publish.faults(notebook, notebook.metadata.published.code) == []
    stale = "its outputs are not those of its present code: publish a run again"
    assert publish.faults(notebook, "other") == [stale]
    code = notebook.metadata.published.code
    del notebook.metadata["published"]
    assert publish.faults(notebook, code) == [stale]
    notebook = _published()
    notebook.cells[1].outputs = [said("oh\n", "stderr")]
    assert publish.faults(notebook, code) == ["cell 03-01 shows stderr: 'oh\\n'"]
    notebook.cells[1].outputs = [bar()]
    assert publish.faults(notebook, code) == ["cell 03-01 shows a progress bar"]
