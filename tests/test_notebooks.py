"""Every notebook runs headlessly on real images, in order, once, and says what is wrong."""

import ast
import json
import shutil
from types import SimpleNamespace

import nbformat
import pandas as pd
import papermill
import pytest

import helpers
from helpers.commands import cli, kernel, plan, run
from helpers.core import paths
from helpers.datasets.cache import open_cache
from helpers.datasets.split_file import read_split
from helpers.models.record import ENSEMBLES
from helpers.results import predictions
from helpers.runs import settings, stages
from tests import faults
from tests.conftest import split_of
from tests.forked_kernels import forked_kernels

NOTEBOOKS = sorted(paths.notebooks_root().glob("*.ipynb"))
# with ten validation images other models are perfect by chance, too
SMOKE = ["--preset", "smoke", "--name", "t", "-p", "VAL_PER_CLASS=15"]
# a forest is fitted for each grid point and fold
SMOKE += ["-p", "TREES=10", "-p", "MAP_IMAGES=4"]

CHECKS = {"02": ("check", "check_embeddings", "check_patches")}  # others: one
MORE = {"check_embeddings": 0.03}  # bf16 rounds to 8 bits


@pytest.fixture(scope="module", autouse=True)
def _quick_kernels():
    with forked_kernels():
        yield


@pytest.fixture(scope="module")
def begun_run(tmp_path_factory):
    """The first three notebooks with the smoke preset, one after the other."""
    patch = pytest.MonkeyPatch()
    home = tmp_path_factory.mktemp("home")
    patch.setenv(paths.HOME_VARIABLE, str(home))
    for number in ("01", "02", "03"):
        assert run.main([*SMOKE, "--only", number]) == 0
    yield home
    patch.undo()


@pytest.fixture(scope="module")
def smoke_run(begun_run):
    """The whole series, continued by the command that the README names; not to be changed."""
    assert run.main(SMOKE) == 0
    return begun_run


@pytest.fixture
def smoke_copy(smoke_run, tmp_path, monkeypatch):
    """A copy of the whole series, to be changed."""
    home = shutil.copytree(smoke_run, tmp_path / "copy")
    monkeypatch.setenv(paths.HOME_VARIABLE, str(home))
    return home


def _current(arguments):
    """Return the notebooks that a call of `helpers.run` would find up to date."""
    resolved = plan.make_plan(arguments).settings
    return [
        path.stem[:2]
        for path in NOTEBOOKS
        if stages.is_current(
            path.stem, resolved[path.stem], paths.RunPaths("t"), kernel.code_digest(path)
        )
    ]


