"""The network of a genotype: sizes, cells, heads, files; and the supernet that has its weights."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.core import files
from helpers.darts import network as derived
from helpers.darts.genotypes import PUBLISHED, random_genotype
from helpers.darts.network import AuxiliaryHead, Cell, DerivedNetwork
from helpers.darts.settings import NetworkSettings
from helpers.darts.space import EDGES, primitives
from helpers.darts.supernet import Supernet
from helpers.models import backbones
from helpers.models.backbones import count_macs, count_parameters
from helpers.runs import settings

DARTS_V2 = PUBLISHED["DARTS_V2"]


def small(genotype=DARTS_V2, channels=4, layers=3, num_classes=2, **options):
    in_channels = options.pop("in_channels", 3)
    size = NetworkSettings(channels, layers, **options)
    return DerivedNetwork(genotype, size, num_classes, in_channels)


@pytest.mark.parametrize(
    ("classes", "parameters", "head_parameters", "macs"),
    [(1000, 4_718_752, 1_260_776, 529_911_552), (2, 3_951_290, 493_314, 529_145_088)],
)
def test_networks_of_darts_v2_have_the_published_sizes(classes, parameters, head_parameters, macs):
    network = small(DARTS_V2, 48, 14, classes, auxiliary=True)
    assert count_parameters(network.auxiliary_head) == head_parameters
    assert count_parameters(network) - head_parameters == parameters
    assert count_macs(network, 224) == macs
    assert count_parameters(small(DARTS_V2, 36, 20, 10, stem="cifar")) == 3_349_342


def test_a_reduction_cell_computes_its_genotype_with_pools_that_have_no_bn():
    cell = Cell(DARTS_V2, 6, 8, 4, reduction=True, reduction_before=True).eval()
    older, newer = torch.randn(2, 6, 13, 10), torch.randn(2, 8, 7, 5)
    s0, s1 = cell.older(older), cell.newer(newer)
    pool0, pool1 = (F.max_pool2d(s, 3, 2, 1) for s in (s0, s1))
    s2 = pool0 + pool1
    s3, s4, s5 = pool1 + s2, pool0 + s2, pool1 + s2
    torch.testing.assert_close(cell(older, newer), torch.cat([s2, s3, s4, s5], 1))


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize(("size", "layers"), [((1, 1), 1), ((2, 3), 2), ((75, 53), 5)])
def test_any_image_size_and_number_of_cells_goes_forwards_and_backwards(stem, size, layers):
    network = small(random_genotype(layers), 4, layers, in_channels=1, stem=stem, auxiliary=True)
    logits, auxiliary_logits = network(torch.randn(3, 1, *size))
    assert logits.shape == auxiliary_logits.shape == (3, 2)
    (logits.sum() + auxiliary_logits.sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert network.eval()(torch.randn(1, 1, *size)).isfinite().all()


def test_the_auxiliary_head_is_the_published_one_and_reads_the_map_after_cell_2l_over_3():
    head = AuxiliaryHead(6, 3).eval()
    convs = [m for m in head.features if isinstance(m, nn.Conv2d)]
    (norm,) = (m for m in head.features if isinstance(m, nn.BatchNorm2d))
    x = torch.randn(2, 6, 7, 7)
    y = F.avg_pool2d(F.relu(x), 5, 2, 0, count_include_pad=False)
    y = F.relu(norm(F.conv2d(y, convs[0].weight)))
    y = F.relu(F.conv2d(y, convs[1].weight))
    assert y.shape == (2, 768, 1, 1)
    torch.testing.assert_close(head(x), head.classifier(y.flatten(1)))
    network, seen = small(layers=6, auxiliary=True), []
    network.cells[4].register_forward_hook(lambda *args: seen.append(args[2]))
    network.auxiliary_head.register_forward_hook(lambda *args: seen.append(args[1][0]))
    network(torch.randn(2, 3, 64, 64))
    assert seen[0] is seen[1]


def one_hot_alpha(genotype, kind):
    """(14, 8) whose softmax is exactly 1 at the genotype's operations, at none on other edges."""
    alpha = torch.zeros(14, 8, dtype=torch.float64)
    chosen = {(source, target): name for name, source, target in genotype.edges(kind)}
    for row, edge in enumerate(EDGES):
        alpha[row, primitives().index(chosen.get(edge, "none"))] = 1e4
    return alpha


