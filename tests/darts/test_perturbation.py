"""Selection by perturbation against the plain network with the operation or edge cut out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
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
def test_without_an_operation_or_edge_the_network_is_the_plain_one_with_it_cut_out(kind, partial):
    net, _ = toy_search(nodes=2, partial=partial)
    whole = logits(net, {})
    edges = [(0,), (3,)] if partial == 1 else []  # with edge normalisation: the next test
    for edge, *operation in [(0, 3), (1, 1), (3, 4), (4, 7), *edges]:
        found = logits(net, without(net, kind, edge, *operation))
        expected = cut(plain_of(net), kind, edge, operation or range(8))(IMAGES)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
        assert not torch.allclose(found, whole, rtol=1e-4)
    assert torch.equal(logits(net, {}), whole)  # nothing of it stays


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

    whole = F.cross_entropy(net(images), TARGETS).item()
    for kind in KINDS:
        rows = [[rise(without(net, kind, e, o)) for o in range(1, 8)] for e in range(2)]
        assert worth[kind]["operations"] == [pytest.approx(row, abs=1e-6) for row in rows]
        edges = [rise(without(net, kind, e)) for e in range(2)]
        assert worth[kind]["edges"] == pytest.approx(edges, abs=1e-6)


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
        record = search.architecture(net)
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


def test_a_cell_is_chosen_by_the_images_of_alphas_half_and_their_labels(images, table, monkeypatch):
    seen, settings = [], SearchSettings(**TINY, perturbation_images=12)
    net = search.make_supernet(settings, images)

    def drawn(other, batch):
        assert torch.equal(other.alpha_normal, net.alpha_normal)
        seen.append(batch)
        rng = np.random.default_rng(0)
        sizes = {"operations": (14, 7), "edges": (14,)}
        return {k: {name: rng.normal(size=s).tolist() for name, s in sizes.items()} for k in KINDS}

    monkeypatch.setattr(perturbation, "worths", drawn)
    chosen = perturbation.select_by_perturbation(net.state_dict(), images, table, settings)
    part = search.halves(table, settings.seed)[1].head(12)
    ((inputs, targets),) = seen
    expected = to_float(torch.from_numpy(images.take(images.rows(part.id))), inputs.device)
    torch.testing.assert_close(inputs, (expected - 0.5) / 0.25, rtol=0, atol=1e-6)
    assert targets.tolist() == part.label.tolist() and part.label.nunique() == 2
    edges = [
        genotypes.strongest_edges(own["operations"], own["edges"]) for own in chosen.worth.values()
    ]
    assert chosen.genotype == genotypes.Genotype(*edges) and chosen.images == 12
