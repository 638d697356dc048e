"""The search: its halves, its alternation, its guard, and resuming after a kill bit for bit."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.core import files, seeding, tensors
from helpers.core.paths import HOME_VARIABLE, RunPaths
from helpers.core.rules import SettingsError
from helpers.darts import genotypes, guard, search
from helpers.darts.settings import SearchSettings
from helpers.darts.space import KINDS
from helpers.runs import settings, stages
from helpers.training.features import image_batches
from tests.conftest import split_of

TINY = {
    "image_size_px": 16,
    "batch_size": 16,
    "epochs": 3,
    "channels": 4,
    "layers": 3,
    "alpha_lr": 0.05,
}


def make_stage(folder, **options):
    own = SearchSettings(**(TINY | options))
    stage = stages.Stage("04_darts_search", RunPaths("r"), "quick", own, "key")
    files.save_csv(stage.paths.split_csv, split_of(folder))
    return stage


@pytest.fixture
def stage(home, parts_folder):
    return make_stage(parts_folder)


def record(**changes):
    """An epoch's entry with undecided alphas."""
    alpha = np.zeros((14, 8)).tolist()
    entry = dict.fromkeys(("beta_normal", "beta_reduce", "eigenvalue"))
    entry |= {"epoch": 1, "alpha_normal": alpha, "alpha_reduce": alpha, "skips": 0, "val_auc": 0.5}
    entry |= {"genotype": {}, "total_seconds": 1.0, "alpha_loss": 0.5}
    return entry | changes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": 6, "partial": 4}, "PARTIAL=4 does not divide CHANNELS=6: choose a divisor"),
        ({"epochs": 2, "alpha_warmup": 2}, "ALPHA_WARMUP=2 must be below EPOCHS=2"),
        ({"lr": 0.001, "lr_min": 0.01}, "LR_MIN=0.01 must not be above LR=0.001"),
        ({"layers": 2}, "LAYERS=2 must be 3 or more"),
        ({"rollback_growth": 0.5}, "ROLLBACK_GROWTH=0.5 must be above 1"),
        (
            {"epochs": 35, "eigenvalue_every": 4, "alpha_warmup": 0},
            "EIGENVALUE_EVERY=4 lets a search roll back from epoch 36 on, but EPOCHS=35: measure",
        ),
        ({"epochs": 17, "eigenvalue_every": 1, "alpha_warmup": 2}, "from epoch 18 on"),
        ({"alpha_weight_decay": -1.0}, "ALPHA_WEIGHT_DECAY=-1.0 must be 0 or more"),
        ({"beta_decay": -1.0}, "BETA_DECAY=-1.0 must be 0 or more"),
        ({"perturbation_images": 1}, "PERTURBATION_IMAGES=1 must be 2 or more"),
        ({"lr": float("inf")}, "LR=inf must be a finite number"),
    ],
)
def test_settings_that_make_no_search_are_refused_before_it(values, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        settings.resolve("04_darts_search", "quick", values)


def test_a_search_that_only_measures_or_only_watches_is_not_refused():
    SearchSettings(epochs=2, eigenvalue_every=1, rollback_growth=0.0)
    SearchSettings(epochs=2)
    SearchSettings(epochs=18, eigenvalue_every=1, alpha_warmup=2)


@pytest.mark.parametrize(
    ("every", "warmup"), [(2, 10), (1, 2), (4, 0), (3, 5), (5, 0), (10, 3), (6, 6)]
)
def test_the_first_roll_back_comes_when_alpha_has_learned_and_is_the_one_that_settings_name(
    every, warmup
):
    own = SearchSettings(epochs=100, eigenvalue_every=every, alpha_warmup=warmup)
    history, back = [], None
    while back is None:
        epoch = len(history) + 1
        measured = epoch > warmup and epoch % every == 0
        value, loss = 2.0**epoch if measured else None, 0.5 if epoch > warmup else None
        history.append(record(epoch=epoch, eigenvalue=value, alpha_loss=loss))
        back = guard.roll_back(history, own.rollback_growth)
    assert len(history) == own.first_rollback
    assert back[0] + 1 >= warmup + 10
    window = [2.0 ** (back[0] + 1 + step * every) for step in range(-2, 3)]  # all five
    assert back[1] == pytest.approx(np.mean(window))


def test_the_halves_are_stratified_disjoint_and_of_training_images_only(stage):
    split = stage.split
    first, second = search.halves(split, 0)
    assert set(first.split) == set(second.split) == {"train"}
    assert not set(first.id) & set(second.id)
    assert len(first) + len(second) == (split.split == "train").sum()
    assert (first.label.value_counts() - second.label.value_counts()).abs().max() <= 1
    assert first.label.iloc[:10].nunique() == 2  # classes are mixed
    assert set(search.halves(split, 1)[0].id) != set(first.id)


def test_of_a_large_set_a_part_is_searched_with_the_classes_in_proportion():
    labels = np.repeat([0, 1], [900, 100])
    split = pd.DataFrame({"id": np.arange(1000).astype(str), "label": labels, "split": "train"})
    parts = search.halves(split, 0, limit=200)
    assert [part.label.value_counts().to_dict() for part in parts] == [{0: 90, 1: 10}] * 2
    assert len(set(parts[0].id) | set(parts[1].id)) == 200
    rare = search.halves(split, 0, limit=10)
    assert [int(part.label.sum()) for part in rare] == [1, 1]
    whole = search.halves(split, 0)
    assert search.halves(split, 0, limit=1000)[0].equals(whole[0])


def test_halves_share_groups_if_one_of_them_would_lack_a_class_and_the_search_says_so(
    stage, capsys, monkeypatch
):
    split = stage.split
    spread = split.split + split.id.str[-1]
    by_group = search.halves(split.assign(group=spread), 0)
    assert not set(by_group[0].group) & set(by_group[1].group)
    split = split.assign(group=spread.where(split.label == 0, split.split + " bad"))
    parts = search.halves(split, 0)
    for own, expected in zip(parts, search.halves(stage.split, 0), strict=True):
        assert own.id.tolist() == expected.id.tolist() and own.label.nunique() == 2
    files.save_csv(stage.paths.split_csv, split)
    monkeypatch.setattr(search, "resume_file", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        search.search_genotype(dataclasses.replace(stage))
    assert "the two parts of the search share groups" in capsys.readouterr().out


def test_a_search_finds_a_cell_and_tells_how(stage):
    other = stage.paths.genotype("searched_perturbation")  # of a search before
    genotypes.save(other, genotypes.PUBLISHED["PDARTS"], {})
    found = search.search_genotype(stage)
    assert not other.exists()
    genotype, provenance = genotypes.load(stage.paths.genotype("searched"))
    assert genotype == found.genotype
    assert provenance["method"] == "DARTS, first order"
    assert provenance["settings"] == json.loads(json.dumps(dataclasses.asdict(stage.settings)))
    assert [r["epoch"] for r in found.history] == [1, 2, 3]
    assert {"train_loss", "val_loss", "val_auc", "alpha_loss"} <= set(found.history[0])
    assert np.shape(found.history[0]["alpha_reduce"]) == (14, 8)
    assert not list(stage.paths.trainings("supernet").glob("*.resume"))
    again = search.search_genotype(stage)
    assert again.history == found.history and stage.notes["reused"] == ["search"]


def test_an_interrupted_search_with_other_settings_leaves_the_finished_one_done(stage, monkeypatch):
    # it overwrote metrics/search_history.json in every epoch: the old search was done once more
    stage.settings = dataclasses.replace(stage.settings, epochs=1)
    found = search.search_genotype(stage)
    epoch_ends = search.AlphaSteps.epoch_ends

    def interrupted(self, record, past):
        epoch_ends(self, record, past)
        raise KeyboardInterrupt

    other = dataclasses.replace(stage, settings=dataclasses.replace(stage.settings, seed=1))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(search.AlphaSteps, "epoch_ends", interrupted)
        search.search_genotype(other)
    assert search.search_genotype(stage) == found
    assert stage.notes["reused"] == ["search"]


def test_alpha_moves_in_every_step_but_the_warm_up(stage):
    own, images = dataclasses.replace(stage.settings, alpha_warmup=2), stage.images(16)
    net = search.make_supernet(own, images)
    parts = [image_batches(images, half, net, 16) for half in search.halves(stage.split, 0)]
    start = net.alpha_normal.detach().clone()
    fit = search.run_search(net, *parts, own)
    alphas = [torch.tensor(r["alpha_normal"]) for r in fit.history]
    assert torch.equal(alphas[1], start) and not torch.equal(alphas[2], start)
    assert [r["alpha_loss"] is None for r in fit.history] == [True, True, False]
    assert torch.equal(net.alpha_normal.detach(), alphas[2])  # the last epoch's, not the best's


@pytest.mark.parametrize("options", [{"order": 2}, {"partial": 2}, {"eigenvalue_every": 1}])
def test_every_kind_of_search_runs(stage, options):
    never = {"rollback_growth": 0.0}  # one measurement cannot roll back
    stage.settings = dataclasses.replace(stage.settings, epochs=1, **never, **options)
    found = search.search_genotype(stage)
    assert (found.history[0]["beta_normal"] is not None) == ("partial" in options)
    assert (found.history[0]["eigenvalue"] is not None) == ("eigenvalue_every" in options)


def test_pc_darts_searches_with_a_quarter_of_the_channels_after_alphas_rest(stage):
    options = {"partial": 4, "alpha_warmup": 1, "epochs": 2, "channels": 8}
    stage.settings = dataclasses.replace(stage.settings, **options)
    found = search.search_genotype(stage)
    assert found.provenance["method"] == "PC-DARTS, first order"
    assert found.provenance["supernet"].startswith("C=8, L=3, 1/4 of the channels, ")
    first, last = (record["alpha_normal"] for record in found.history)
    assert first != last and found.history[0]["alpha_loss"] is None
    with seeding.torch_stream(0, "initial weights supernet"):
        start = search.make_supernet(stage.settings, stage.images(16))
    assert first == start.alpha_normal.tolist()


def test_beta_decay_grows_from_0_over_the_epochs_and_pulls_alpha_together(stage, monkeypatch):
    weights, before_step = [], search.AlphaSteps.before_step

    def noting(self, *batch):
        weights.append(self.architect.beta_decay)
        before_step(self, *batch)

    monkeypatch.setattr(search.AlphaSteps, "before_step", noting)
    plain = search.search_genotype(stage).history[-1]
    stage.settings = dataclasses.replace(stage.settings, beta_decay=90.0)
    decayed = search.search_genotype(stage).history[-1]
    assert weights == [0.0] * 6 + [0.0] * 2 + [30.0] * 2 + [60.0] * 2  # 2 steps an epoch
    assert all(decayed[f"entropy_{kind}"] > plain[f"entropy_{kind}"] for kind in KINDS)


def test_validation_and_test_images_have_no_part_in_the_search(stage):
    stage.settings = dataclasses.replace(stage.settings, epochs=1)
    found = search.search_genotype(stage)
    split = stage.split
    other = split.assign(label=split.label.where(split.split == "train", 1 - split.label))
    files.save_csv(stage.paths.split_csv, other)
    stage.paths.genotype("searched").unlink()  # searched again
    again = search.search_genotype(dataclasses.replace(stage))
    assert again.history[-1]["alpha_normal"] == found.history[-1]["alpha_normal"]


OF_EVERYTHING = {"order": 2, "partial": 2, "alpha_warmup": 1, "eigenvalue_every": 1}
OF_EVERYTHING["rollback_growth"] = 0.0  # so few epochs cannot roll back
KILLED = """
    import os, signal, sys
    from pathlib import Path
    from helpers.darts import search
    from tests.darts.test_search import OF_EVERYTHING, make_stage

    steps = 0
    before_step = search.AlphaSteps.before_step

    def dying(self, *batch):
        global steps
        before_step(self, *batch)
        steps += 1
        if steps == 3:  # 2 steps an epoch: in the middle of the second
            os.kill(os.getpid(), signal.SIGKILL)

    search.AlphaSteps.before_step = dying
    search.search_genotype(make_stage(Path(sys.argv[1]), **OF_EVERYTHING))
"""


def test_a_search_killed_in_the_middle_of_an_epoch_ends_with_the_same_bits(
    home, parts_folder, monkeypatch, capsys
):
    results = []
    for name in ("whole", "killed"):
        monkeypatch.setenv(HOME_VARIABLE, str(home / name))
        if name == "killed":
            command = [sys.executable, "-c", textwrap.dedent(KILLED), str(parts_folder)]
            threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
            died = subprocess.run(
                command, env=os.environ | threads, capture_output=True, text=True, check=False
            )
            assert died.returncode == -signal.SIGKILL, died.stderr
        found = search.search_genotype(make_stage(parts_folder, **OF_EVERYTHING))
        weights, _ = tensors.load_tensors(RunPaths("r").checkpoint("supernet"))
        results.append((weights, found.history, found.genotype))
    assert "continuing after epoch 1 of 3" in capsys.readouterr().out
    (weights, history, genotype), (other_weights, other_history, other_genotype) = results
    assert genotype == other_genotype
    assert weights.keys() == other_weights.keys()
    assert all(torch.equal(weights[k], other_weights[k]) for k in weights)
    for a, b in zip(history, other_history, strict=True):
        timed = {"seconds", "total_seconds", "images_per_s"}
        assert {k: v for k, v in a.items() if k not in timed} == (
            {k: v for k, v in b.items() if k not in timed}
        )


def test_a_mean_eigenvalue_that_grew_rolls_back_to_the_middle_of_the_older_mean():
    def grown(values, growth=1.3):
        return guard.roll_back([record(eigenvalue=v) for v in values], growth)

    # alpha has learned for 10 epochs at position 9, whose mean of 5 is that of positions 7 to 11;
    # four later come positions 11 to 15
    flat, steps = [1.0] * 12, [1.5, 1.4, 1.3, 1.31]
    assert grown([*flat, *steps]) == (9, 1.0, pytest.approx(6.51 / 5))
    assert grown([*flat, *steps], growth=0) is None  # switched off
    assert grown([*flat, 1.5, 1.4, 1.3, 1.29]) is None  # 6.49 / 5
    assert grown([*flat, 1, 1, 1, 2.4]) is None  # one high measurement is noise
    assert grown([*flat[1:], *steps]) is None  # alpha has learned for 9 epochs
    signs = [value * (-1) ** i for i, value in enumerate([*flat, *steps])]
    assert grown(signs) == (9, 1.0, pytest.approx(6.51 / 5))  # eigenvalues may be negative
    assert grown([*flat, *steps, None]) is None  # nothing measured in this epoch
    assert grown([None, *flat, *steps]) == (10, 1.0, pytest.approx(6.51 / 5))


def test_what_the_guard_did_is_told():
    skips = np.zeros((14, 8))
    skips[:, 3] = 5.0
    history = [record(epoch=i + 1, eigenvalue=1.0 + i, skips=8) for i in range(16)]
    history[9]["alpha_normal"] = skips.tolist()
    limited = SearchSettings(epochs=50)
    genotype, provenance = guard.conclusion(history, limited)
    assert provenance["guard"] == [
        "eigenvalue grew from 10 to 14: rolled back to epoch 10",
        "skip connections in the normal cell limited from 8 to 2",
    ]
    assert provenance["epoch_used"] == 10 and genotypes.count_skips(genotype) == 2
    free = dataclasses.replace(limited, max_skips=-1, rollback_growth=0.0)
    genotype, provenance = guard.conclusion(history[9:10], free)
    assert genotypes.count_skips(genotype) == 8
    assert provenance["guard"] == []
