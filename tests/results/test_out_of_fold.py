"""Three columns: AUC on seen groups, on unseen ones and inside them, all out of fold."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import special
from sklearn.metrics import roc_auc_score

from helpers.core import files, metrics, paths
from helpers.models.record import Model
from helpers.results import comparison, out_of_fold
from helpers.results.out_of_fold import OutOfFold

MODELS = {"lda": Model("lda"), "fbp": Model("fbp"), "svm": Model("svm")}
MODELS["darts_searched"] = Model("darts_searched")


def write_scores(folder, found):
    """Write the folder that `read_folder` reads."""
    files.write_bytes(folder / "folds.csv", files.csv_bytes(found.folds))
    for protocol, models in found.scores.items():
        for name, scores in models.items():
            content = scores.to_csv(float_format="%.5g", lineterminator="\n").encode()
            files.write_bytes(folder / protocol / f"{name}.csv", content)


@pytest.fixture
def found():
    """400 parts in 40 lots, which differ; FBP by three seeds, the others by one."""
    rng = np.random.default_rng(0)
    lot = np.repeat(np.arange(40), 10)
    level = rng.normal(size=40)[lot]
    labels = (rng.random(400) < special.expit(level)).astype(int)
    columns = {"id": [f"{i:04d}" for i in range(400)], "label": labels}
    columns |= {"group": [f"lot{i:02d}" for i in lot]}
    folds = pd.DataFrame(columns | {"random": np.arange(400) % 5, "groups": lot % 5})

    def scores(of_lot, seeds):
        signal = labels + of_lot * level + 2 * rng.normal(size=40)[lot]  # a lot fails together
        drawn = {f"seed{seed}": special.expit(signal + rng.normal(size=400)) for seed in seeds}
        return pd.DataFrame(drawn, index=folds.id)

    by = {
        protocol: {"lda": scores(of_lot, [0]), "fbp": scores(2 * of_lot, range(3))}
        | {"svm": scores(of_lot, [0]), "darts_searched": scores(of_lot, [0])}
        for protocol, of_lot in (("random", 0.6), ("groups", 0.2))
    }
    return OutOfFold(folds, by, MODELS)


def without(found, protocol, name, seed):
    """The same with one score missing."""
    scores = found.scores[protocol][name].copy()
    scores.iloc[7, scores.columns.get_loc(seed)] = np.nan
    changed = {**found.scores[protocol], name: scores}
    return dataclasses.replace(found, scores={**found.scores, protocol: changed})


def table_of(found):
    return out_of_fold.three_columns(found).set_index("model")


def test_each_column_is_the_auc_of_all_parts_by_one_protocol_and_by_seeds_too(found):
    labels, groups = found.folds.label, found.folds.group
    row = table_of(found).loc["fbp"]
    for column, protocol in (("seen", "random"), ("unseen", "groups")):
        scores = found.scores[protocol]["fbp"]
        alone = [roc_auc_score(labels, scores[seed]) for seed in scores]
        mean = scores.mean(axis=1)
        assert row[f"{column}_auc"] == pytest.approx(roc_auc_score(labels, mean))
        assert row[f"{column}_auc_mean"] == pytest.approx(np.mean(alone))
        assert row[f"{column}_auc_std"] == pytest.approx(np.std(alone, ddof=1))
        ends = row[[f"{column}_auc{end}" for end in ("", "_low", "_high")]]
        assert tuple(ends) == metrics.auc_interval(labels, mean, groups)
        assert row[f"{protocol}_seeds"] == 3
    inside, weights = [], []
    for name in groups.unique():
        own = (groups == name).to_numpy()
        if (smaller := min((labels[own] == label).sum() for label in (0, 1))) >= 2:
            inside.append(roc_auc_score(labels[own], mean[own]))
            weights.append(smaller)
    assert row.inside_auc == pytest.approx(np.average(inside, weights=weights))


def test_the_difference_is_paired_by_part_and_its_error_that_of_a_bootstrap_over_groups(found):
    table, labels = table_of(found), found.folds.label.to_numpy()
    row, rng = table.loc["lda"], np.random.default_rng(1)
    pair = [found.scores[protocol]["lda"].seed0.to_numpy() for protocol in ("random", "groups")]
    lots, drawn = labels.reshape(40, 10), []
    for _ in range(400):
        chosen = rng.integers(40, size=40)
        seen, unseen = (scores.reshape(40, 10)[chosen].ravel() for scores in pair)
        of_chosen = lots[chosen].ravel()
        drawn.append(roc_auc_score(of_chosen, seen) - roc_auc_score(of_chosen, unseen))
    assert row.difference == pytest.approx(row.seen_auc - row.unseen_auc)
    assert row.standard_error == pytest.approx(np.std(drawn), rel=0.15)
    assert row.difference_low < row.difference < row.difference_high
    models = table.drop("module_prior")  # a reference is not counted
    assert models.p_holm.tolist() == comparison.holm(models.p_value).tolist()
    assert np.isnan(table.p_holm["module_prior"]) and table.p_value["module_prior"] < 0.001


def test_a_training_that_lacks_a_part_does_not_count_and_the_difference_takes_common_seeds(found):
    whole = table_of(found)
    table = table_of(without(without(found, "groups", "lda", "seed0"), "groups", "fbp", "seed2"))
    lda, fbp = table.loc["lda"], table.loc["fbp"]
    assert lda[["unseen_auc", "inside_auc", "difference", "p_holm"]].isna().all()
    assert lda.seen_auc == whole.seen_auc["lda"] and lda.groups_seeds == 0
    assert (fbp.random_seeds, fbp.groups_seeds) == (3, 2) and fbp.seen_auc == whole.seen_auc["fbp"]
    two = [found.scores[p]["fbp"][["seed0", "seed1"]].mean(axis=1) for p in ("random", "groups")]
    seen, unseen = (roc_auc_score(found.folds.label, scores) for scores in two)
    assert fbp.unseen_auc == pytest.approx(unseen)
    assert fbp.difference == pytest.approx(seen - unseen)
    assert not table.p_holm.drop(["lda", "module_prior"]).isna().any() and table.index[-1] == "lda"


def test_a_folder_of_scores_gives_the_same_table(found, tmp_path):
    found = without(found, "groups", "fbp", "seed1")
    write_scores(tmp_path, found)
    again = out_of_fold.read_folder(tmp_path)
    pd.testing.assert_frame_equal(table_of(again), table_of(found), rtol=1e-3, atol=1e-3)
    for model in (Model("lr", features="brightness"), Model("mine_2_on_b")):
        files.write_bytes(tmp_path / "random" / f"{model.slug}.csv", b"id,seed0\n")
        assert out_of_fold.read_folder(tmp_path).models[model.slug] == model
    (tmp_path / "random" / "lda.csv").write_text("id,seed0\n0000,high\n")
    with pytest.raises(files.ArtifactError, match=r"lda\.csv is damaged"):
        out_of_fold.read_folder(tmp_path)


def test_published_scores_are_shown_beside_the_same_images_with_the_same_labels(
    found, tmp_path, monkeypatch
):
    monkeypatch.setattr(paths, "published_scores", lambda: tmp_path / "scores")
    split = found.folds.assign(label=found.folds.label.astype("Int64"))
    assert out_of_fold.published(split) is None  # there are none
    write_scores(tmp_path / "scores", found)
    scores = out_of_fold.published(split.iloc[5:])
    assert {"fbp", "lda"} <= {*scores.models}
    others = (split.drop(columns="group"), split.assign(id="x" + split.id))
    for other in (*others, split.assign(label=1 - split.label)):
        assert out_of_fold.published(other) is None
