"""Cells: valid, derived, random, in files, found by name."""

import math
import random
from collections import Counter

import pytest
import torch

from helpers.core import files
from helpers.core.errors import UserError
from helpers.darts import genotypes
from helpers.darts.genotypes import PUBLISHED, Genotype, count_skips, derive_genotype
from helpers.darts.space import EDGES, OPS, GenotypeError, primitives
from helpers.models.record import Model

SEP, DIL, SKIP, MAX = "sep_conv_3x3", "dil_conv_3x3", "skip_connect", "max_pool_3x3"
CELL = ((SEP, 0), (SEP, 1), (SEP, 0), (SKIP, 2), (MAX, 1), (DIL, 3), (SKIP, 0), (DIL, 4))


def cell_with(row, edge):
    return tuple(edge if i == row else old for i, old in enumerate(CELL))


def test_the_order_of_a_nodes_edges_does_not_matter():
    swapped = tuple(CELL[i ^ 1] for i in range(8))
    one, other = Genotype(CELL, CELL), Genotype(swapped, swapped)
    assert one == other and len({one, other}) == 1
    assert genotypes.to_json(one) == genotypes.to_json(other)


@pytest.mark.parametrize(
    ("cell", "culprits"),
    [
        (cell_with(3, ("a", 2)), ("reduce[3]", "('a', 2)")),
        (cell_with(0, ("none", 0)), ("reduce[0]", "('none', 0)")),
        (cell_with(7, (SEP, -1)), ("reduce[7]",)),
        (cell_with(7, (SEP, True)), ("reduce[7]", "True")),
        (cell_with(1, SEP), ("reduce[1]",)),
        (cell_with(1, (DIL, 0)), ("reduce", "node 2")),
        (CELL[:7], ("reduce",)),
        ("sep", ("reduce", "'sep'")),
    ],
)
def test_a_cell_outside_the_search_space_is_refused_with_the_edge(cell, culprits):
    with pytest.raises(GenotypeError) as caught:
        Genotype(CELL, cell)
    assert all(culprit in str(caught.value) for culprit in culprits)


def plain_derivation(alpha, beta=None):
    """Straight from the rule, in Python floats, as the oracle."""
    cell, row = [], 0
    for node in range(4):
        candidates = []
        total = sum(math.exp(b) for b in beta[row : row + node + 2]) if beta else 1.0
        for source in range(node + 2):
            exps = [math.exp(a) for a in alpha[row]]
            share = math.exp(beta[row]) / total if beta else 1.0
            weights = [share * e / sum(exps) for e in exps[1:]]
            best = max(range(7), key=weights.__getitem__)
            candidates.append((-weights[best], source, [*OPS][best]))
            row += 1
        cell += sorted((source, op) for _, source, op in sorted(candidates)[:2])
    return tuple((op, source) for source, op in cell)


def test_ties_go_to_the_lower_index_and_alpha_of_other_operations_is_refused():
    assert (
        derive_genotype(torch.zeros(14, 8), torch.zeros(14, 8)).normal == ((MAX, 0), (MAX, 1)) * 4
    )
    with pytest.raises(GenotypeError, match="9 columns"):
        derive_genotype(torch.zeros(14, 9), torch.zeros(14, 9))


@pytest.mark.parametrize("seed", range(20))
def test_the_derivation_equals_the_rule_written_out(seed):
    draw = random.Random(seed)
    normal, reduce = ([[draw.gauss(0, 2) for _ in range(8)] for _ in range(14)] for _ in "ab")
    beta = [draw.gauss(0, 2) for _ in range(14)]
    genotype = derive_genotype(normal, reduce)
    assert genotype.normal == plain_derivation(normal)
    assert genotype.reduce == plain_derivation(reduce)
    with_beta = derive_genotype(normal, reduce, beta_normal=beta)
    assert with_beta.normal == plain_derivation(normal, beta)
    assert with_beta.reduce == genotype.reduce


