"""Score every image of ELPV out of fold: `python -m tests.benchmarks.out_of_fold ROW ...`.

    python -m tests.benchmarks.out_of_fold fbp plain --protocols groups --seeds 0 1 2

Five random folds (near duplicates together) and the five published folds of whole modules: each
image is scored by a training that has not seen its fold. A row is a recipe that is fixed
beforehand; trainings keep their last epoch. All other rows are those of two `full` runs, one with
SPLIT=random and one with SPLIT=groups. After each fold the scores are written to
`notebooks/results/out_of_fold/` (those of random cells to `population/` beside this file, those of
variants of FBP to `variants/`), and what is there is not computed again: delete a file to repeat
it.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms

from helpers.core import files, metrics, paths, seeding
from helpers.core.members import sides
from helpers.core.paths import published_scores
from helpers.darts import genotypes, network, search
from helpers.darts.settings import RetrainSettings, SearchSettings
from helpers.datasets import near_duplicates, sources, splits
from helpers.datasets.cache import open_cache
from helpers.datasets.settings import SplitSettings
from helpers.models import backbones
from helpers.models.weights import find_weights
from helpers.results.out_of_fold import PROTOCOLS
from helpers.runs.presets import PRESET_VALUES
from helpers.training import fit, patchcore
from helpers.training.settings import BaselineSettings, FinetuneSettings

FOLDS = 5
LITE0, LITE2 = "efficientnet_lite0", "efficientnet_lite2"
RANDOM_CELL = re.compile(r"random_cell_(\d+)")
POPULATION, VARIANTS = map(Path(__file__).with_name, ("population", "variants"))
PLAIN_PX, PLAIN_EPOCHS, PLAIN_RATE = 224, 8, 3e-4  # two epochs more than `full` trains FBP


@functools.cache
def images(size_px):
    """Return ELPV's images at a size."""
    source = sources.load(SplitSettings(cross_fit=FOLDS))
    return open_cache(source.table, size_px, paths.cache_root())


@functools.cache
def protocol(name):
    """Return the table of ELPV with the folds of a protocol, as notebook 01 makes it."""
    settings = SplitSettings(split=name, cross_fit=FOLDS, test_fraction=0)
    cache = images(settings.image_size_px)
    pairs, _ = near_duplicates.find(cache, settings.near_duplicate_bits)
    return splits.make_split(sources.load(settings), cache.table.digest, settings, pairs).table


def fine_tuned(table, seed, backbone=LITE2, **changes):
    """Train all layers as the preset `full` does, but for `changes`."""
    settings = FinetuneSettings(**PRESET_VALUES["full"]["03_finetuning"] | changes)
    cache = images(settings.image_size_px)
    weights = find_weights(backbone, "", cache.size_px)
    build = partial(fit.pretrained, weights, cache.size_px)
    training = dataclasses.replace(settings.fbp, keep="last")
    return fit.fit(build, cache, table, training, seed).scores


def from_scratch(build, table, seed):
    """Train a network from random weights as `full` trains those of cells.

    `build` takes the size of the network and those of the images, and returns a function of a seed.
    """
    settings = RetrainSettings(**PRESET_VALUES["full"]["05_genotype_retraining"])
    cache = images(settings.retrain_image_size_px)
    training = dataclasses.replace(settings.training, keep="last")
    built = build(settings.network, cache.size_px, cache.channels)
    return fit.fit(built, cache, table, training, seed).scores


def of_genotype(cell, table, seed):
    """Train the network of a cell."""
    spec_of = partial(network.network_spec, cell)
    return from_scratch(lambda *shape: partial(network.build_network, spec_of(*shape)), table, seed)


def drawn(_settings, size_px, channels):
    """Return the builder of a network drawn by hand, with as many weights as those of the cells."""

    def build(seed):
        layers = []
        with seeding.torch_stream(seed, "initial weights by hand"):
            for before, width, blocks in ((channels, 32, 2), (32, 64, 3), (64, 128, 2)):
                narrowed = nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False)
                layers += [narrowed, nn.BatchNorm2d(width), *(Block(width) for _ in range(blocks))]
            head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 2)]
            whole = nn.Sequential(*layers, nn.ReLU(), *head)
        return backbones.own_network(whole, size_px, channels)

    return build


