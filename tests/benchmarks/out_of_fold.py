"""Score every image of ELPV out of fold: `python -m tests.benchmarks.out_of_fold ROW ...`.

    python -m tests.benchmarks.out_of_fold fbp plain --protocols groups --seeds 0 1 2

Five random folds (near duplicates together) and the five published folds of whole modules: each
image is scored by a training that has not seen its fold. A row is a recipe that is fixed
beforehand; trainings keep their last epoch. After each fold the scores are written to
`notebooks/results/out_of_fold/` (`folds.csv`, and `<protocol>/<row>.csv` with a column for each
seed; those of random cells to `population/` beside this file), and what is there is not computed
again: delete a file to repeat it.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from helpers import datasets
from helpers.core import devices, files, metrics, paths, seeding
from helpers.core.members import sides
from helpers.core.paths import published_scores
from helpers.darts import genotypes, named, network, search
from helpers.darts.genotypes import PUBLISHED, Genotype
from helpers.darts.settings import RetrainSettings, SearchSettings
from helpers.datasets import near_duplicates, splits
from helpers.datasets.cache import ImageCache, open_cache
from helpers.datasets.settings import SplitSettings
from helpers.datasets.split_file import keeps_groups_apart
from helpers.models import backbones
from helpers.models.spec import ModelSpec, Network
from helpers.models.weights import BackboneError
from helpers.results.out_of_fold import PROTOCOLS
from helpers.runs.presets import PRESET_VALUES
from helpers.training import allocator, classifiers, features, fit, patchcore
from helpers.training.known_classifiers import CLASSIFIERS
from helpers.training.settings import BaselineSettings, FinetuneSettings

FOLDS = 5
LITE = "efficientnet_lite{}"
RANDOM_CELL = re.compile(r"random_cell_(\d+)")
POPULATION = Path(__file__).with_name("population")
PLAIN_PX, PLAIN_EPOCHS, PLAIN_RATE = 224, 8, 3e-4  # as many epochs as `full` trains FBP
Scores = pd.Series  # defect score by id, of the rows `val`


@functools.cache
def images(size_px: int) -> ImageCache:
    """Return ELPV's images at a size."""
    source = datasets.load(SplitSettings(cross_fit=FOLDS))
    return open_cache(source.table, size_px, paths.cache_root())


@functools.cache
def protocol(name: str) -> pd.DataFrame:
    """Return the table of ELPV with the folds of a protocol, as notebook 01 makes it."""
    settings = SplitSettings(split=name, cross_fit=FOLDS, test_fraction=0)
    cache = images(settings.image_size_px)
    pairs, _ = near_duplicates.find(cache, settings.near_duplicate_bits)
    return splits.make_split(datasets.load(settings), cache.table.digest, settings, pairs).table


def _by_id(scores: pd.DataFrame) -> Scores:
    return scores[scores.split == "val"].set_index("id").defect_score


def fine_tuned(
    table: pd.DataFrame,
    seed: int,
    backbone: str = LITE.format(0),
    layers: str = "fbp",
    **changes: Any,
) -> Scores:
    """Train all layers, or the last one ("ll"), as the preset `full` does, but for `changes`."""
    settings = FinetuneSettings(**PRESET_VALUES["full"]["03_finetuning"] | changes)
    cache = images(settings.image_size_px)
    weights = backbones.find_weights(backbone, "", cache.size_px)
    build = functools.partial(fit.pretrained, weights, cache.size_px)
    training = dataclasses.replace(getattr(settings, layers), keep="last")
    embedded = frozen(backbone) if layers == "ll" else None
    return _by_id(fit.fit(build, cache, table, training, seed, features=embedded).scores)


def cnn(table: pd.DataFrame, seed: int) -> Scores:
    """Train the two-layer CNN as the preset `full` does."""
    settings = FinetuneSettings(**PRESET_VALUES["full"]["03_finetuning"])
    cache = images(settings.cnn_image_size_px)
    build = functools.partial(fit.two_layer_cnn, cache.size_px, cache.channels)
    training = dataclasses.replace(settings.cnn, keep="last")
    return _by_id(fit.fit(build, cache, table, training, seed).scores)


@functools.cache
def frozen(backbone: str) -> features.Features:
    """Return the embeddings of all images by a pretrained backbone at 192 px."""
    cache = images(BaselineSettings().image_size_px)
    weights = backbones.find_weights(backbone, "", cache.size_px)
    return features.Features.of_arrays(features.embed_all(weights, cache, cache.table[["id"]]))


def classical(
    name: str, table: pd.DataFrame, seed: int, embedded: features.Features | None = None
) -> Scores:
    """Fit a classical model on frozen features, as notebook 02 does."""
    settings = BaselineSettings()
    if not keeps_groups_apart(table):  # else the inner folds keep modules together
        table = table.drop(columns="group")
    options = {key: getattr(settings, key) for key in ("folds", "cv_images")}
    embedded = embedded or frozen(LITE.format(0))
    fitted = classifiers.score_classifier(
        *CLASSIFIERS[name.lower()], embedded, table, seed, name=name, **options
    )
    return _by_id(fitted.scores)