def test_the_skip_limit_removes_the_weakest_skip_of_the_normal_cell_first():
    alpha = torch.zeros(14, 8)
    for i, (operation, source) in enumerate(PUBLISHED["DARTS_V1"].normal):
        alpha[EDGES.index((source, 2 + i // 2)), primitives().index(operation)] = 5.0
    # skips: 0 to 3, 0 to 4, 2 to 5
    skip = primitives().index(SKIP)
    alpha[EDGES.index((0, 3)), skip] = 4.0  # the weakest
    alpha[EDGES.index((2, 5)), skip] = 4.5
    dil = primitives().index(DIL)
    alpha[EDGES.index((0, 3)), dil] = 3.0  # what that edge becomes
    assert count_skips(derive_genotype(alpha, alpha)) == 3
    two = derive_genotype(alpha, alpha, max_skips=2)
    assert two.normal[2:4] == ((DIL, 0), (SEP, 1))
    assert two.edges("normal")[4:] == PUBLISHED["DARTS_V1"].edges("normal")[4:]
    assert two.reduce == PUBLISHED["DARTS_V1"].normal  # the reduction cell is left alone
    one = derive_genotype(alpha, alpha, max_skips=1)
    assert [op for op, _ in one.normal].index(SKIP) == 4
    assert count_skips(one) == 1
    assert derive_genotype(alpha, alpha, max_skips=3).normal == PUBLISHED["DARTS_V1"].normal


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 8])
def test_the_skip_limit_holds_even_when_skips_dominate_every_edge(limit):
    alpha = torch.randn(14, 8, generator=torch.Generator().manual_seed(limit))
    alpha[:, primitives().index(SKIP)] += 900.0  # every other softmax weight underflows to 0
    genotype = derive_genotype(alpha, alpha, max_skips=limit)
    assert count_skips(genotype) <= limit
    assert [operation for operation, _ in genotype.reduce] == [SKIP] * 8


def test_random_cells_use_every_operation_and_every_input_pair_alike():
    operations, pairs = Counter(), Counter()
    draws = [genotypes.random_genotype(seed) for seed in range(1500)]
    for genotype in draws:
        for kind in ("normal", "reduce"):
            edges = genotype.edges(kind)
            operations.update((kind, row, op) for row, (op, *_) in enumerate(edges))
            pairs.update(
                (kind, edges[row][2], edges[row][1], edges[row + 1][1]) for row in (0, 2, 4, 6)
            )
    assert len(set(draws)) == 1500
    assert len(operations) == 2 * 8 * 7
    assert len(pairs) == 2 * (1 + 3 + 6 + 10)
    # Five standard deviations of a binomial count.
    for count, p in [(c, 1 / 7) for c in operations.values()] + [
        (c, 1 / math.comb(key[1], 2)) for key, c in pairs.items()
    ]:
        assert abs(count - 1500 * p) <= 5 * math.sqrt(1500 * p * (1 - p))


def test_a_seed_always_draws_the_same_genotype():
    # Pinned, so that another Python or a rewrite cannot silently change published baselines.
    pairs = [f"{operation}.{source}" for operation, source in genotypes.random_genotype(0).normal]
    assert " ".join(pairs) == (
        "dil_conv_3x3.0 sep_conv_5x5.1 dil_conv_5x5.0 sep_conv_5x5.1 skip_connect.1 "
        "avg_pool_3x3.3 max_pool_3x3.2 dil_conv_3x3.3"
    )


V2 = genotypes.to_json(PUBLISHED["DARTS_V2"])
WRONG_EDGE = V2 | {"normal": [*V2["normal"][:4], [["sep_conv_3x3"], 0], *V2["normal"][5:]]}


@pytest.mark.parametrize(
    ("content", "culprit"),
    [
        (("DRATS_V2",), "DARTS_V2"),
        (("x/y.json",), "x/y.json"),
        ((__file__,), __file__),  # no .json file
        ((100 * "x" + ".json",), 100 * "x"),
        ((), "GENOTYPES"),
        (("DARTS_V2", "DARTS_V2"), "darts_v2"),
        ({"genotype": {"normal": V2["normal"]}}, "reduce"),
        ({"genotype": V2 | {"extra": 1}}, "extra"),
        ({"genotype": WRONG_EDGE}, "normal[4]"),
        ({"provenance": {}}, "provenance"),
        ({"genotype": {}, "provenance": 1}, "provenance"),
        ([], "genotype"),
    ],
)
def test_a_wrong_name_or_content_of_a_file_is_refused_with_the_culprit(tmp_path, content, culprit):
    path = tmp_path / "bad.json"
    files.save_json(path, content)
    names = content if isinstance(content, tuple) else [str(path)]
    with pytest.raises(UserError) as caught:
        genotypes.named_cells(names, tmp_path)
    assert culprit in str(caught.value)
    assert isinstance(content, tuple) or str(path) in str(caught.value)


def test_published_random_and_own_cells_are_found_by_name(tmp_path):
    cell = genotypes.random_genotype(9)
    own = tmp_path / "My Cell.json"
    files.save_json(own, genotypes.described(cell, {"method": "by hand", "seconds": -1}))
    cells = genotypes.named_cells(("PC_DARTS_IMAGENET", "random", str(own)), tmp_path, 2)
    random = [Model("random_cell", number=0), Model("random_cell", number=1)]
    assert [c.model for c in cells] == [Model("pc_darts_imagenet"), *random, Model("cell_my_cell")]
    assert cells[2].genotype == genotypes.random_genotype(1) and cells[3].genotype == cell
    assert cells[3].search_seconds is None  # unknown, not negative


def test_the_searched_cell_is_found_with_its_cost_and_skipped_if_it_is_missing(tmp_path, capsys):
    about = {"method": "arg max", "seconds": 7.0, "device": "a CPU"}
    files.save_json(tmp_path / "searched.json", genotypes.described(PUBLISHED["DARTS_V2"], about))
    cells = genotypes.named_cells(("searched", "DARTS_V2"), tmp_path)
    assert [c.model.slug for c in cells] == ["darts_searched", "darts_v2"]
    assert cells[0].search_seconds == 7.0
    (tmp_path / "searched.json").unlink()
    (cell,) = genotypes.named_cells(("searched", "DARTS_V2"), tmp_path)
    assert cell.model.slug == "darts_v2" and "04_darts_search" in capsys.readouterr().out
    with pytest.raises(genotypes.GenotypeError):
        genotypes.named_cells(("searched",), tmp_path)