class Block(nn.Module):
    """Two depthwise separable convolutions and a shortcut, as a person would draw them."""

    def __init__(self, channels):
        super().__init__()
        layers = []
        for _ in range(2):
            depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
            pointwise = nn.Conv2d(channels, channels, 1, bias=False)
            layers += [nn.ReLU(), depthwise, pointwise, nn.BatchNorm2d(channels)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.layers(x)


def random_cell(number, table, seed):
    """Train a random cell: another one in each fold, as `searched` searches one in each."""
    fold = int(table.fold[table.split == "val"].iloc[0])
    cell = genotypes.random_cell(FOLDS * number + fold).genotype
    return of_genotype(cell, table, seed)


def searched(table, seed):
    """Search a cell on the training images as `quick` does, and train its network on them."""
    settings = SearchSettings(**PRESET_VALUES["quick"]["04_darts_search"], seed=seed)
    result = search.search(images(settings.image_size_px), search.training_images(table), settings)
    scores = of_genotype(result.genotype, table, seed)
    scores.attrs = {"cell": genotypes.to_json(result.genotype)}
    return scores


def plainly(table, seed, views=1, num_workers=2):
    """Fine-tune as tutorials show it: Pillow, torchvision, a DataLoader, Adam, eight epochs.

    With eight `views` scores are averaged over turned and mirrored images, as FBP's are, and the
    network computes in bf16 to save time.
    """
    torch.manual_seed(seed)
    model = backbones.pretrained(find_weights(LITE0, "", PLAIN_PX), 2, PLAIN_PX)
    model = model.to(memory_format=torch.channels_last)  # the same numbers in half the time

    def batches(side, *flips, **options):
        last = [transforms.ToTensor(), transforms.Normalize(model.spec.mean, model.spec.std)]
        ready = transforms.Compose([transforms.Resize((PLAIN_PX, PLAIN_PX)), *flips, *last])
        rows = table[table.split == side]

        def decoded(pairs):
            pixels = [ready(Image.open(path).convert("RGB")) for path, _ in pairs]
            return torch.stack(pixels), torch.tensor([label for _, label in pairs])

        pairs = [*zip(rows.path, rows.label.astype(int), strict=True)]
        options |= {"num_workers": num_workers, "collate_fn": decoded}
        return DataLoader(pairs, 32, **options)

    flips = (transforms.RandomHorizontalFlip(), transforms.RandomVerticalFlip())
    train, val = batches("train", *flips, shuffle=True), batches("val")
    adam = torch.optim.Adam(model.parameters(), lr=PLAIN_RATE)
    fast = torch.autocast("cpu", torch.bfloat16, enabled=views > 1)
    model.train()
    for _ in range(PLAIN_EPOCHS):
        for batch, labels in train:
            adam.zero_grad()
            with fast:
                loss = F.cross_entropy(model(batch).float(), labels)
            loss.backward()
            adam.step()
    model.eval()

    def scores(batch):
        turned = [batch.rot90(n, (2, 3)) for n in range(-(-views // 2))]
        mirrored = [view.flip(3) for view in turned][: views - len(turned)]
        both = [F.softmax(model(view).float(), dim=1)[:, 1] for view in turned + mirrored]
        return torch.stack(both).mean(dim=0)

    with torch.no_grad(), fast:
        bad = torch.cat([scores(batch) for batch, _ in val])
    return table.loc[table.split == "val", ["id", "split"]].assign(defect_score=bad.numpy())


def remembered(table, seed):
    """Fill PatchCore's memory as `full` does."""
    settings = BaselineSettings()
    cache = images(settings.image_size_px)
    weights = find_weights(LITE2, "", cache.size_px)
    return patchcore.fit(weights, cache, table, settings.patchcore_share, seed).scores


PUBLISHED = genotypes.PUBLISHED.items()
ROWS = {name.lower(): partial(of_genotype, cell) for name, cell in PUBLISHED}
ROWS |= {
    "by_hand": partial(from_scratch, drawn),
    "searched": searched,
    "plain": plainly,
    "plain_views": partial(plainly, views=8),
    "fbp": fine_tuned,
    "patchcore": remembered,
}


def recipe(row):
    """Return the recipe of a row: one of ROWS, random_cell_NUMBER, or BACKBONE@PIXELS.

    The last is FBP with another backbone or size, and no frozen layers.
    """
    if found := RANDOM_CELL.fullmatch(row):
        return partial(random_cell, int(found[1]))
    backbone, _, size_px = row.partition("@")
    if size_px.isdigit():
        return partial(fine_tuned, backbone=backbone, image_size_px=int(size_px), fbp_frozen=0)
    if row not in ROWS:
        raise SystemExit(f"{row!r} is none of the rows: see --help")
    return ROWS[row]


def scores_of(row, name):
    """Return the file of a row's scores; those not shown by notebook 06 are beside this file."""
    folder = VARIANTS if "@" in row or row == "plain_views" else published_scores()
    folder = POPULATION if RANDOM_CELL.fullmatch(row) else folder
    return folder / name / f"{row}.csv"


def stored(row, name):
    """Return a row's scores, a column for each seed that has any; the index is `id`."""
    path = scores_of(row, name)
    table = files.load_csv(path, ("id",)) if path.exists() else protocol(name)[["id"]]
    return table.set_index("id")


def complete(row, name, seed, fold):
    """Score the images of a fold by a row's recipe, unless its file has them already."""
    table, column = protocol(name), f"seed{seed}"
    path, scores = scores_of(row, name), stored(row, name)
    rows = (table.fold == fold).to_numpy(dtype=bool)
    if column in scores and scores[column][rows].notna().all():
        return
    given = recipe(row)(sides(table, fold), seed)
    found = given[given.split == "val"].set_index("id").defect_score
    with files.held(path.with_name(f".{row}.lock")):  # other processes train other folds
        scores = stored(row, name)
        values = scores.get(column, pd.Series(np.nan, scores.index)).to_numpy(float, copy=True)
        values[rows] = found[table.id[rows]]
        scores[column] = [float(f"{value:.5g}") for value in values]
        if given.attrs:  # a cell searched in the other folds; a killed training repeats its line
            cells = published_scores() / "searched_cells.jsonl"
            about = {"protocol": name, "seed": seed, "fold": fold} | given.attrs
            lines = cells.read_text("utf-8").splitlines() if cells.exists() else []
            cells.write_text("\n".join([*sorted({*lines, json.dumps(about)}), ""]), "utf-8")
        files.save_csv(path, scores.reset_index())
    auc = metrics.roc_auc(table.label[rows].astype(int), values[rows])
    print(f"{row}, {name}, seed {seed}, fold {fold}: AUC {100 * auc:.1f}", flush=True)


def main(arguments=None):
    """Compute what is missing of the named rows, fold by fold."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.out_of_fold")
    parser.add_argument("rows", nargs="+", help=f"{', '.join(ROWS)}, {RANDOM_CELL.pattern}, NET@PX")
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=PROTOCOLS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    given = parser.parse_args(arguments)
    for row in given.rows:
        recipe(row)  # an unknown one is refused before anything is trained
    folds = {name: protocol(name).set_index("id").fold for name in PROTOCOLS}
    table = protocol("random")[["id", "label", "group"]].join(pd.DataFrame(folds), on="id")
    path = published_scores() / "folds.csv"
    if path.exists() and path.read_bytes() != files.csv_bytes(table):
        raise files.ArtifactError(f"the scores beside {path} have other folds: delete them")
    files.save_csv(path, table)
    order = itertools.product(given.seeds, given.rows, range(FOLDS), given.protocols)
    for seed, row, fold, name in order:
        complete(row, name, seed, fold)


if __name__ == "__main__":
    main()
