"""What a search decided: tables and sentences, on planted histories."""

import numpy as np
import pytest
import torch

from helpers.darts import genotypes, guard, verdict
from helpers.darts.genotypes import PUBLISHED
from helpers.darts.space import EDGES, KINDS, OPERATIONS
from helpers.darts.supernet import Supernet
from helpers.results import findings_cells

RNG = np.random.default_rng(0)
WANTED = RNG.integers(1, 8, size=(2, 14))  # columns of alpha, a winner for each edge
OTHER = (WANTED % 7) + 1  # another winner everywhere


LAST_TWO = torch.tensor([float(source >= node - 2) for source, node in EDGES])  # of each node


def history(strengths, wanted=WANTED, partial=1, beta=0.0):
    """A record for each epoch, in which the winners of all edges have this alpha, the others 0.

    With partial channels the last two edges of each node have this beta, the others 0.
    """
    net, records = Supernet(4, 3, 2, partial=partial), []
    for strength in strengths:
        with torch.no_grad():
            for kind, columns in zip(KINDS, wanted, strict=True):
                alpha = torch.zeros(14, 8)
                alpha[range(14), columns] = strength + 0.001 * torch.arange(14.0)  # no ties
                getattr(net, f"alpha_{kind}").copy_(alpha)
                if partial > 1:
                    getattr(net, f"beta_{kind}").copy_(beta * LAST_TWO)
        records.append(guard.architecture_record(net, -1))
    return records


def worth_of(wanted, sure=14):
    """Worths in which these columns of alpha win, and later edges are worth more."""
    return {
        kind: {
            "operations": (np.eye(8)[columns][:, 1:] / 10 - 0.01).tolist(),
            "edges": np.arange(14.0).tolist(),
            "leads": [2.1] * sure + [1.9] * (14 - sure),
        }
        for kind, columns in zip(KINDS, wanted, strict=True)
    }


def test_the_edge_table_sets_the_arg_max_beside_perturbation():
    table = verdict.edge_table(history([np.log(2)])[0], worth_of(OTHER, sure=3))
    assert table.kind.tolist() == ["normal"] * 14 + ["reduce"] * 14
    assert table.edge[0] == "cₖ₋₂ → 0" and table.edge[13] == "2 → 3"
    names = np.array(OPERATIONS)
    assert table.operation.tolist() == names[WANTED.ravel() - 1].tolist()
    assert table.perturbation.tolist() == names[OTHER.ravel() - 1].tolist()
    assert table.lead[0] == 2.0 and table.weight[0] == pytest.approx(2 / 9, abs=1e-3)
    assert table.decided.all() and table.loss_rise[0] == 0.09 and table.edge_loss_rise[5] == 5.0
    assert table.sure.tolist() == 2 * ([True] * 3 + [False] * 11)
    assert "edge_weight" not in table
    assert not verdict.edge_table(history([np.log(1.4)])[0], worth_of(OTHER)).decided.any()


def test_none_wins_no_edge_and_partial_channels_add_the_edges_weights():
    none = np.zeros_like(WANTED)
    table = verdict.edge_table(history([9.0], none, partial=2)[0], worth_of(WANTED))
    assert not table.decided.any() and set(table.lead) == {1.0}
    assert table.edge_weight[:2].sum() == pytest.approx(1, abs=1e-6)


def test_the_table_of_edges_reads_without_names_of_code():
    records = history([np.log(1.4)], partial=2)
    words = findings_cells.edge_words(verdict.edge_table(records[0], worth_of(OTHER)))
    assert set(words.cell) == {"normal", "reduction"} and set(words.decided) == {""}
    assert words["loss rise"].iloc[0] == "0.0900"
    assert not any("_" in name for name in words) and "edge weight" in words


def sentence(records, wanted=WANTED, used=None, sure=14):
    used = used or len(records)
    table = verdict.edge_table(records[used - 1], worth_of(wanted, sure))
    return " ".join(verdict.verdict(records, used, table))


def test_a_clear_and_steady_search_that_perturbation_confirms_has_decided():
    counts = np.bincount(WANTED.ravel(), minlength=8)
    chance = (counts**2).sum() / 28
    assert sentence(history(np.linspace(0, 2, 8), partial=2, beta=1.0)) == (
        "The search decided the cell: one operation leads clearly on 28 of 28 edges, and selection "
        "by perturbation is sure of its choice on 28. The two strongest inputs lead clearly at 6 "
        "of 6 nodes. 0 of the cell's 16 edges changed in the last quarter of the epochs. "
        f"Perturbation and arg max agree on 28 of 28 edges ({chance:.1f} by chance). The mean "
        f"entropy is {entropy(2):.2f} nats (undecided: 2.08), the mean weight of none "
        f"{none(2):.2f} (undecided: 0.125)."
    )