def brightness(table: pd.DataFrame, seed: int) -> Scores:
    """Fit logistic regression on the mean gray value of each image."""
    gray = features.brightness(table.id, images(BaselineSettings().image_size_px))
    return classical("LR", table, seed, gray)


def good_alone(table: pd.DataFrame, seed: int) -> Scores:
    """Fit PatchCore on the good images."""
    settings = BaselineSettings()
    cache = images(settings.image_size_px)
    weights = backbones.find_weights(LITE.format(0), "", cache.size_px)
    return _by_id(patchcore.fit(weights, cache, table, settings.patchcore_share, seed).scores)


def from_scratch(cell: Genotype | None, table: pd.DataFrame, seed: int) -> Scores:
    """Train a network from random weights as `full` does: of a cell, or the one drawn by hand."""
    settings = RetrainSettings(**PRESET_VALUES["full"]["05_genotype_retraining"])
    cache = images(settings.retrain_image_size_px)
    shape = (cache.size_px, cache.channels)
    build: fit.Build = functools.partial(HandDesigned, *shape)
    if cell is not None:
        spec = network.network_spec(cell, settings.network, *shape)
        build = functools.partial(network.build_network, spec)
    training = dataclasses.replace(settings.training, keep="last")
    return _by_id(fit.fit(build, cache, table, training, seed).scores)


def random_cell(number: int, table: pd.DataFrame, seed: int) -> Scores:
    """Train a random cell: another one in each fold, as `searched` searches one in each."""
    fold = int(table.fold[table.split == "val"].iloc[0])
    return from_scratch(named.random_cell(FOLDS * number + fold).genotype, table, seed)


def searched(table: pd.DataFrame, seed: int) -> Scores:
    """Search a cell on the training images as `quick` does, and train its network on them."""
    settings = SearchSettings(**PRESET_VALUES["quick"]["04_darts_search"], seed=seed)
    result = search.search(images(settings.image_size_px), search.training_images(table), settings)
    scores = from_scratch(result.genotype, table, seed)
    scores.attrs = {"cell": genotypes.to_json(result.genotype)}
    return scores


class Files(Dataset):
    """Image files of a table (`path`, `label`), decoded each time that they are read."""

    def __init__(self, table: pd.DataFrame, transform: Callable) -> None:
        self.paths, self.labels = table.path.tolist(), table.label.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB")), self.labels[index]


def plainly(table: pd.DataFrame, seed: int) -> Scores:
    """Fine-tune as tutorials show it: Pillow, torchvision, a DataLoader, float32, eight epochs."""
    torch.manual_seed(seed)
    device = devices.default_device()
    model = backbones.pretrained(backbones.find_weights(LITE.format(0), "", PLAIN_PX), 2, PLAIN_PX)
    model = model.to(memory_format=torch.channels_last)  # the same numbers in half the time
    allocator.keep_freed_memory()  # the same numbers in two thirds of the time

    def batches(side: str, *flips: nn.Module, **options: Any) -> DataLoader:
        last = [transforms.ToTensor(), transforms.Normalize(model.spec.mean, model.spec.std)]
        steps = [transforms.Resize((PLAIN_PX, PLAIN_PX)), *flips, *last]
        rows = Files(table[table.split == side], transforms.Compose(steps))
        return DataLoader(rows, 32, num_workers=2, **options)

    flips = (transforms.RandomHorizontalFlip(), transforms.RandomVerticalFlip())
    train, val = batches("train", *flips, shuffle=True), batches("val")
    adam = torch.optim.Adam(model.parameters(), lr=PLAIN_RATE)
    model.to(device).train()
    for _ in range(PLAIN_EPOCHS):
        for batch, labels in train:
            adam.zero_grad()
            F.cross_entropy(model(batch.to(device)), labels.to(device)).backward()
            adam.step()
    model.eval()
    with torch.no_grad():
        logits = [model(batch.to(device)).cpu() for batch, _ in val]
    bad = F.softmax(torch.cat(logits), dim=1)[:, 1]
    return pd.Series(bad.numpy(), table.id[table.split == "val"])


