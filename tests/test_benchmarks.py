"""The benchmarks run with small sizes."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.darts import verdict
from helpers.darts.architect import Architect
from helpers.darts.settings import SearchSettings
from helpers.darts.space import KINDS
from tests.benchmarks import planted, search_null


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


def test_the_search_finds_what_was_planted_and_nothing_by_permuted_labels():
    found, null = (planted.search("texture", 1, 1, 0, permuted) for permuted in (False, True))
    assert found["hit"] and not null["decided"]


def test_searches_are_judged_by_the_null_search_of_their_fold_and_by_those_of_others():
    leads = {(0, False): [1.0, 3.0, 5.0], (0, True): [2.0, 4.0], (1, True): [0.5, 3.0]}
    rows = [(fold, 0, p, 1.5, json.dumps(values)) for (fold, p), values in leads.items()]
    table = pd.DataFrame(rows, columns=[*search_null.KEY, "noise_limit", "leads"])
    found = search_null.counts(table)
    assert found.above_noise.tolist() == [2, 2, 1]
    assert found.above_own.tolist()[0] == 1 and found.above_own[1:].isna().all()
    assert found.above_others.tolist() == [1, 1, 0]
    assert found.largest.tolist() == [5, 4, 3]


def test_the_limit_of_noise_is_a_lead_that_few_searches_on_noise_reach_anywhere():
    """The same noise through the package's own step of alpha, with a net that has nothing else."""

    zeros = {f"alpha_{kind}": np.zeros((14, 8)).tolist() for kind in KINDS}
    settings = SearchSettings(epochs=4, batch_size=10, alpha_lr=0.03)

    class Noise(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for kind in KINDS:
                self.register_parameter(f"alpha_{kind}", torch.nn.Parameter(torch.zeros(14, 8)))

        def architecture_parameters(self):
            return [self.alpha_normal, self.alpha_reduce]

        def weight_parameters(self):
            return []

        def forward(self, pulls):  # (B, 28, 8)
            return (torch.cat(self.architecture_parameters()) * pulls).sum(dim=(1, 2))

    limit, largest = planted.noise_limit([zeros | {"images": 100}], settings), []
    for seed in range(40):
        torch.manual_seed(seed)
        net, pulls = Noise(), torch.randn(100, 28, 8)  # one for each image
        step = Architect(net, lambda out, _: out.mean(), lr=0.03, weight_decay=0.0).step
        for _ in range(4):
            for rows in torch.randperm(100).split(10):
                step((pulls[rows], torch.zeros(10)))
        record = {f"alpha_{k}": getattr(net, f"alpha_{k}").tolist() for k in KINDS}
        found = verdict.choices(record | {f"beta_{kind}": None for kind in KINDS})
        largest.append(max(choice.lead for choice in found))
    assert np.mean(np.array(largest) > limit) <= 0.2  # and not too high:
    assert np.quantile(largest, 0.95) == pytest.approx(limit, rel=0.3)
