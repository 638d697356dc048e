"""Flipped labels come first, and a person's edits are kept."""

import numpy as np
import pandas as pd
from scipy import special

from helpers.core import files, metrics
from helpers.decisions import label_audit
from helpers.models.record import Model
from helpers.results.predictions import Scored


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
    scored, split, wrong = made_up()
    audited = label_audit.audit(scored, split)
    assert len(wrong & set(audited.id[:20])) >= 18
    assert len(wrong & set(audited.id[audited.is_suspect])) >= 19
    assert {"probability", "group"} <= set(audited) and "split" not in audited
    hidden = Scored(Model("m"), scored.val[:300], scored.val[300:])
    assert set(label_audit.audit(hidden, split).id) == set(scored.val.id[:300])


def test_the_confident_class_by_hand():
    labels = [0, 0, 0, 1, 1, 1]
    bad = np.array([0.1, 0.2, 0.9, 0.3, 0.7, 0.8])
    # thresholds: good (.9 + .8 + .1) / 3 = .6, bad (.3 + .7 + .8) / 3 = .6
    found = label_audit.confident_class(labels, np.stack([1 - bad, bad], 1))
    assert found.tolist() == [0, 0, 1, 0, 1, 1]
    halves = [[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [0.4, 0.6]]
    assert label_audit.confident_class([0, 1, 0, 1], halves).tolist() == [0, 1, -1, -1]
    both = label_audit.confident_class([0, 1], [[0.4, 0.6], [0.7, 0.3]])  # a model that is wrong
    assert both.tolist() == [1, 0]


def test_a_list_to_check_has_fifty_rows_or_all_suspects_but_none_that_a_review_has_judged(tmp_path):
    scored, split, _ = made_up()
    audited = label_audit.audit(scored, split)

    def written(audited, name):
        label_audit.write_to_check(tmp_path / name, audited)
        return files.load_csv(tmp_path / name, label_audit.TO_CHECK)

    table = written(audited, "some")
    assert table.columns.tolist() == ["id", "path", "label", "reason"]
    assert table.id.tolist() == audited.id[:50].tolist()
    assert table.reason.nunique() == 50 and table.reason[0].startswith("labelled ")
    assert len(written(audited.assign(is_suspect=True), "all")) == 400
    judged = audited[:3].assign(is_suspect=True, review=pd.array([pd.NA, 0, 1], dtype="Int64"))
    assert written(judged, "judged").id.tolist() == [audited.id[0]]


def test_suspect_labels_are_set_against_the_base_rate_of_doubts():
    audited = pd.DataFrame({"is_suspect": [True] * 10 + [False] * 90, "probability": 0.0})
    audited.loc[[0, 1, 2, 3, 50], "probability"] = [1 / 3, 2 / 3, 1 / 3, 2 / 3, 1 / 3]
    suspect, doubted, of_all = label_audit.doubts(audited)
    assert (suspect.estimate, doubted.estimate, of_all.estimate) == (0.1, 0.4, 0.05)
    assert (doubted.low, doubted.high) == metrics.exact_interval(4, 10)[1:]
    assert doubted.verdict == "differs from all labels"
    grouped = label_audit.doubts(audited.assign(group=np.arange(100) // 4))  # four in one group
    assert grouped[1].verdict == "no difference seen"
    assert label_audit.doubts(audited.drop(columns="probability")) == [suspect]


def test_a_list_of_labels_that_a_person_may_have_edited_is_kept(tmp_path):
    scored, split, _ = made_up()
    audited, path = label_audit.audit(scored, split), tmp_path / "labels.csv"
    assert f"LABELS_CSV={path}" in label_audit.write_to_check(path, audited)
    written = path.read_bytes()
    assert f"LABELS_CSV={path}" in label_audit.write_to_check(path, audited)  # nothing has changed
    path.write_bytes(edited := written.replace(b",1,", b",0,", 1))
    assert "is kept" in label_audit.write_to_check(path, audited) and path.read_bytes() == edited
