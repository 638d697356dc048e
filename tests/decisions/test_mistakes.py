"""The worst mistakes and flipped labels come first, and a person's edits are kept."""

import numpy as np
import pandas as pd
import pytest
from scipy import special

from helpers.core import files, metrics
from helpers.decisions import mistakes
from helpers.decisions.operating_point import Bins
from helpers.models.record import Model
from helpers.results.predictions import Scored
from tests.decisions.test_decision import scored


def test_escapes_come_first_and_the_worst_of_each_kind_above():
    model = scored(test=([1, 1, 1, 1, 0, 0, 0, 0], [0.3, 0.1, 0.5, 0.9, 0.5, 0.8, 0.7, 0.2]))
    split = model.test.drop(columns="defect_score").assign(path="x.png", cell_type="mono")
    wrong = mistakes.mistakes(model, split, Bins(pass_below=0.5, reject_from=0.7))
    assert wrong.id.tolist() == ["1", "0", "5", "6"]  # between the thresholds a person decides
    assert wrong.kind.tolist() == ["escape"] * 2 + ["overkill"] * 2
    assert wrong.distance.tolist() == pytest.approx([0.4, 0.2, 0.1, 0])
    assert {"path", "label", "defect_score", "cell_type"} <= set(wrong)


def made_up(n=400, flipped=20, separation=6.0, seed=0):
    """Held-out scores of a good model, and labels of which some were flipped afterwards."""
    rng = np.random.default_rng(seed)
    truth = (np.arange(n) % 10 < 3).astype(int)
    scores = special.expit(rng.normal(size=n) + separation * (truth - 0.5))
    labels, wrong = truth.copy(), rng.permutation(n)[:flipped]
    labels[wrong] = 1 - labels[wrong]
    ids = np.array([f"{i:03d}" for i in range(n)])
    val = pd.DataFrame({"id": ids, "label": pd.array(labels, "Int64"), "defect_score": scores})
    split = pd.DataFrame({"id": ids, "path": ids + ".png", "label": val.label, "split": "val"})
    split["probability"] = np.where(np.isin(np.arange(n), wrong[::2]), 0.3333, truth)
    split["group"] = [f"lot{i // 40}" for i in range(n)]
    return Scored(Model("m"), val, val[:0]), split, set(ids[wrong])


def test_flipped_labels_come_first_and_those_of_test_parts_not_at_all():
    model, split, wrong = made_up()
    audited = mistakes.audit(model, split)
    assert len(wrong & set(audited.id[:20])) >= 18
    assert len(wrong & set(audited.id[audited.is_suspect])) >= 19
    assert {"probability", "group"} <= set(audited) and "split" not in audited
    hidden = Scored(Model("m"), model.val[:300], model.val[300:])
    assert set(mistakes.audit(hidden, split).id) == set(model.val.id[:300])


def test_the_confident_class_by_hand():
    labels = [0, 0, 0, 1, 1, 1]
    bad = np.array([0.1, 0.2, 0.9, 0.3, 0.7, 0.8])
    # thresholds: good (.9 + .8 + .1) / 3 = .6, bad (.3 + .7 + .8) / 3 = .6
    found = mistakes.confident_class(labels, np.stack([1 - bad, bad], 1))
    assert found.tolist() == [0, 0, 1, 0, 1, 1]
    halves = [[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [0.4, 0.6]]
    assert mistakes.confident_class([0, 1, 0, 1], halves).tolist() == [0, 1, -1, -1]
    both = mistakes.confident_class([0, 1], [[0.4, 0.6], [0.7, 0.3]])  # a model that is wrong
    assert both.tolist() == [1, 0]


def test_a_list_to_check_has_fifty_rows_or_all_suspects_but_none_that_a_review_has_judged(tmp_path):
    audited = mistakes.audit(*made_up()[:2])

    def written(audited, name):
        assert f"LABELS_CSV={tmp_path / name}" in mistakes.write_to_check(tmp_path / name, audited)
        return files.load_csv(tmp_path / name, mistakes.TO_CHECK)

    table = written(audited, "some")
    assert table.columns.tolist() == ["id", "path", "label", "reason"]
    assert table.id.tolist() == audited.id[:50].tolist() and table.reason.nunique() == 50
    assert len(written(audited.assign(is_suspect=True), "all")) == 400
    judged = audited[:3].assign(is_suspect=True, review=pd.array([pd.NA, 0, 1], dtype="Int64"))
    assert written(judged, "judged").id.tolist() == [audited.id[0]]
    written(audited, "some")  # nothing has changed
    edited = (path := tmp_path / "some").read_bytes().replace(b",1,", b",0,", 1)
    path.write_bytes(edited)
    assert "is kept" in mistakes.write_to_check(path, audited) and path.read_bytes() == edited


def test_suspect_labels_are_set_against_the_base_rate_of_doubts():
    audited = pd.DataFrame({"is_suspect": [True] * 10 + [False] * 90, "probability": 0.0})
    audited.loc[[0, 1, 2, 3, 50], "probability"] = [1 / 3, 2 / 3, 1 / 3, 2 / 3, 1 / 3]
    suspect, doubted, of_all = mistakes.doubts(audited)
    assert (suspect.estimate, doubted.estimate, of_all.estimate) == (0.1, 0.4, 0.05)
    assert (doubted.low, doubted.high) == metrics.exact_interval(4, 10)[1:]
    assert doubted.verdict == "differs from all labels"
    grouped = mistakes.doubts(audited.assign(group=np.arange(100) // 4))  # four in one group
    assert grouped[1].verdict == "no difference seen"
    assert mistakes.doubts(audited.drop(columns="probability")) == [suspect]
