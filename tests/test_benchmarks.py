"""The benchmarks run with small sizes."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from helpers.darts.architect import Architect
from tests.benchmarks import planted, search_null, search_step, tiles
from tests.toy_search import TRAIN, VAL, error, flat, plain_of, search


def test_the_table_of_tiles_has_a_row_for_each_model_size_and_kind_of_tiles(tmp_path):
    table = tmp_path / "tiles.csv"
    assert tiles.main(["--small", "--chips", "12", "--table", str(table)]) == 0
    found = pd.read_csv(table)
    assert found.model.tolist() == ["LL", "PatchCore", "LL"]
    assert found.tiles.tolist() == [0, 0, 2] and (found.images == 6).all()
    assert found[["auc", "hits", "chance"]].apply(lambda c: c.between(0, 1)).all(axis=None)


def test_the_crumb_of_a_drawn_chip_is_small_and_all_that_makes_it_bad():
    good, mask = tiles.chip(3, False, tiles.PIXELS)
    bad, _ = tiles.chip(3, True, tiles.PIXELS)
    rows, columns = np.nonzero(bad != good)
    assert 100 < mask.sum() < 24**2
    assert max(np.ptp(rows), np.ptp(columns)) < 60  # with its blur
    assert not mask[bad == good].any()


def test_the_table_of_planted_problems_continues_after_its_last_row(tmp_path, monkeypatch, capsys):
    searched = []

    def search(*key):
        searched.append(key)
        row = dict(zip(planted.KEY, key, strict=True))
        return row | {"found": "", "decided": int(not key[-1]), "hit": not key[-1]}

    monkeypatch.setattr(planted, "search", search)
    for seeds in ("1", "2"):
        planted.main(["--seeds", seeds, "--table", str(tmp_path / "planted.csv")])
    assert len(searched) == len({*searched}) == 2 * len(planted.METHODS) * len(planted.PROBLEMS) * 2
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split()[1:4] == ["2", "of", "2"] and "0 of 2" in last


def test_the_plain_step_that_the_search_is_timed_against_has_the_same_gradient_of_alpha():
    net, options = search()[0], {"lr": 0.03, "weight_decay": 0.1}
    plain = plain_of(net)
    search_step.plain_second_order(plain, VAL, TRAIN, torch.optim.SGD(plain.weights(), **options))
    sgd = torch.optim.SGD(net.weight_parameters(), **options)
    expected = Architect(net, F.cross_entropy, order=2).gradient(VAL, TRAIN, sgd)[1]
    assert error(flat([alpha.grad for alpha in plain.alphas()]), flat(expected)) < 1e-9


@pytest.mark.parametrize("kind", search_step.KINDS)
def test_a_step_of_each_kind_is_timed(kind, monkeypatch):
    monkeypatch.setattr(search_step.allocator, "keep_freed_memory", lambda: None)
    assert search_step.seconds(kind, 2, channels=4, layers=3, batch=2, steps=1) > 0


def test_searches_are_judged_by_the_null_search_of_their_fold_and_by_those_of_others():
    leads = {(0, False): [1.0, 3.0, 5.0], (0, True): [2.0, 4.0], (1, True): [0.5, 3.0]}
    rows = [(fold, 0, p, 1.5, json.dumps(values)) for (fold, p), values in leads.items()]
    table = pd.DataFrame(rows, columns=[*search_null.KEY, "noise_limit", "leads"])
    found = search_null.counts(table)
    assert found.above_noise.tolist() == [2, 2, 1]
    assert found.above_own.tolist()[0] == 1 and found.above_own[1:].isna().all()
    assert found.above_others.tolist() == [1, 1, 0]
    assert found.largest.tolist() == [5, 4, 3]