def convolutions(module):
    return [parameter for parameter in module.parameters() if parameter.dim() == 4]


@torch.no_grad()
def share_weights(network, supernet):
    """Give the network the supernet's weights, and its pools the BN that the search has there."""
    pairs = [(network.stem0, supernet.stem0), (network.stem1, supernet.stem1)]
    for module, source in [*pairs, (network.classifier, supernet.classifier)]:
        for mine, theirs in zip(module.parameters(), source.parameters(), strict=True):
            mine.copy_(theirs)
    for cell, source in zip(network.cells, supernet.cells, strict=True):
        modules = [(cell.older, source.older), (cell.newer, source.newer)]
        edges = network.genotype.edges("reduce" if cell.reduction else "normal")
        for row, (name, *edge) in enumerate(edges):
            operation = cell.operations[row]
            candidates = source.edges[EDGES.index(tuple(edge))].operations
            modules.append((operation, candidates[name]))
            if "pool" in name:
                channels = cell.newer[1].out_channels
                cell.operations[row] = nn.Sequential(operation, nn.BatchNorm2d(channels).double())
        for module, theirs in modules:
            for mine, weight in zip(convolutions(module), convolutions(theirs), strict=True):
                mine.copy_(weight)


@pytest.mark.parametrize(
    ("genotype", "stem"),
    [(DARTS_V2, "imagenet"), (PUBLISHED["PDARTS"], "imagenet"), (random_genotype(0), "cifar")],
)
def test_a_supernet_with_one_hot_alphas_computes_the_derived_network(genotype, stem):
    supernet = Supernet(4, 5, 3, stem=stem).double()
    supernet.alpha_normal.data = one_hot_alpha(genotype, "normal")
    supernet.alpha_reduce.data = one_hot_alpha(genotype, "reduce")
    network = small(genotype, layers=5, num_classes=3, stem=stem).double()
    share_weights(network, supernet)
    x = torch.randn(4, 3, 29, 22, dtype=torch.float64)
    # The search always uses batch statistics, so all are compared in train mode.
    logits = network.train()(x)
    torch.testing.assert_close(logits, supernet.train()(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layers", [1, 5])
def test_a_network_of_a_seed_is_saved_with_what_features_and_maps_need(tmp_path, layers):
    size = NetworkSettings(4, layers, auxiliary=True)
    spec = derived.network_spec(random_genotype(4), size, 32, 1)
    nets = [derived.build_network(spec, seed) for seed in (0, 0, 1)]
    first, same, other = (net.stem0[0].weight for net in nets)
    assert torch.equal(first, same) and not torch.equal(first, other)
    backbones.save_model(tmp_path / "m.safetensors", nets[0])
    model, images = backbones.load_model(tmp_path / "m.safetensors"), torch.randn(2, 1, 32, 32)
    embedding = model.embed(images)
    assert model.spec == spec and embedding.shape == (2, spec.embedding_size)
    torch.testing.assert_close(model(images), model.classifier(embedding))
    assert model.get_submodule(spec.feature_layer) is model.cells[-1]


def test_a_checkpoint_with_a_damaged_genotype_is_refused(tmp_path):
    spec = derived.network_spec(DARTS_V2, NetworkSettings(4, 1), 32, 3)
    model = backbones.build(spec)
    spec.options["genotype"]["normal"][0][0] = "__import__('os')"
    backbones.save_model(tmp_path / "m.safetensors", model)
    with pytest.raises(files.ArtifactError, match="__import__"):
        backbones.load_model(tmp_path / "m.safetensors")


def test_the_preset_paper_is_table_1_to_the_letter():
    given = settings.resolve("05_genotype_retraining", "paper", {})
    t = given.training
    assert (t.optimizer, t.lr, t.momentum, t.weight_decay) == ("sgd", 0.1, 0.9, 3e-5)
    assert (t.batch_size, t.schedule, t.gamma) == (32, "exponential", 0.97)
    assert (t.grad_clip, t.label_smoothing) == (5.0, 0.1)
    assert given.network == NetworkSettings(48, 14, auxiliary=True)
