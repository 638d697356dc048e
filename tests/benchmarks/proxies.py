"""Score the cells of `cells.csv` without training each: `python -m tests.benchmarks.proxies`.

- Alpha of a search (`quick`'s, longer, with all channels, of second order): a cell's score is the
  sum of log(strength) over its 16 edges. The cell that a search derives is a line of
  searched_cells.jsonl beside this file, and is trained as a row of `cells.csv` too. As `quick`, the
  searches see images of 128 px; `maps48`: of 96 px and by another stem, so maps of 48 to 12
  pixels, four times as wide as those of the networks.
- A single-path supernet: each step trains the weights of a random cell (Guo et al. 2019, arXiv
  1904.00420); then a cell's score is its AUC on validation images, with batch norm's statistics of
  the batch, so of this cell.
- Without any training: NASWOT (Mellor et al. 2021, arXiv 2006.04647) and SynFlow (Tanaka et al.
  2020, arXiv 2006.05467).

All are made for the task `chips`. Each proxy and seed is a set of rows of proxies.csv (`seconds`:
of one core for all cells), and is not computed again.
"""

import itertools
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from helpers.core import files, metrics, seeding
from helpers.darts import genotypes, network, search
from helpers.darts.genotypes import strengths
from helpers.darts.settings import SearchSettings
from helpers.darts.space import EDGES, KINDS, OPS
from helpers.darts.supernet import Cell, MixedEdge, Supernet
from helpers.runs.presets import PRESET_VALUES
from helpers.training.batches import ImageBatches, augmentation
from helpers.training.inference import predict
from helpers.training.loop import Training
from helpers.training.settings import TrainSettings
from tests.benchmarks import cells, rows

TABLE = Path(__file__).with_suffix(".csv")
QUICK, FULL = (PRESET_VALUES[p]["04_darts_search"] for p in ("quick", "full"))
MAPS_48 = {"image_size_px": cells.SIZE_PX}
SEARCHES = {
    "search": QUICK,
    "search_long": QUICK | {"epochs": 12},
    "search_all_channels": QUICK | {"partial": 1, "epochs": 6},
    "search_second_order": QUICK | {"order": 2},
    "maps48": QUICK | MAPS_48,
    "maps48_full": FULL | MAPS_48,
    "maps48_all_channels": QUICK | MAPS_48 | {"partial": 1},
    "maps48_second_order": QUICK | MAPS_48 | {"order": 2},
}
SEEDS = range(2)
CELLS = [cell for cell in cells.CELLS if cell != "by_hand"]
SUPERNET_EPOCHS = cells.EPOCHS["chips"]


def edges_of(cell):
    """Yield (kind, row of alpha, index of the operation) of a cell's 16 edges."""
    for kind in KINDS:
        for operation, source, target in cells.genotype_of(cell).edges(kind):
            yield kind, EDGES.index((source, target)), [*OPS].index(operation)


def by_search(name, seed):
    """Search; return each cell's score, and keep the cell that the search derived."""
    settings = SearchSettings(**SEARCHES[name], seed=seed)
    images, table = cells.task("chips", settings.image_size_px)
    found = search.search(images, table[table.split == "train"], settings)
    last = found.history[-1]
    logs = {k: np.log(strengths(last[f"alpha_{k}"], last[f"beta_{k}"])) for k in KINDS}
    about = {"set": "chips", "name": f"{name}_{seed}", "cell": genotypes.to_json(found.genotype)}
    about["alpha_half_auc"] = found.provenance["alpha_half_auc"]
    with files.held(cells.SEARCHED.with_name(".searched.lock")):
        lines = [json.loads(line) for line in cells.SEARCHED.read_text("utf-8").splitlines()]
        lines = [one for one in lines if one["name"] != about["name"]] + [about]
        lines.sort(key=lambda one: (one["set"], one["name"]))
        text = "".join(json.dumps(one) + "\n" for one in lines)
        files.write_bytes(cells.SEARCHED, text.encode())
    return {cell: sum(logs[k][row, op] for k, row, op in edges_of(cell)) for cell in CELLS}


class ChosenEdge(MixedEdge):
    """An edge that computes the one operation whose weight is 1, or nothing."""

    def forward(self, x, weights):
        operation = int(weights.argmax())
        return [*self.operations.values()][operation - 1](x) if operation else 0


class ChosenCell(Cell):
    def edges_of(self, channels):
        for edge in super().edges_of(channels):
            edge.__class__ = ChosenEdge
            yield edge


