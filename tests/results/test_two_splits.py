"""The same models on a random split and on one by groups."""

import numpy as np
import pandas as pd
import pytest

from helpers.core import files
from helpers.core.metrics import roc_auc
from helpers.core.paths import RunPaths
from helpers.core.rules import SettingsError
from helpers.datasets.split_file import read_split
from helpers.models.names import display_name
from helpers.results import predictions, two_splits
from tests import planted


def two_runs(home):
    """A random split and one by groups of the same 600 images in 30 groups; FBP is worse there."""
    runs = {}
    for kind, separation in (("random", 3.0), ("groups", 1.0)):
        runs[kind] = planted.make_run(name=kind)
        split = read_split(runs[kind].split_csv)
        place = np.arange(600) if kind == "groups" else np.random.default_rng(0).permutation(600)
        split["group"] = [f"lot{i // 20:02d}" for i in place]
        files.save_csv(runs[kind].split_csv, split)
        planted.plant(runs[kind], "fbp", separation, 0)
        planted.plant(runs[kind], f"only_{kind}", 1.0, 0)
    return runs


@pytest.mark.parametrize("own", ["random", "groups"])
def test_the_difference_is_that_of_unseen_groups_minus_random_from_either_side(home, own):
    runs = two_runs(home)
    other = {"random": "groups", "groups": "random"}[own]
    table = two_splits.compare_runs(runs[own], other)
    assert table.model.tolist() == ["fbp"]
    row = table.iloc[0]
    for kind, run_paths in runs.items():
        split = read_split(run_paths.split_csv)
        fbp = predictions.read_predictions(run_paths.predictions("fbp"), split)
        assert row[f"{kind}_auc"] == pytest.approx(roc_auc(*fbp.labels_scores()))
    assert row.difference == pytest.approx(row.groups_auc - row.random_auc) and row.difference < 0
    assert row.difference_low < row.difference < row.difference_high < 0
    shape = two_splits.shape(table)
    assert shape.columns[:-1].tolist() == [
        "Model",
        "Validation AUC, random split",
        "Validation AUC, unseen groups",
        "Test AUC, random split",
        "Test AUC, unseen groups",
    ]
    assert shape["Unseen groups minus random"][0].startswith(f"{100 * row.difference:.1f} [")


def test_each_model_is_drawn_with_both_aucs_and_their_difference(home):
    runs = two_runs(home)
    for run_paths in runs.values():
        planted.plant(run_paths, "svm", 2.0, 1)
    table = two_splits.compare_runs(runs["random"], "groups")
    figure = two_splits.figure(table, "title")
    (ax,) = figure.axes
    ranked = table.sort_values("random_auc")  # the best is above
    assert [t.get_text() for t in ax.get_yticklabels()] == [*map(display_name, ranked.model)]
    for container, kind in zip(ax.containers, ("random", "groups"), strict=True):
        assert container.lines[0].get_xdata().tolist() == ranked[f"{kind}_auc"].tolist()
    assert ax.texts[-2].get_text() == two_splits.shape(table)["Unseen groups minus random"][0]
    assert figure.get_figwidth() <= 9.5


def test_a_run_that_says_nothing_beside_this_one_is_refused(home):
    runs = two_runs(home)
    with pytest.raises(SettingsError, match="has no split; run notebook 01"):
        two_splits.compare_runs(runs["random"], "nowhere")
    with pytest.raises(SettingsError, match="the split of both runs is random"):
        two_splits.compare_runs(runs["random"], "random")
    split = read_split(runs["groups"].split_csv)
    files.save_csv(runs["groups"].split_csv, split.assign(label=1 - split.label))
    with pytest.raises(SettingsError, match="other images or other labels"):
        two_splits.compare_runs(runs["random"], "groups")
    files.save_csv(runs["groups"].split_csv, split[1:])
    with pytest.raises(SettingsError, match="other images or other labels"):
        two_splits.compare_runs(runs["random"], "groups")
    files.save_csv(runs["groups"].split_csv, split)
    for kind, epochs in (("random", 8), ("groups", 12)):
        entry = {"status": "done", "settings": {"fbp_epochs": epochs, "seed": 0}}
        record = {"run": kind, "preset": "quick", "stages": {"03_finetuning": entry}}
        files.save_json(runs[kind].run_json, record)
    with pytest.raises(SettingsError, match=r"other settings: 03 FBP_EPOCHS \(here 8, there 12\)"):
        two_splits.compare_runs(runs["random"], "groups")
    files.save_json(runs["groups"].run_json, {"run": "groups", "preset": "quick", "stages": {}})
    RunPaths("groups").predictions("fbp").unlink()
    with pytest.raises(SettingsError, match="no model of this run"):
        two_splits.compare_runs(runs["random"], "groups")


