"""Notebook 00 needs nothing of this repository, and agrees with the package."""

import json
import shutil
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import timm
from sklearn.metrics import roc_auc_score

from helpers.commands import kaggle
from helpers.core import metrics, paths
from helpers.datasets import chips, sources
from helpers.datasets.cache import open_cache
from helpers.datasets.settings import SplitSettings
from helpers.models.weights import find_weights
from helpers.results.out_of_fold import read_folder, three_columns
from helpers.runs.record import RunError
from helpers.training import classifiers, inference
from tests.conftest import write_parts
from tests.small_run import run_cells

NOTEBOOK = paths.notebooks_root() / "00_start.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
LR, _ = classifiers.CLASSIFIERS["lr"]
SOURCES = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def cell_with(words):
    """Return the code cell that has some words."""
    (source,) = (source for source in SOURCES if words in source)
    return source


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Return a function that runs the notebook in an empty folder, and returns its names."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")

    def run(folder="", kaggle="/kaggle/input", **parameters):
        copy = tmp_path / "copy.ipynb"
        copy.write_text(NOTEBOOK.read_text().replace("/kaggle/input", str(kaggle)))
        given = {"DATA": str(folder), "SIZE": 48, "FOLDS": 3, "FINE_TUNE": False}
        return run_cells(copy, None, given | parameters, "")

    return run


@pytest.fixture(scope="module")
def contest(tmp_path_factory):
    """Return a contest's folder whose sample submission has columns and ids of its own."""
    place = tmp_path_factory.mktemp("input") / "contest"
    # 177 images: a batch of one is left
    folder = chips.write_dataset(place, 150, 27, bad_fraction=0.3, size_px=48)
    sample = pd.read_csv(folder / "sample_submission.csv").set_axis(["file", "p"], axis=1)
    sample.assign(file=sample.file + ".bmp").to_csv(folder / "sample_submission.csv", index=False)
    lots = pd.read_csv(folder / "lots.csv").rename(columns={"lot": "group"})
    lots.to_csv(folder / "groups.csv", index=False)
    return folder


def test_its_cells_are_short_and_know_nothing_of_the_package():
    assert all(len(source.splitlines()) <= 20 and "helpers" not in source for source in SOURCES)


def test_its_features_and_probe_are_the_package_s_and_its_submission_is_taken(start, contest, home):
    names = start(kaggle=contest.parent, GROUPS=str(contest / "groups.csv"))
    sample = contest / "sample_submission.csv"
    assert kaggle.main(["check", "-f", "submission.csv", "--sample", str(sample)]) == 0
    table = sources.load(SplitSettings(dataset=f"nexperia:{contest}")).table
    table = table.set_index("id", drop=False).loc[names["ids"]].reset_index(drop=True)
    images, weights = open_cache(table, 48, home / "cache"), find_weights("efficientnet_lite2")
    arrays = inference.embed_all(weights, images, table[["id"]])
    theirs = inference.Features.of_arrays(arrays).of(table.id)
    assert np.linalg.norm(names["features"] - theirs) < 0.03 * np.linalg.norm(theirs)
    features = inference.Features(table.id.to_numpy(dtype=str), names["features"])
    group = pd.read_csv(contest / "groups.csv").set_index("id").group[table.id].to_numpy()
    known = table.label.notna().to_numpy()
    assert (names["units"] == pd.factorize(group[known])[0]).all()
    for kind, fold in names["kinds"].items():
        assert ((fold >= 0) == known).all()
        apart = pd.Series(fold[known]).groupby(group[known]).nunique() == 1
        assert apart.all() == (kind == "whole groups")
        scores = []
        for number in range(3):
            side = np.select([fold < 0, fold == number], ["test", "val"], "train")
            rows = table.assign(split=side)[["id", "label", "split"]]
            fit = classifiers.score_classifier(LR, {"C": [0.001]}, features, rows, 0)
            scores.append(fit.scores)
        mean = pd.concat(scores).groupby("id").defect_score.mean()[table.id]
        ours = names["scored"]["probe", kind]
        assert ours == pytest.approx(mean.to_numpy(), abs=0.002)
    exec(cell_with("submission.csv"), names | {"TEST": ""})  # without a sample submission
    assert [*pd.read_csv("submission.csv").id] == [*table.id[~known]]


@pytest.mark.parametrize("units", [np.arange(400), np.repeat(np.arange(40), 10)])
def test_its_standard_error_is_that_of_images_or_groups(units):
    rng = np.random.default_rng(0)
    of_group = rng.normal(size=40)[np.arange(400) // 10]
    labels = (of_group + rng.normal(size=400) > 0.5).astype(int)
    scores = of_group + labels + rng.normal(size=400)
    names = {"np": np, "roc_auc_score": roc_auc_score, "SEED": 0}
    names |= {"n": 400, "labels": labels, "units": units}
    exec(cell_with("def auc"), names)
    auc, standard_error = names["auc"](scores)
    assert auc == pytest.approx(100 * metrics.roc_auc(labels, scores))
    expected = metrics.auc_difference(labels, scores, 0 * scores, units).standard_error
    assert standard_error == pytest.approx(100 * expected, rel=0.15)


def test_folders_of_other_names_are_fine_tuned_and_submitted_out_of_fold(start, tmp_path):
    folder = write_parts(tmp_path / "parts")
    (folder / "nested").mkdir()
    (folder / "good").rename(folder / "nested" / "ok")
    folders = {"GOOD": "ok", "BAD": "bad", "TEST": ""}
    names = start(folder, SIZE=32, FOLDS=2, FINE_TUNE=True, EPOCHS=1, **folders)
    tuned = names["scored"]["fine-tuned", "random images"]
    assert metrics.roc_auc(names["labels"], tuned) > 0.95
    names["features"][:] = 0  # nothing to start from
    rows = np.arange(120)
    assert metrics.roc_auc(names["labels"], names["fine_tuned"](rows, rows)) > 0.9
    submission = pd.read_csv("submission.csv")
    assert [*submission] == ["id", "defect_score"] and len(submission) == 120
    labels = submission.id.str.startswith("bad").astype(int)
    assert 100 * metrics.roc_auc(labels, submission.defect_score) > 95


@pytest.mark.parametrize(
    ("spoiled", "content", "parameters", "said"),
    [
        ("", "", {"BAD": "broken"}, "no images in 'broken'"),
        ("", "", {"TEST": "train"}, "in two of the folders"),
        ("train/bad_1/broken.png", "no image", {}, "broken.png"),
        ("", "", {"BACKBONE": "resnet18"}, "WEIGHTS"),
        ("sample_submission.csv", "id,p\nlost,0\n", {"SIZE": 32, "FOLDS": 2}, "'lost' is not the"),
    ],
)
def test_bad_input_is_named(
    start, contest, tmp_path, monkeypatch, spoiled, content, parameters, said
):
    folder = shutil.copytree(contest, tmp_path / "contest")
    if spoiled:
        (folder / spoiled).write_text(content)
    if "BACKBONE" in parameters:  # whose weights cannot be loaded
        monkeypatch.setattr(timm, "create_model", Mock(side_effect=OSError))
    with pytest.raises(RunError, match=said):
        start(folder, **parameters)


def test_its_text_has_the_published_numbers_of_random_and_whole_folds():
    fbp = three_columns(read_folder(paths.published_scores())).set_index("model").loc["fbp"]
    said = f"{100 * fbp.seen_auc:.1f} by random folds and {100 * fbp.unseen_auc:.1f} on modules"
    assert any(said in " ".join("".join(cell["source"]).split()) for cell in CELLS)