class SinglePath(Supernet):
    """A supernet in which one cell at a time is computed."""

    cell = ChosenCell

    def choose(self, genotype):
        self.chosen = {kind: torch.zeros(len(EDGES), 1 + len(OPS)) for kind in KINDS}
        for kind in KINDS:
            self.chosen[kind][:, 0] = 0.5  # nothing, unless the cell has the edge
            for operation, source, target in genotype.edges(kind):
                self.chosen[kind][EDGES.index((source, target)), 1 + [*OPS].index(operation)] = 1

    def mixing(self, kind):
        return self.chosen[kind], None


def by_single_path(seed):
    """Train a supernet by random cells; return the AUC of each cell on validation images."""
    images, table = cells.task("chips")
    given = cells.settings_of("chips", SUPERNET_EPOCHS)
    net = search.make_supernet(SearchSettings(channels=16, layers=5, seed=seed), images)
    with seeding.torch_stream(seed, "initial weights single path"):
        single = SinglePath(16, 5, 2, images.channels, "imagenet")
    single.spec = net.spec
    train, val = (
        ImageBatches(images, table[table.split == side], single, 64, augment=augment)
        for side, augment in (("train", augmentation(given.retrain_augment)), ("val", None))
    )
    settings = TrainSettings(**vars(given.training) | {"keep": "last", "precision": "no"})
    draws = seeding.numpy_stream(seed, "paths")
    weights = single.weight_parameters()
    training = Training(single, train, None, settings, seed=seed, parameters=weights)
    for _ in training.epochs():
        for batch in training.batches():
            single.choose(genotypes.random_genotype(int(draws.integers(2**31))))
            for parameter in weights:
                parameter.grad = None
            training.step(*batch)
    labels, scores = table[table.split == "val"].label.astype(int), {}
    for cell in CELLS:
        single.choose(cells.genotype_of(cell))
        scores[cell] = metrics.roc_auc(labels, predict(single, val, "no", 1))
    return scores


def network_and_batch(cell, seed):
    """Return a cell's network with its initial weights, and a batch of training images."""
    images, table = cells.task("chips")
    size = cells.settings_of("chips", 1).network
    spec = network.network_spec(cells.genotype_of(cell), size, images.size_px, images.channels)
    net = network.build_network(spec, seed)
    rows = table[table.split == "train"].iloc[:64]
    _, batch, _ = next(iter(ImageBatches(images, rows, net, 64).shuffled(seed, 0)))
    return net, batch


def naswot(cell, seed):
    """Return the log determinant of how alike the active ReLUs of any two images are."""
    net, batch = network_and_batch(cell, seed)
    alike = torch.zeros(len(batch), len(batch))

    def count(_module, _inputs, out):
        nonlocal alike
        on = (out.flatten(1) > 0).float()
        alike = alike + on @ on.T + (1 - on) @ (1 - on).T

    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(count)
    with torch.no_grad():
        net.train()(batch)
    return float(torch.linalg.slogdet(alike.double()).logabsdet)


def synflow(cell, seed):
    """Return the log of the sum of weight times gradient, all weights and the image positive."""
    net, batch = network_and_batch(cell, seed)
    net = net.double().eval()
    for parameter in net.parameters():
        parameter.data.abs_()
    net(torch.ones_like(batch[:1]).double()).sum().backward()
    total = sum((p.grad * p).sum() for p in net.parameters() if p.grad is not None)
    return float(torch.log(total.detach()))


def scores_of(proxy, seed):
    """Return the rest of the rows of a proxy with a seed."""
    started = time.process_time()
    if proxy in SEARCHES:
        found = by_search(proxy, seed)
    elif proxy == "single_path":
        found = by_single_path(seed)
    else:
        one = {"naswot": naswot, "synflow": synflow}[proxy]
        found = {cell: one(cell, seed) for cell in CELLS}
    seconds = round(time.process_time() - started, 1)
    return [
        {"cell": cell, "score": float(f"{score:.6g}"), "seconds": seconds}
        for cell, score in found.items()
    ]


def main():
    """Compute what is missing."""
    for size_px in (cells.SIZE_PX, QUICK["image_size_px"]):
        cells.task("chips", size_px)  # drawn once
    wanted = itertools.product(("synflow", "naswot", "single_path", *SEARCHES), SEEDS)
    rows.completed(TABLE, ["proxy", "seed"], wanted, scores_of)


if __name__ == "__main__":
    main()
