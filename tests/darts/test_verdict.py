"""What a search decided, against leads that are written out and searches on noise."""

import numpy as np
import pytest

from helpers.darts import search
from helpers.darts.space import KINDS, OPS


def record_of(strength=0.0, beta=None):
    """An epoch in which operation e % 7 leads on edge e, the more the later the edge."""
    alpha = np.zeros((14, 8))
    for edge in range(14):
        alpha[edge, 1 + edge % 7] = strength * (1 + edge / 10)
    record = {f"alpha_{kind}": alpha.tolist() for kind in KINDS}
    return record | {f"beta_{kind}": beta for kind in KINDS} | {"images": 100}


def test_choices_are_the_operations_of_kept_edges_and_the_inputs_of_nodes_that_have_three():
    found = search.choices(record_of(2.0))
    assert len(found) == 2 * (8 + 3)
    assert found[: len(found) // 2] == [c._replace(kind="normal") for c in found[len(found) // 2 :]]
    normal = {choice.edge: choice for choice in found[:11] if choice.edge is not None}
    assert [*normal] == [0, 1, 3, 4, 7, 8, 12, 13]  # the strongest two of each node
    assert normal[4].chosen == [*OPS][4] and normal[4].lead == pytest.approx(2.0 * 1.4)
    inputs = [choice for choice in found[:11] if choice.edge is None]
    assert [choice.chosen for choice in inputs] == ["1, 2", "2, 3", "3, 4"]
    kept, left = (np.exp(a) / (np.exp(a) + 7) for a in (2.0 * 1.3, 2.0 * 1.2))  # edges 3, 2
    assert inputs[0].lead == pytest.approx(np.log(kept / left))


def test_beta_decides_the_inputs_and_no_operation():
    beta = [0.0] * 14
    beta[2] = 3.0  # from state 0 to the second node
    plain, found = search.choices(record_of(0.0)), search.choices(record_of(0.0, beta))
    assert [c.lead for c in plain] == pytest.approx([0.0] * 22, abs=1e-12)
    inputs = [choice for choice in found if choice.edge is None]
    assert inputs[0].chosen == "0, 1" and inputs[0].lead == pytest.approx(0.0, abs=1e-12)
    assert {choice.lead for choice in found if choice.edge is not None} == {0.0}
    beta[3] = 1.0
    assert search.choices(record_of(0.0, beta))[4].lead == pytest.approx(1.0)


def test_a_choice_counts_if_it_leads_by_more_than_all_of_a_null_search():
    history = [record_of(), record_of()]
    assert search.limit_of(history) == pytest.approx(0.0, abs=1e-12)
    history[-1]["alpha_reduce"][13][2] = 9.0
    assert search.limit_of(history) == pytest.approx(9.0)
    assert search.limit_of(history[::-1]) == pytest.approx(0.0, abs=1e-12)  # the last epoch's


@pytest.mark.parametrize(
    ("edges", "count", "said"),
    [
        (0, 0, "nothing decided"),
        (1, 1, "next to nothing decided"),
        (6, 6, "a part of the cells decided"),
        (14, 16, "the cells decided"),
    ],
)
def test_a_verdict_counts_the_choices_that_lead_by_more_than_the_limit(edges, count, said):
    record = record_of()
    for edge in (0, 1, 2, 3, 5, 6, 4, 7, 8, 9, 10, 11, 12, 13)[:edges]:
        for kind in KINDS if edges == 14 else KINDS[:1]:
            record[f"alpha_{kind}"][edge][4] = 9.0
    sure = search.decided([record], 5.0)
    assert [choice[:3] for choice in sure[:1]] == [("normal", 0, "sep_conv_3x3")][:edges]
    found = search.finding([record], 5.0)
    assert (found.estimate, found.verdict) == (count, said) and "of 22" in found.what