def _code(path):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def test_there_is_one_notebook_for_every_stage():
    assert [path.stem for path in NOTEBOOKS] == list(settings.STAGES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_parameters_are_literals_and_the_stage_knows_all_of_them(path):
    (cell,) = [c for c in _code(path) if "parameters" in c.metadata.get("tags", [])]
    names = set()
    for statement in ast.parse(cell.source).body:
        ast.literal_eval(statement.value)
        names.add(statement.targets[0].id)
    assert names <= stages.parameter_names(path.stem)  # the table of settings has all of them


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_an_idea_is_built_in_few_cells_of_at_most_40_lines_and_the_others_are_short(path):
    lengths = sorted(len(cell.source.splitlines()) for cell in _code(path))
    assert lengths[-1] <= 40
    assert len([length for length in lengths if length > 21]) <= 4


def test_the_first_three_notebooks_leave_a_submission(begun_run):
    split = pd.read_csv(begun_run / "data/runs/t/split.csv", dtype={"id": str})
    submission = pd.read_csv(begun_run / "submissions/t.csv", dtype={"id": str})
    assert submission.id.tolist() == split.id[split.split == "test"].tolist()


def test_the_smoke_run_leaves_table_submission_and_executed_copies(smoke_run):
    root = smoke_run / "data" / "runs" / "t"
    table = pd.read_csv(root / "metrics" / "results.csv").set_index("model")
    classical = {"lda", "rf", "lr", "svm"}
    expected = classical | {f"{name}_on_fbp" for name in classical}
    expected |= {"lr_on_brightness", "module_prior", "patchcore", "ll", "cnn", "fbp"}
    assert set(table.index) == expected | {"majority"}
    expected |= {"darts_v2", "darts_searched", "random_cell_0"}
    whole = pd.read_csv(root / "metrics" / "06_results.csv").set_index("model")
    assert set(whole.index) - set(ENSEMBLES) == expected | {"majority"}
    split = pd.read_csv(root / "split.csv", dtype={"id": str})
    submission = pd.read_csv(smoke_run / "submissions" / "t.csv", dtype={"id": str})
    assert submission.id.tolist() == split.id[split.split == "test"].tolist()
    for path in NOTEBOOKS:
        cells = _code(root / "notebooks" / path.name)
        assert not [o for c in cells for o in c.outputs if o.output_type == "error"]
        assert "no inspection" not in str([c.outputs for c in cells])  # five bad parts: no price
        shows_a_table = path.stem in ("03_finetuning", "06_analysis")
        assert ("THE NUMBERS MEAN NOTHING" in str(cells)) >= shows_a_table
    record = json.loads((root / "run.json").read_text())
    for stage in record["stages"].values():
        assert stage["status"] == "done" and stage["seconds"] > 0


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_what_a_notebook_builds_agrees_with_the_package(smoke_run, path):
    # the notebook itself stops above its tolerance
    record = json.loads((smoke_run / "data/runs/t/run.json").read_text())
    stage = record["stages"][path.stem]
    for name in CHECKS.get(path.stem[:2], ("check",)):
        assert stage[name]["what"] and 0 <= stage[name]["largest_difference"] < MORE.get(name, 0.01)


@pytest.mark.parametrize(("n_good", "n_bad"), [(36, 24), (33, 17), (60, 7), (1, 60)])
def test_the_loop_that_03_builds_agrees_for_few_training_images(n_good, n_bad, parts_folder):
    split = split_of(parts_folder).assign(split="train")
    split = pd.concat([split[split.label == 0][:n_good], split[split.label == 1][:n_bad]])
    images = open_cache(split, 16, parts_folder / "cache")
    notes = {}
    fake = SimpleNamespace(images=lambda _size: images, note=notes.update)
    names = {"run": fake, "split": split, "settings": SimpleNamespace(cnn_image_size_px=16)}
    sources = [cell.source for cell in _code(NOTEBOOKS[2])]
    imports = next(source for source in sources if "import torch\n" in source)
    exec(imports.partition("\n\nsettings, ")[0], names)
    first = next(i for i, source in enumerate(sources) if source.startswith("class ByHand"))
    for source in sources[first : first + 3]:
        exec(source, names)
    assert notes["check"]["largest_difference"] < 1e-4
    assert names["few"].label.nunique() == 2


def test_every_network_answers_for_new_images_as_it_did_in_the_run(smoke_run):
    run_paths = paths.RunPaths("t")
    split = read_split(run_paths.split_csv)
    where = split.set_index("id").path
    networks = [path.parent.name for path in run_paths.root.glob("checkpoints/*/model.json")]
    cells = {"darts_v2", "darts_searched", "random_cell_0"}
    assert set(networks) == {"cnn", "ll", "fbp", "patchcore", *cells}
    for name in networks:
        test = predictions.read_predictions(run_paths.predictions(name), split).test.iloc[:20]
        model = helpers.load_model(f"t/{name}")
        found = model.predict(where[test.id])
        # bf16 rounds to 8 bits, in another order if batches differ
        tolerance = 1e-6 if model.scorers[0].precision == "no" else 2e-2
        assert abs(found.score.to_numpy() - test.defect_score.to_numpy()).max() < tolerance, name
        assert set(found.verdict) <= {"pass", "look again", "reject"}
        assert found.probability.isna().all() == (name == "patchcore")


def test_a_second_call_does_nothing_again(smoke_run, capsys):
    before = (smoke_run / "data/runs/t/run.json").read_bytes()
    assert run.main(SMOKE) == 0
    out = capsys.readouterr().out
    assert out.count("up to date") == len(NOTEBOOKS)
    assert (smoke_run / "data/runs/t/run.json").read_bytes() == before


def test_a_model_of_one_s_own_makes_the_analysis_out_of_date_and_may_become_the_submission(
    smoke_copy, capsys
):
    root = smoke_copy / "data/runs/t"
    split = pd.read_csv(root / "split.csv", dtype={"id": str})
    split["defect_score"] = 0.1 + 0.8 * split.label
    own = split.loc[split.split.isin(["val", "test"]), ["id", "split", "defect_score"]]
    own.to_csv(root / "predictions/mine.csv", index=False)
    with faults.in_this_process():
        assert run.main([*SMOKE, "--from", "06"]) == 0
    out = capsys.readouterr().out
    assert "06_analysis: running" in out and "07_decision: running" in out
    assert _current(SMOKE) == [path.stem[:2] for path in NOTEBOOKS]
    table = pd.read_csv(root / "metrics/06_results.csv").set_index("model")
    assert table.loc["mine", ["val_auc", "test_auc"]].tolist() == [1, 1]
    submission = pd.read_csv(smoke_copy / "submissions/t.csv", dtype={"id": str})
    assert submission.defect_score.tolist() == own.query("split == 'test'").defect_score.tolist()


def test_cells_named_for_papermill_become_rows_and_no_equal_training_is_repeated(
    smoke_copy, tmp_path
):
    named = '["DARTS_V2","PC_DARTS_IMAGENET"]'
    given = {"RUN": "t", "GENOTYPES": named, "HALVING_EPOCHS": 0}  # as `papermill -p` gives them
    out = tmp_path / "out.ipynb"
    papermill.execute_notebook(NOTEBOOKS[4], out, parameters=given, progress_bar=False)
    root = smoke_copy / "data" / "runs" / "t"
    table = pd.read_csv(root / "metrics" / "05_results.csv")
    assert {"darts_v2", "pc_darts_imagenet"} <= set(table.model)
    stage = json.loads((root / "run.json").read_text())["stages"]["05_genotype_retraining"]
    reused = [place for place in stage["reused"] if place.startswith("checkpoints/")]
    assert reused == ["checkpoints/darts_v2/seed0"]
    same = [*SMOKE, "-p", f"GENOTYPES={named}", "-p", "HALVING_EPOCHS=0"]
    # what was executed by hand has no copy to show: it is executed again
    assert _current(same) == ["01", "02", "03", "04"]


def test_a_folder_with_a_broken_file_stops_with_its_name_and_continues_without_it(
    home, parts_folder, capsys
):
    whole = (parts_folder / "good" / "good00.png").read_bytes()
    (parts_folder / "good" / "cut.png").write_bytes(whole[: len(whole) // 2])
    command = ["--dataset", f"folder:{parts_folder}", *SMOKE, "--only", "01"]
    options = ["-p", "MAX_IMAGES=200"]
    assert cli.start("run", [*command, *options]) == 1
    error = capsys.readouterr().err
    assert "01_data_split.ipynb, cell" in error and "cut.png" in error
    assert "-p SKIP_UNREADABLE=True" in error and "To continue once it is fixed" in error
    with faults.in_this_process():
        assert run.main([*command, *options, "-p", "SKIP_UNREADABLE=True"]) == 0
    facts = json.loads((home / "data/runs/t/run.json").read_text())["stages"]["01_data_split"]
    assert facts["unreadable"] == ["cut"]


def test_two_runs_on_one_folder_do_not_mix(home, capsys):
    with run.lock(paths.RunPaths("t")):
        assert cli.start("run", SMOKE) == 1
    assert "another process works on run 't'" in capsys.readouterr().err
