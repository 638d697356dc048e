"""Successive halving: the best third continues; candidates are of like size."""

import pytest

from helpers.darts import genotypes, halving, named, network
from helpers.darts.settings import NetworkSettings

SIZE = NetworkSettings(channels=4, layers=3, auxiliary=True)


def planted(aucs, log=None):
    """A rung whose trainings have these AUCs, by name or by name and number of epochs."""

    def train_rung(names, epochs):
        if log is not None:
            log.append((epochs, list(names)))
        return [(aucs.get((name, epochs), aucs.get(name)), 1.5) for name in names]

    return train_rung


def size_of(genotype):
    return network.parameters(genotype, SIZE)


def test_the_best_third_goes_on_with_three_times_the_epochs_until_one_is_left():
    aucs = {f"r{i:02d}": 0.5 + i / 100 for i in range(16)}
    log = []
    trials = halving.successive_halving(list(aucs), 5, planted(aucs, log), most=45)
    assert log == [(5, list(aucs)), (15, ["r15", "r14", "r13", "r12", "r11"])]
    assert trials[trials.kept].model.tolist() == ["r11", "r12", "r13", "r14", "r15", "r15"]


def test_a_later_rung_decides_again_and_of_equal_cells_the_first_continues():
    aucs = {f"r{i}": 0.7 for i in range(6)} | {("r1", 6): 0.8, ("r5", 6): 0.9}
    log = []
    trials = halving.successive_halving([f"r{i}" for i in range(6)], 2, planted(aucs, log), most=9)
    assert log == [(2, ["r0", "r1", "r2", "r3", "r4", "r5"]), (6, ["r0", "r1"])]
    assert trials[trials.kept].model.iloc[-1] == "r1"


@pytest.mark.parametrize(("most", "counts"), [(18, [9, 3]), (17, [9, 3]), (5, [9])])
def test_a_rung_that_is_longer_than_the_training_that_follows_is_left_out(most, counts):
    log, aucs = [], {f"r{i}": 0.5 + i / 20 for i in range(9)}
    trials = halving.successive_halving(list(aucs), 2, planted(aucs, log), most=most)
    assert [len(names) for _, names in log] == counts
    assert trials[trials.kept].model.iloc[-1] == "r8"


def test_the_random_cells_are_those_nearest_in_size_to_the_searched_ones():
    everyone = [named.random_cell(seed) for seed in range(halving.DRAWS * 2)]
    ordered = sorted(everyone, key=lambda cell: size_of(cell.genotype))
    largest = named.NamedCell(ordered[-1].model, ordered[-1].genotype)
    found = halving.candidates([largest], [], 2, size_of)["random"]
    assert {cell.name for cell in found} == {cell.name for cell in ordered[-2:]}
    by_kind = halving.candidates([], [], 2, size_of)
    assert [cell.name for cell in by_kind["random"]] == ["random_cell_0", "random_cell_1"]
    assert [*by_kind] == ["published", "random"]
    assert len(by_kind["published"]) == len(genotypes.PUBLISHED)


def test_the_size_of_a_cell_is_that_of_its_network_without_the_auxiliary_head():
    genotype = genotypes.random_genotype(0)
    model = network.DerivedNetwork(genotype, SIZE)
    head = sum(p.numel() for p in model.auxiliary_head.parameters())
    assert size_of(genotype) == sum(p.numel() for p in model.parameters()) - head > 0
