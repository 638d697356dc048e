"""The benchmarks run with small sizes."""

import json

import pandas as pd

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