class Block(nn.Module):
    """Two depthwise separable convolutions and a shortcut, as a person would draw them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
            pointwise = nn.Conv2d(channels, channels, 1, bias=False)
            layers += [nn.ReLU(), depthwise, pointwise, nn.BatchNorm2d(channels)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class HandDesigned(Network):
    """A network drawn by hand with as many weights as those of the cells: 32, 64, 128 channels."""

    def __init__(self, size_px: int, channels: int, seed: int) -> None:
        super().__init__()
        self.spec = ModelSpec(
            name="drawn by hand",
            kind="by hand",
            num_classes=2,
            image_size_px=size_px,
            in_channels=channels,
            mean=(0.5,) * channels,
            std=(0.25,) * channels,
            embedding_size=128,
            feature_layer="features",
        )
        layers: list[nn.Module] = []
        with seeding.torch_stream(seed, "initial weights by hand"):
            for before, width, blocks in ((channels, 32, 2), (32, 64, 3), (64, 128, 2)):
                narrowed = nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False)
                layers += [narrowed, nn.BatchNorm2d(width), *(Block(width) for _ in range(blocks))]
            self.features = nn.Sequential(*layers, nn.ReLU())
            self.head = nn.Linear(128, 2)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return self.features(images).mean(dim=(2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(images))


ROWS: Mapping[str, Callable[[pd.DataFrame, int], Scores]] = {
    "lr_on_brightness": brightness,
    **{name: functools.partial(classical, name.upper()) for name in ("lda", "lr", "rf", "svm")},
    "patchcore": good_alone,
    "ll": functools.partial(fine_tuned, layers="ll"),
    "cnn": cnn,
    "by_hand": functools.partial(from_scratch, None),
    **{name.lower(): functools.partial(from_scratch, PUBLISHED[name]) for name in PUBLISHED},
    "searched": searched,
    "plain": plainly,
    "fbp": fine_tuned,
    "fbp_300px": functools.partial(
        fine_tuned, image_size_px=300, fbp_epochs=16, fbp_ema_decay=0.99
    ),
}


def recipe(row: str) -> Callable[[pd.DataFrame, int], Scores]:
    """Return the recipe of a row: one of ROWS, random_cell_NUMBER, or FBP on a BACKBONE@PIXELS."""
    if row in ROWS:
        return ROWS[row]
    if drawn := RANDOM_CELL.fullmatch(row):
        return functools.partial(random_cell, int(drawn[1]))
    backbone, _, size_px = row.partition("@")
    return functools.partial(fine_tuned, backbone=backbone, image_size_px=int(size_px))


def _known(row: str) -> str:
    """Return the canonical name of a row; raise ArgumentTypeError if there is no such row."""
    backbone, _, size_px = row.partition("@")
    if row in ROWS or RANDOM_CELL.fullmatch(row):
        return row
    try:
        return f"{backbones.canonical(backbone)}@{int(size_px)}"
    except (BackboneError, ValueError):
        raise argparse.ArgumentTypeError(f"{row!r} is none of the rows: see --help") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute what is missing of the named rows, fold by fold; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.out_of_fold")
    known = ", ".join([*ROWS, "random_cell_NUMBER, BACKBONE@PIXELS"])
    parser.add_argument("rows", nargs="+", type=_known, metavar="ROW", help=known)
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=PROTOCOLS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    given = parser.parse_args(arguments)
    save_folds()
    for seed in given.seeds:
        for row in given.rows:
            for fold in range(FOLDS):
                for name in given.protocols:
                    complete(row, name, seed, fold)
    return 0


def save_folds() -> None:
    """Write folds.csv: id, label, group, and the fold of each protocol."""
    columns = {name: protocol(name).set_index("id").fold for name in PROTOCOLS}
    table = protocol("random")[["id", "label", "group"]].join(pd.DataFrame(columns), on="id")
    path, content = published_scores() / "folds.csv", files.csv_bytes(table)
    if path.exists() and path.read_bytes() != content:
        raise files.ArtifactError(
            f"{path}: the folds are others than those of the stored scores: delete {path.parent}"
        )
    files.save_csv(path, table)


def scores_of(row: str, name: str) -> Path:
    """Return the file of a row's scores; those not shown by notebook 06 are beside this file."""
    folder = POPULATION if RANDOM_CELL.fullmatch(row) else published_scores()
    return folder / name / f"{row}.csv"


def stored(row: str, name: str) -> pd.DataFrame:
    """Return a row's scores, a column for each seed that has any; the index is `id`."""
    path = scores_of(row, name)
    table = files.load_csv(path, ("id",)) if path.exists() else protocol(name)[["id"]]
    return table.set_index("id")


def complete(row: str, name: str, seed: int, fold: int) -> None:
    """Score the images of a fold by a row's recipe, unless its file has them already."""
    table, column = protocol(name), f"seed{seed}"
    path, scores = scores_of(row, name), stored(row, name)
    rows = (table.fold == fold).to_numpy(dtype=bool)
    if column in scores and scores[column][rows].notna().all():
        return
    started = time.monotonic()
    found = recipe(row)(sides(table, fold), seed)
    with files.held(path.with_name(f".{row}.lock")):  # other processes train other folds
        scores = stored(row, name)
        values = scores.get(column, pd.Series(np.nan, scores.index)).to_numpy(float, copy=True)
        values[rows] = found[table.id[rows]]
        scores[column] = [float(f"{value:.5g}") for value in values]
        if found.attrs:  # a cell searched in the other folds; a killed training repeats its line
            cells = published_scores() / "searched_cells.jsonl"
            about = {"protocol": name, "seed": seed, "fold": fold} | found.attrs
            lines = cells.read_text("utf-8").splitlines() if cells.exists() else []
            kept = sorted({*lines, json.dumps(about)})
            cells.write_text("\n".join([*kept, ""]), "utf-8")
        files.save_csv(path, scores.reset_index())
    auc = metrics.roc_auc(table.label[rows].astype(int), values[rows])
    print(
        f"{row}, {name}, seed {seed}, fold {fold}: AUC {100 * auc:.1f}, "
        f"{time.monotonic() - started:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