def _with_cells(run, **cells):
    entry = {"status": "done", "settings": {"retrain_epochs": 9} | cells}
    record = {"run": run.name, "preset": "full", "stages": {"05_genotype_retraining": entry}}
    files.save_json(run.run_json, record)


def test_runs_may_have_other_cells_but_not_other_trainings_of_the_same(home):
    runs = two_runs(home)
    halving = {"halving_epochs": 10, "halving_cells": 8}
    more = {"genotypes": ["searched", "halving"], "random_cells": 1, "distill": True}
    _with_cells(runs["random"], **more, **halving)
    fewer = {"genotypes": ["searched"], "random_cells": 2, "distill": False}
    _with_cells(runs["groups"], **fewer, halving_epochs=0)
    assert len(two_splits.compare_runs(runs["random"], "groups"))
    halving = {"halving_epochs": 10, "halving_cells": 9}
    _with_cells(runs["groups"], genotypes=["searched", "halving"], **halving)
    with pytest.raises(SettingsError, match=r"05 HALVING_CELLS \(here 8, there 9\)"):
        two_splits.compare_runs(runs["random"], "groups")


def repeated(aucs):
    """Scores of 40 test images in 2 groups whose AUC is as asked, in steps of 1/400."""
    tables = []
    for split, values in aucs.items():
        for repetition, auc in enumerate(values):
            lost = round((1 - auc) * 400)
            bad = np.full(20, 100.0) - np.repeat([100, 0], [lost // 20, 20 - lost // 20])
            good = np.linspace(1, 2, 20)
            table = pd.DataFrame({"defect_score": np.concatenate([good, bad]) / 200})
            table["label"], table["group"] = np.repeat([0, 1], 20), np.tile(["a", "b"], 20)
            tables.append(table.assign(model="LDA", split=split, repetition=repetition))
    return pd.concat(tables)


def test_repeated_splits_give_mean_spread_and_the_standard_error_of_overlapping_splits():
    table = two_splits.repeated_table(repeated({"random": [0.9, 0.95], "groups": [0.8, 0.8]}))
    assert table.auc.tolist() == pytest.approx([0.9, 0.95, 0.8, 0.8])
    assert table.within_auc.tolist() == pytest.approx([0.9, 0.95, 0.8, 0.8], abs=0.06)
    assert table.n_groups.tolist() == [2] * 4
    shape = two_splits.repeated_shape(table).iloc[0]
    assert shape["Test AUC, 2 random splits"] == "92.5 ± 3.5"
    assert shape["Test AUC, 2 splits by groups"] == "80.0 ± 0.0"
    # by hand: 3.5355 * sqrt(1/2 + 1/3)
    assert shape["Test AUC, unseen minus random ± standard error"] == "-12.5 ± 3.2"


def test_every_repetition_is_a_point_of_the_figure():
    table = two_splits.repeated_table(repeated({"random": [0.9, 0.95], "groups": [0.8, 0.85]}))
    figure = two_splits.repeated_figure(table)
    drawn = [y for ax in figure.axes for own in ax.collections for _, y in own.get_offsets()]
    assert sorted(drawn)[:1] == pytest.approx([table[["auc", "within_auc"]].min().min()])
    assert len(drawn) == 8