def entropy(strength):
    rows = np.zeros((14, 8))
    rows[:, 1] = strength + 0.001 * np.arange(14)
    weights = np.exp(rows) / np.exp(rows).sum(1, keepdims=True)
    return -(weights * np.log(weights)).sum(1).mean()


def none(strength):
    rows = np.zeros((14, 8))
    rows[:, 1] = strength + 0.001 * np.arange(14)
    return (np.exp(rows) / np.exp(rows).sum(1, keepdims=True))[:, 0].mean()


def test_a_search_that_never_left_the_start_has_decided_hardly_anything():
    still = sentence(history([0.01] * 8), OTHER)
    assert "decided hardly anything: one operation leads clearly on 0 of 28 edges" in still
    assert " 0 of the cell's 16 edges changed" in still  # it stays the same and yet says nothing
    assert "arg max agree on 0 of 28 edges" in still


def test_two_signs_of_three_or_a_cell_that_still_moves_decide_a_part():
    steady, undecided = history(np.linspace(0, 2, 8)), history([0.01] * 8)
    assert "decided hardly anything" in sentence(undecided, WANTED)  # one sign of three
    assert "decided a part of the cell" in sentence(steady)  # equally strong inputs
    beta = {"partial": 2, "beta": 1.0}
    steady = history(np.linspace(0, 2, 8), **beta)
    assert "decided the cell" in sentence(steady)
    assert "decided a part of the cell" in sentence(steady, OTHER)
    betas = sentence(history([0.01] * 8, **beta), OTHER)
    assert "decided hardly anything" in betas and "inputs lead clearly at 6 of 6 nodes" in betas
    assert "decided hardly anything" in sentence(undecided, WANTED, sure=6)
    moving = [*history([2.0] * 6, OTHER, **beta), *steady[6:]]
    assert "decided a part of the cell" in sentence(moving)
    assert " 16 of the cell's 16 edges changed in the last quarter" in sentence(moving)
    moved_before = [*history([2.0] * 5, OTHER, **beta), *steady[5:]]
    assert "decided the cell" in sentence(moved_before)
    assert " 0 of the cell's 16 edges changed in the last quarter" in sentence(moved_before)


def test_the_verdict_is_on_the_epoch_that_is_used_and_takes_the_shortest_history():
    later = [*history(np.linspace(0, 2, 8)), *history([0.01] * 4, OTHER)]
    assert sentence(later, used=8) == sentence(later[:8])
    assert "decided the cell" in sentence(history([2.0], partial=2, beta=1.0))


def test_chance_agreement_counts_how_often_both_prefer_the_same_operation():
    """Two that prefer one operation everywhere agree everywhere, and by chance too."""
    alike = np.full_like(WANTED, 4)
    text = sentence(history([0.01] * 4, alike), alike)
    assert "hardly anything" in text and "on 28 of 28 edges (28.0 by chance)" in text


def test_what_guard_and_perturbation_changed_is_counted():
    skips = np.full_like(WANTED, 3)
    records = history([2.0, 2.0], skips)
    cell = guard.genotype_of(records[-1], 2)
    provenance = {"guard": ["skip connections in the normal cell limited from 8 to 2"]}
    text = verdict.changes(records, provenance, cell, cell)
    limited = genotypes.new_edges(guard.genotype_of(records[-1], -1), cell)
    assert limited >= 6
    assert text == (
        f"The guard replaced {limited} of the cell's 16 edges: skip connections in the normal cell "
        "limited from 8 to 2. Selection by perturbation would replace 0 of the cell's 16 edges."
    )
    free = guard.genotype_of(records[-1], -1)
    text = verdict.changes(records, {"guard": []}, free, PUBLISHED["DARTS_V1"])
    limit = "The guard's limit of skip connections changed nothing; no eigenvalue was measured. "
    assert text.startswith(limit)
    measured = [record | {"eigenvalue": 1.0} for record in records]
    text = verdict.changes(measured, {"guard": []}, free, PUBLISHED["DARTS_V1"])
    other = genotypes.new_edges(free, PUBLISHED["DARTS_V1"])
    assert other
    assert text == (
        f"The guard changed nothing. Selection by perturbation would replace {other} of the cell's "
        "16 edges."
    )
