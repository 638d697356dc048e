"""Every notebook runs headlessly on real images, in order, once, and says what is wrong."""

import ast
import json
import shutil
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest

import helpers
from helpers.commands import cli, run
from helpers.core import paths
from helpers.datasets.cache import open_cache
from helpers.datasets.split_file import read_split
from helpers.results import predictions
from helpers.runs import settings
from helpers.runs.record import load_run
from tests import small_run
from tests.conftest import split_of

NOTEBOOKS = sorted(paths.notebooks_root().glob("0[1-9]_*.ipynb"))
# with ten validation images other models are perfect by chance, too; a forest is fitted for each
# grid point and fold
SMOKE = ["--preset", "smoke", "--name", "t", "-p", "VAL_PER_CLASS=15"]
SMOKE += ["-p", "TREES=10"]
CELLS = {"darts_v2", "darts_searched"}  # and the better one of two random cells
RANDOM = ("random_cell_0", "random_cell_1")
NETWORKS = {"cnn", "ll", "fbp", "patchcore"}


def code(path):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


@pytest.fixture(scope="module")
def smoke_run(tmp_path_factory):
    """Return the home of the whole series, which is not to be changed."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(paths.HOME_VARIABLE, str(home))
        assert run.main(SMOKE) == 0
        yield home


@pytest.fixture
def smoke_copy(smoke_run, tmp_path, monkeypatch):
    """Return a copy of the whole series, to be changed."""
    home = shutil.copytree(smoke_run, tmp_path / "copy")
    monkeypatch.setenv(paths.HOME_VARIABLE, str(home))
    return home


def test_every_stage_has_a_notebook_whose_parameters_exist_and_whose_cells_are_short():
    assert [path.stem for path in NOTEBOOKS] == list(settings.STAGES)
    for path in NOTEBOOKS:
        (cell,) = [c for c in code(path) if "parameters" in c.metadata.get("tags", [])]
        given = {s.targets[0].id: ast.literal_eval(s.value) for s in ast.parse(cell.source).body}
        known = {name.upper() for name in vars(settings.STAGES[path.stem]())}
        assert given.keys() <= known | {"RUN", "PRESET"}, path
        for cell in code(path):
            statements = ast.parse(cell.source).body
            imports = [n for n in statements if isinstance(n, ast.Import | ast.ImportFrom)]
            lines = sum(n.end_lineno - n.lineno + 1 for n in imports)
            assert len(cell.source.splitlines()) - lines <= 40, (path, cell.source)


def test_the_smoke_run_leaves_table_submission_checks_and_executed_copies(smoke_run):
    root = smoke_run / "data/runs/t"
    classical = {"lda", "rf", "lr", "svm"}
    expected = classical | {f"{name}_on_fbp" for name in classical} | NETWORKS
    expected |= {"lr_on_brightness", "module_prior", "majority"}
    assert set(pd.read_csv(root / "metrics/results.csv").model) == expected
    whole = set(pd.read_csv(root / "metrics/06_results.csv").model)
    assert whole - {*RANDOM} == expected | CELLS
    tried = pd.read_csv(root / "metrics/05_tried.csv").query("is_random").set_index("title")
    titles = {f"random_cell_{number}": f"Random cell {number}" for number in range(2)}
    assert [titles[name] for name in whole & {*RANDOM}] == [tried.val_auc.idxmax()]
    split = pd.read_csv(root / "split.csv", dtype={"id": str})
    submission = pd.read_csv(smoke_run / "submissions/t.csv", dtype={"id": str})
    assert submission.id.tolist() == split.id[split.split == "test"].tolist()
    for path in NOTEBOOKS:
        cells = code(root / "notebooks" / path.name)
        assert not [o for c in cells for o in c.outputs if o.output_type == "error"]
        stage = load_run(paths.RunPaths("t"))["stages"][path.stem]
        assert stage["status"] == "done" and stage["seconds"] > 0
        # what a notebook builds agrees with the package; the notebook stops above its tolerance
        checks = {name: fact for name, fact in stage.items() if name.startswith("check")}
        assert checks or path.stem.startswith("08")
        assert all(0 <= fact["largest_difference"] < 0.03 for fact in checks.values())


@pytest.mark.parametrize(("n_good", "n_bad"), [(36, 24), (33, 17), (60, 7), (1, 60)])
def test_the_loop_that_03_builds_agrees_for_few_training_images(n_good, n_bad, parts_folder):
    split = split_of(parts_folder).assign(split="train")
    split = pd.concat([split[split.label == 0][:n_good], split[split.label == 1][:n_bad]])
    images = open_cache(split, 16, parts_folder / "cache")
    notes = {}
    fake = SimpleNamespace(images=lambda _size: images, note=lambda **facts: notes.update(facts))
    names = {"run": fake, "split": split, "settings": SimpleNamespace(cnn_image_size_px=16)}
    sources = [cell.source for cell in code(NOTEBOOKS[2])]
    imports = next(source for source in sources if "import torch\n" in source)
    exec(imports.partition("\n\nsettings, ")[0], names)
    first = next(i for i, source in enumerate(sources) if "class ByHand" in source)
    for source in sources[first : first + 4]:
        exec(source, names)
    assert notes["check"]["largest_difference"] < 1e-4
    assert names["few"].label.nunique() == 2


def test_every_network_answers_for_new_images_as_it_did_in_the_run(smoke_run):
    run_paths = paths.RunPaths("t")
    split = read_split(run_paths.split_csv)
    where = split.set_index("id").path
    found = {path.parent.name for path in run_paths.root.glob("checkpoints/*/model.json")}
    assert found - {*RANDOM} == NETWORKS | CELLS and len(found & {*RANDOM}) == 1
    for name in found:
        test = predictions.read_predictions(run_paths.predictions(name), split).test.iloc[:20]
        model = helpers.load_model(f"t/{name}")
        scored = model.predict(where[test.id])
        # bf16 rounds to 8 bits, in another order if batches differ
        tolerance = 1e-6 if model.scorers[0].precision == "no" else 2e-2
        assert abs(scored.score.to_numpy() - test.defect_score.to_numpy()).max() < tolerance, name
        assert set(scored.verdict) <= {"pass", "look again", "reject"}


def test_a_second_call_trains_nothing_and_a_model_of_one_s_own_may_become_the_submission(
    smoke_copy, capsys
):
    root = smoke_copy / "data/runs/t"
    split = pd.read_csv(root / "split.csv", dtype={"id": str})
    split["defect_score"] = 0.1 + 0.8 * split.label
    own = split.loc[split.split.isin(["val", "test"]), ["id", "split", "defect_score"]]
    own.to_csv(root / "predictions/mine.csv", index=False)
    before = {p: p.stat().st_mtime_ns for p in root.glob("checkpoints/*/*.safetensors")}
    assert run.main([*SMOKE, "--from", "03"]) == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before
    table = pd.read_csv(root / "metrics/06_results.csv").set_index("model")
    assert "mine" in table.index
    submission = pd.read_csv(smoke_copy / "submissions/t.csv", dtype={"id": str})
    assert submission.defect_score.tolist() == own.query("split == 'test'").defect_score.tolist()


def test_a_folder_with_a_broken_file_stops_with_its_name_and_continues_without_it(
    home, parts_folder, capsys
):
    whole = (parts_folder / "good" / "good00.png").read_bytes()
    (parts_folder / "good" / "cut.png").write_bytes(whole[: len(whole) // 2])
    command = ["--dataset", f"folder:{parts_folder}", *SMOKE, "--only", "01"]
    assert cli.start("run", [*command, "-p", "MAX_IMAGES=200"]) == 1
    error = capsys.readouterr().err
    assert "01_data_split.ipynb, cell" in error and "cut.png" in error
    assert "-p SKIP_UNREADABLE=True" in error and "To continue once it is fixed" in error
    with small_run.in_this_process():
        assert run.main([*command, "-p", "MAX_IMAGES=200", "-p", "SKIP_UNREADABLE=True"]) == 0
    facts = json.loads((home / "data/runs/t/run.json").read_text())["stages"]["01_data_split"]
    assert facts["unreadable"] == ["cut"]
