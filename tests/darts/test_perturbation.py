"""Selection by perturbation against the plain network with the operation or edge cut out."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from helpers.darts import genotypes, perturbation, search
from helpers.darts.perturbation import without, worths
from helpers.darts.settings import SearchSettings
from helpers.darts.space import KINDS, OPERATIONS, PRIMITIVES
from helpers.darts.supernet import Supernet
from helpers.training.batches import to_float
from tests.darts.test_search import TINY
from tests.toy_search import VAL, plain_of
from tests.toy_search import search as toy_search

IMAGES, TARGETS = VAL


def cut(plain, kind, edge, operations):
    """Let operations of an edge give zeros in all cells of a kind."""
    for cell in plain.cells:
        if cell.reduction == (kind == "reduce"):
            for operation in operations:
                module = cell.edges[edge][operation]
                module.register_forward_hook(lambda _module, _inputs, out: torch.zeros_like(out))
    return plain


def logits(net, changed):
    with torch.no_grad():
        return functional_call(net, changed, (IMAGES,))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("partial", [1, 2])
def test_without_an_operation_the_network_is_the_plain_one_with_the_operation_cut_out(
    kind, partial
):
    net, _ = toy_search(nodes=2, partial=partial)
    whole = logits(net, {})
    for edge, operation in ((0, 3), (1, 1), (3, 4), (4, 7)):
        found = logits(net, without(net, kind, edge, operation))
        expected = cut(plain_of(net), kind, edge, [operation])(IMAGES)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
        assert not torch.allclose(found, whole, rtol=1e-4)
    assert torch.equal(logits(net, {}), whole)  # nothing of it stays


@pytest.mark.parametrize("kind", KINDS)
def test_without_an_edge_all_its_operations_are_cut_out(kind):
    net, _ = toy_search(nodes=2)
    for edge in (0, 3):
        expected = cut(plain_of(net), kind, edge, range(8))(IMAGES)
        torch.testing.assert_close(
            logits(net, without(net, kind, edge)), expected, rtol=1e-9, atol=1e-10
        )


def test_with_edge_normalisation_the_other_edges_of_the_node_take_over_its_weight():
    net, _ = toy_search(nodes=2, partial=2)
    plain = plain_of(net)
    with torch.no_grad():
        plain.beta_normal[3] = -1e4  # the rest of the channels, which passes by, is cut too
    changed = without(net, "normal", 3)
    torch.testing.assert_close(logits(net, changed), plain(IMAGES), rtol=1e-9, atol=1e-10)
    assert set(changed) == {"alpha_normal", "beta_normal"}


@pytest.mark.parametrize("partial", [1, 2])
def test_worths_are_the_rises_of_the_loss_and_leave_no_trace(partial):
    net = Supernet(4, 3, 2, nodes=1, partial=partial)
    bits = {name: value.clone() for name, value in net.state_dict().items()}
    images = IMAGES.float()
    worth = worths(net, (images, TARGETS))
    assert all(torch.equal(value, bits[name]) for name, value in net.state_dict().items())

    def rise(changed):
        return F.cross_entropy(functional_call(net, changed, (images,)), TARGETS).item() - whole

    def losses(changed):
        logits = functional_call(net, changed, (images,))
        return F.cross_entropy(logits, TARGETS, reduction="none")

    whole = F.cross_entropy(net(images), TARGETS).item()
    for kind in KINDS:
        rows = [[rise(without(net, kind, e, o)) for o in range(1, 8)] for e in range(2)]
        assert worth[kind]["operations"] == [pytest.approx(row, abs=1e-6) for row in rows]
        edges = [rise(without(net, kind, e)) for e in range(2)]
        assert worth[kind]["edges"] == pytest.approx(edges, abs=1e-6)
        with torch.no_grad():
            each = [losses(without(net, kind, 1, o)).numpy() for o in range(1, 8)]
        second, best = sorted(each, key=np.mean)[-2:]
        assert worth[kind]["leads"][1] == pytest.approx(stats.ttest_rel(best, second)[0], rel=1e-3)


class NoDoubles(TorchFunctionMode):
    """Act as a device without doubles: only what is on the CPU, moved or made there, is cast."""

    def __init__(self):
        super().__init__()
        self.on_cpu = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        assert func is not torch.Tensor.double or any(args[0] is own for own in self.on_cpu)
        found = func(*args, **(kwargs or {}))
        if func in (torch.Tensor.cpu, torch.as_tensor):
            self.on_cpu.append(found)
        return found


def test_a_device_without_doubles_can_search_and_select():
    net, small, images = Supernet(4, 3, 2), Supernet(4, 3, 2, nodes=1), IMAGES.float()
    with NoDoubles():
        record = search.architecture(net, 2)
        worth = worths(small, (images, TARGETS))
    assert record["entropy_normal"] == pytest.approx(np.log(8), abs=1e-3)
    assert np.isfinite(worth["normal"]["operations"]).all()


def test_perturbation_finds_the_operation_that_works_where_alpha_prefers_an_idle_one():
    net = Supernet(4, 3, 2, nodes=1)
    with torch.no_grad():
        for alpha in net.architecture_parameters():
            alpha.zero_()
            alpha[:, 1:4] = -30.0  # pools and skips take no part
            alpha[:, PRIMITIVES.index("dil_conv_5x5")] = 2.0  # preferred, but it gives zeros
        for cell in net.cells:
            for edges in cell.states:
                for idle in (edges.sep5[1], edges.dil3, edges.dil5):
                    idle.pointwise.weight.zero_()
        images = IMAGES.float()
        worth = worths(net, (images, net(images).argmax(dim=1)))
    best = np.array(worth["normal"]["operations"]).argmax(axis=1)
    assert [OPERATIONS[column] for column in best] == ["sep_conv_3x3"] * 2


def test_a_cell_is_chosen_by_the_images_of_alphas_half_and_their_labels(cache, table, monkeypatch):
    seen, settings = [], SearchSettings(**TINY, perturbation_images=12)
    net = search.make_supernet(settings, cache)

    def drawn(other, batch):
        assert torch.equal(other.alpha_normal, net.alpha_normal)
        seen.append(batch)
        rng = np.random.default_rng(0)
        sizes = {"operations": (14, 7), "edges": (14,), "leads": (14,)}
        return {k: {name: rng.normal(size=s).tolist() for name, s in sizes.items()} for k in KINDS}

    monkeypatch.setattr(perturbation, "worths", drawn)
    chosen = perturbation.select_by_perturbation(net.state_dict(), cache, table, settings)
    part = search.halves(table, settings.seed)[1].head(12)
    ((images, targets),) = seen
    expected = to_float(torch.from_numpy(cache.take(cache.rows(part.id))), images.device)
    torch.testing.assert_close(images, (expected - 0.5) / 0.25, rtol=0, atol=1e-6)
    assert targets.tolist() == part.label.tolist() and part.label.nunique() == 2
    edges = [
        genotypes.strongest_edges(own["operations"], own["edges"]) for own in chosen.worth.values()
    ]
    assert chosen.genotype == genotypes.Genotype(*edges) and chosen.images == 12


RNG = np.random.default_rng(0)
WANTED = RNG.integers(1, 8, size=(2, 14))  # columns of alpha, a winner for each edge
OTHER = (WANTED % 7) + 1  # another winner everywhere


def history(strengths, wanted=WANTED):
    """A record for each epoch, in which the winners of all edges have this alpha, the others 0."""
    net, records = Supernet(4, 3, 2), []
    for strength in strengths:
        with torch.no_grad():
            for kind, columns in zip(KINDS, wanted, strict=True):
                alpha = torch.zeros(14, 8)
                alpha[range(14), columns] = strength + 0.001 * torch.arange(14.0)  # no ties
                getattr(net, f"alpha_{kind}").copy_(alpha)
        records.append(search.architecture(net, -1))
    return records


def worth_of(wanted, sure=14):
    """Worths in which these columns of alpha win."""
    return {
        kind: {
            "operations": (np.eye(8)[columns][:, 1:] / 10 - 0.01).tolist(),
            "leads": [2.1] * sure + [1.9] * (14 - sure),
        }
        for kind, columns in zip(KINDS, wanted, strict=True)
    }


STEADY, STILL = history(np.linspace(0, 2, 8)), history([0.01] * 8)
HALF = np.stack([WANTED[0], np.zeros(14, int)])  # `none` wins all edges of reduction cells


@pytest.mark.parametrize(
    ("records", "wanted", "sure", "decided", "numbers"),
    [
        (STEADY, WANTED, 7, "the cell", [28, 28, 14, 0]),
        (history([2.0]), WANTED, 14, "the cell", [28, 28, 28, 0]),  # the shortest history
        ([*history([2.0] * 5, OTHER), *STEADY[5:]], WANTED, 14, "the cell", [28, 28, 28, 0]),
        (STILL, OTHER, 14, "hardly anything", [0, 28, 0, 0]),  # it stays, and yet says nothing
        (STILL, WANTED, 6, "hardly anything", [0, 28, 12, 0]),
        (STEADY, OTHER, 14, "a part of the cell", [28, 28, 0, 0]),
        (STEADY, WANTED, 6, "a part of the cell", [28, 28, 12, 0]),
        (history([2.0], HALF), WANTED, 0, "a part of the cell", [14, 28, 0, 0]),
        (STILL, WANTED, 14, "a part of the cell", [0, 28, 28, 0]),
        (
            [*history([2.0] * 6, OTHER), *STEADY[6:]],
            WANTED,
            14,
            "a part of the cell",
            [28, 28, 28, 16],
        ),
    ],
)
def test_a_search_has_decided_by_its_clear_its_confirmed_and_its_changed_edges(
    records, wanted, sure, decided, numbers
):
    text = perturbation.verdict(records, worth_of(wanted, sure))
    assert f"decided {decided}:" in text
    assert [int(number) for number in re.findall(r"\d+", text)] == [*numbers, 16]


def test_an_edge_is_clear_from_one_and_a_half_times_the_next_weight_and_none_does_not_count():
    cases = ((np.log(1.6), WANTED, 28), (np.log(1.4), WANTED, 0), (9.0, np.zeros_like(WANTED), 0))
    for strength, wanted, clear in cases:
        assert perturbation.clear_edges(history([strength], wanted)[0]) == clear
