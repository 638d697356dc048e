"""Which parts of the fine-tuning recipe help on ELPV: `python -m tests.benchmarks.ablation`.

Each row changes version 0.1's recipe in one way, or joins several such changes. Fine-tuning (all
layers, FBP) is trained without each of five folds, keeps its last epoch, and scores the images of
the fold once, so no label of the fold decides anything. There are five folds of whole modules (the
split `groups`, from data/elpv_groups.csv) and five random ones. The row `seed1` is the base with
another seed: its difference is chance alone.

A training is done once: its numbers are lines of ablation.csv beside this file, with a digest of
all that they depend on, and a killed one continues after its last epoch. Rows that differ only in
how images are scored share a training. Several processes may work at once on different folds or
rows, and smaller images make a cheaper table:

    python -m tests.benchmarks.ablation --rows base,turns --folds 0,1 &
    python -m tests.benchmarks.ablation --rows base,turns --folds 2,3,4
    python -m tests.benchmarks.ablation --size-px 128 --rows base,turns
    python -m tests.benchmarks.ablation --show
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch.optim.swa_utils import update_bn

from helpers import datasets
from helpers.core import files, locks, metrics, paths, seeding
from helpers.core.folds import stratified_folds
from helpers.darts.named import PUBLISHED
from helpers.darts.retrain import make_network
from helpers.datasets.cache import ImageCache, open_cache
from helpers.datasets.settings import SplitSettings
from helpers.models import backbones
from helpers.models.depthwise import use_fast_depthwise
from helpers.models.spec import Network
from helpers.runs import settings
from helpers.training.augment import augmentation
from helpers.training.baselines import fit_baseline
from helpers.training.features import embed, image_batches
from helpers.training.inference import Scorer, predict, probability_of_bad
from helpers.training.loop import Hooks, Training, resume_file
from helpers.training.settings import BaselineSettings, TrainSettings

SPLITS = ("groups", "random")
FOLDS = 5
OWN = ("folds", "trees", "seed", "cv_images")  # settings of a classical model
WATCHED = 8  # training images of each class that the loop validates on; they decide nothing
# Columns of the lines of a training, one for each of `SCORES`.
COLUMNS = (
    *("digest", "row", "split", "fold", "size_px", "backbone"),
    *("score", "auc", "within_auc", "seconds"),
)
SCORES = ("views1", "views4", "views8", "adabn", "ema")

VERSION_01 = TrainSettings(
    epochs=8,
    batch_size=32,
    optimizer="adamw",
    lr=1e-3,
    weight_decay=0.01,
    schedule="one_cycle",
    label_smoothing=0.1,
    grad_clip=5.0,
    augment="full",
    class_weights=False,
    head_lr_factor=1.0,
    ema_decay=0.99,  # watched: only the score "ema" uses the average
    keep="last",
)
# `quick` as it was when the row "cell" was measured
QUICK_CELLS = settings.resolve(
    "05_genotype_retraining", "quick", {"retrain_epochs": 40, "retrain_augment": "full"}
)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained and how it scores: the defaults are version 0.1's."""

    training: TrainSettings = VERSION_01
    size_px: int = 192
    seed: int = 0
    turns: bool = False  # see `training.augment`
    affine_p: float = 1.0
    drop_below: float = 0.0  # see `ImageBatches`
    standardise: bool = False
    lot_means: bool = False  # replace the mean image of each module by that of all
    cell: str = ""  # a published cell from random weights, in place of the backbone
    frozen: str = ""  # a classical model on the backbone's embeddings, which is not trained
    # one of `SCORES`: symmetries that are averaged, AdaBN by module, or the average of the weights
    score: str = "views1"


# each row's changes of `Recipe` or of its `training`
ROWS: dict[str, dict[str, Any]] = {
    "base": {},
    "seed1": {"seed": 1},
    "views4": {"score": "views4"},
    "views8": {"score": "views8"},
    "turns": {"turns": True},
    "turns_views8": {"turns": True, "score": "views8"},
    "affine_half": {"affine_p": 0.5},
    "whole_batches": {"drop_below": 0.5},
    "ema": {"score": "ema"},
    "photometric": {"augment": "photometric"},
    "standardise": {"standardise": True},
    "class_weights": {"class_weights": True},
    "low_lr": {"lr": 3e-4},
    "head_lr": {"lr": 3e-4, "head_lr_factor": 10.0},
    "adabn": {"score": "adabn"},
    "lot_means": {"lot_means": True},
    "long": {"epochs": 16},
    "large": {"size_px": 300},
}
ALL = (
    *("turns", "affine_half", "whole_batches", "photometric", "standardise"),
    *("class_weights", "views8"),
)
NEW = ("turns", "affine_half", "whole_batches", "views8")  # the presets' recipe
ROWS["new"] = {name: value for row in NEW for name, value in ROWS[row].items()}
ROWS["all"] = {name: value for row in ALL for name, value in ROWS[row].items()}
ROWS["all_long"] = ROWS["all"] | {"epochs": 16, "lr": 6e-4}
ROWS["all_large"] = ROWS["all_long"] | {"size_px": 300}
# for comparison, not changes of the recipe
ROWS["frozen"] = {"frozen": "LDA"}
ROWS["cell"] = ROWS["new"] | {"cell": "DARTS_V2", "size_px": QUICK_CELLS.retrain_image_size_px}
ROWS["cell"] |= dataclasses.asdict(QUICK_CELLS.training) | {"keep": "last", "ema_decay": 0.99}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is missing, print and write the table; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, own = parser.add_argument, Path(__file__).with_suffix(".csv")
    add("--rows", type=_some(ROWS), default=list(ROWS), help="names with commas; default: all")
    add("--splits", type=_some(SPLITS), default=list(SPLITS), help="groups, random or both")
    add("--folds", type=_some(map(str, range(FOLDS))), default=[*map(str, range(FOLDS))])
    add("--backbone", default="efficientnet_lite0")
    add("--size-px", type=int, default=192, help="side of the images; default: %(default)s")
    add("--out", type=Path, default=own, help="CSV of the numbers; default: %(default)s")
    add("--show", action="store_true", help="print the table of what is done, train nothing")
    given = parser.parse_args(arguments)
    ablation = Ablation(elpv(), given.backbone, given.out, given.size_px)
    if not given.show:
        for row in given.rows:
            for split in given.splits:
                for fold in map(int, given.folds):
                    found = ablation.result(row, split, fold)
                    print(f"{row}, {split} fold {fold}: AUC {found.auc:.4f}", flush=True)
    rows = list(dict.fromkeys(["base", *given.rows]))
    found = ablation.measured(rows, given.splits)
    if found.empty:
        print("nothing is done yet")
        return 0
    print(in_words(table(found)))
    print(f"AUC x 100 at {given.size_px} px, differences from base by fold ± standard error")
    return 0


def elpv() -> pd.DataFrame:
    """Return ELPV's `id, path, label, group`, and its fold of each split: `groups`, `random`."""
    table = datasets.load(SplitSettings()).table
    published = files.load_csv(
        paths.project_root() / "data" / "elpv_groups.csv", ("group", "twin_of", "fold")
    )
    table = table.drop(columns="group", errors="ignore").merge(published, on="id")
    cell = np.minimum(table.id, table.twin_of.fillna("~"))  # both pictures of one cell
    strata = table.label.astype(str) + table.cell_type
    folds = stratified_folds(strata, FOLDS, random_state=0, groups=cell)
    return table[["id", "path", "label", "group"]].assign(groups=table.fold, random=folds)


class RawWeights(Hooks):
    """The weights themselves at the end of the last epoch: the loop leaves their average."""

    def __init__(self, model: Network) -> None:
        self.model, self.weights = model, {}

    def epoch_ends(self, record: dict[str, Any], past: Any) -> bool:
        """Copy the weights."""
        self.weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        return False

    def state(self) -> dict[str, Any]:
        """Return the copy."""
        return {"weights": self.weights}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take the copy of a killed training."""
        self.weights = state["weights"]


class Ablation:
    """The trainings of an ablation: `result` does one, unless it is done."""

    def __init__(self, images: pd.DataFrame, backbone: str, out: Path, size_px: int) -> None:
        """Take images (`id, path, label, group`, and a column of folds for each split)."""
        self.images, self.backbone, self.out, self.size_px = images, backbone, out, size_px
        self.unfinished = out.parent / "build"  # what may be deleted whenever nothing runs
        self._caches: dict[int, ImageCache] = {}
        self._embeddings: dict[int, np.ndarray] = {}

    @functools.cached_property
    def weights(self) -> backbones.Weights:
        """The pretrained weights."""
        return backbones.find_weights(self.backbone)

    def recipe(self, row: str) -> Recipe:
        """Return the recipe of a row."""
        inner = {field.name for field in dataclasses.fields(TrainSettings)}
        own = {name: value for name, value in ROWS[row].items() if name not in inner}
        training = {name: value for name, value in ROWS[row].items() if name in inner}
        base = Recipe(size_px=self.size_px)
        own_training = dataclasses.replace(base.training, **training)
        return dataclasses.replace(base, training=own_training, **own)

    def cache(self, size_px: int) -> ImageCache:
        """Return the decoded images."""
        if size_px not in self._caches:
            self._caches[size_px] = open_cache(self.images, size_px, paths.cache_root())
        return self._caches[size_px]

    def build(self, recipe: Recipe) -> Network:
        """Return the pretrained network with a new head."""
        if recipe.cell:
            cache = self.cache(recipe.size_px)
            return make_network(QUICK_CELLS, PUBLISHED[recipe.cell], cache, recipe.seed)
        with seeding.torch_stream(recipe.seed, "initial weights head"):
            model = backbones.pretrained(self.weights, 2, recipe.size_px)
        return use_fast_depthwise(model)

    def digest(self, recipe: Recipe, split: str, fold: int) -> str:
        """Return a digest of all that the numbers of a training depend on."""
        inputs = [
            dataclasses.asdict(dataclasses.replace(recipe, score="")),
            self.weights.digest,
            self.cache(recipe.size_px).content,
            self.images[["id", "label", "group", split]].astype(str).to_numpy(),
            fold,
            str(augmentation(recipe.training.augment, recipe.turns, recipe.affine_p)),
        ]
        return files.fingerprint(inputs)

    def result(self, row: str, split: str, fold: int) -> pd.Series:
        """Return the line (`COLUMNS`) of a row and a fold; train if needed."""
        recipe = self.recipe(row)
        digest = self.digest(recipe, split, fold)
        if (done := self._line(digest, recipe)) is not None:
            return done
        print(f"{row}, {split} fold {fold}: training", flush=True)
        resume = resume_file(self.unfinished, recipe.training, recipe.seed, digest)
        scores, seconds = self._train(recipe, split, fold, resume)
        own = self.images[self.images[split] == fold]
        labels, groups = own.label.to_numpy(np.int64), own.group.to_numpy()
        lines, about = [], (digest, row, split, fold, recipe.size_px, self.backbone)
        for name in SCORES:
            within = metrics.within_group_auc(labels, scores[name], groups)
            auc = metrics.roc_auc(labels, scores[name])
            inside = within.auc.estimate if within else np.nan
            lines.append((*about, name, auc, inside, seconds))
        with locks.held(self.unfinished / "lock"):
            before = self.lines()
            files.save_csv(self.out, pd.concat([before, pd.DataFrame(lines, columns=COLUMNS)]))
        resume.unlink(missing_ok=True)
        return self._line(digest, recipe)

    def lines(self) -> pd.DataFrame:
        """Return the lines of all trainings that are done."""
        if self.out.is_file():
            return files.load_csv(self.out, COLUMNS)
        return pd.DataFrame(columns=COLUMNS)

    def _line(self, digest: str, recipe: Recipe) -> pd.Series | None:
        lines = self.lines()
        own = lines[(lines.digest == digest) & (lines.score == recipe.score)]
        return None if own.empty else own.iloc[0]

    def _train(
        self, recipe: Recipe, split: str, fold: int, resume: Path
    ) -> tuple[dict[str, np.ndarray], float]:
        """Return the probabilities of bad (N,) of a fold for each of `SCORES`, and the seconds."""
        training, cache = recipe.training, self.cache(recipe.size_px)
        if recipe.frozen:
            return self._frozen(recipe, split, fold)
        if recipe.lot_means:
            groups = self.images.set_index("id").group[cache.table.id].to_numpy()
            cache = dataclasses.replace(cache, pixels=without_group_means(cache.pixels, groups))
        model = self.build(recipe)
        model.spec = dataclasses.replace(model.spec, standardise=recipe.standardise)
        own = self.images[split] == fold
        seen, unseen = self.images[~own], self.images[own]
        batches = image_batches(cache, seen, model, training.batch_size)
        batches.augment = augmentation(training.augment, recipe.turns, recipe.affine_p)
        batches.drop_below = recipe.drop_below
        watched = image_batches(cache, seen.groupby("label").head(WATCHED), model, 2 * WATCHED)
        raw = RawWeights(model)
        done = Training(
            model,
            batches,
            watched,
            training,
            seed=recipe.seed,
            name=f"{split} fold {fold}",
            hooks=raw,
            resume=resume,
        ).run()
        scored, precision = image_batches(cache, unseen, model, 64), training.precision
        found = {"ema": predict(model, scored, precision)}
        model.load_state_dict(raw.weights)
        scores = Scorer(model, None, precision, 8 * len(scored)).scores(scored, views=8)
        for views in (1, 4, 8):
            found[f"views{views}"] = probability_of_bad(scores[:views])
        found["adabn"] = by_group(model, cache, unseen, precision)
        return found, done.seconds

    def _frozen(self, recipe: Recipe, split: str, fold: int) -> tuple[dict[str, np.ndarray], float]:
        """Do what `_train` does for a classical model on embeddings: one view, so one score."""
        started, is_own = time.monotonic(), self.images[split] == fold
        if recipe.size_px not in self._embeddings:
            model, cache = self.build(recipe), self.cache(recipe.size_px)
            found = embed(model, cache, self.images)
            self._embeddings[recipe.size_px] = found.embeddings
        x, labels = self._embeddings[recipe.size_px], self.images.label.to_numpy(np.int64)
        groups = self.images.group.to_numpy()[~is_own] if split == "groups" else None
        own = {name: getattr(BaselineSettings(), name) for name in OWN}
        model = fit_baseline(recipe.frozen, x[~is_own], labels[~is_own], groups=groups, **own)
        scores = model.defect_score(x[is_own])
        return dict.fromkeys(SCORES, scores), time.monotonic() - started

    def measured(self, rows: Sequence[str], splits: Sequence[str]) -> pd.DataFrame:
        """Return `row, split, fold, auc, within_auc, seconds` of all trainings that are done."""
        found = []
        for row in rows:
            for split in splits:
                for fold in range(FOLDS):
                    recipe = self.recipe(row)
                    line = self._line(self.digest(recipe, split, fold), recipe)
                    if line is not None:
                        found.append((row, split, fold, line.auc, line.within_auc, line.seconds))
        columns = ["row", "split", "fold", "auc", "within_auc", "seconds"]
        return pd.DataFrame(found, columns=columns)


def by_group(
    model: Network, cache: ImageCache, images: pd.DataFrame, precision: str = "auto"
) -> np.ndarray:
    """Return the probability of bad (N,), with batch norm adapted to each group's images.

    AdaBN (Li et al. 2017, arXiv 1603.04779): a new lot may be brighter or blurred, which shifts the
    inputs of every layer. The statistics of batch norm that the model had are lost.
    """
    scores = pd.Series(np.nan, index=images.index)
    for _, own in images.groupby("group"):
        batches = image_batches(cache, own, model, len(own))
        update_bn(batches.ordered(), model)
        scores[own.index] = probability_of_bad(Scorer(model, precision=precision).scores(batches))
    return scores.to_numpy()


def without_group_means(pixels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return images (N, S, S, C) uint8 in which each group (N,) has the mean image of all.

    What all images of a lot share, such as its exposure, a shadow or a bright edge, is gone. It
    takes no labels.
    """
    overall = pixels.mean(axis=0)
    shifted = np.empty(pixels.shape, np.uint8)
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        images = pixels[own].astype(np.float64)
        moved = images - images.mean(axis=0) + overall
        shifted[own] = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
    return shifted


def table(found: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each split and row from the AUC of each fold.

    Args:
        found: `row, split, fold, auc, within_auc, seconds`, the row "base" among them.

    Returns:
        `split, row, folds`; for `auc` and `within_auc` the mean over the folds, `*_fold0` and so
        on, and `*_difference` with its standard error `*_se`: the mean over the folds of the
        difference from the base; and `seconds`, the mean of a training. `*_se` is missing with one
        fold, and both if no fold of the base is done.
    """
    lines = []
    by_fold = found.set_index("fold")
    for (split, row), own in by_fold.groupby(["split", "row"], sort=False):
        base = by_fold[(by_fold.split == split) & (by_fold.row == "base")]
        line: dict[str, Any] = {"split": split, "row": row, "folds": len(own)}
        for name in ("auc", "within_auc"):
            difference = (own[name] - base[name]).dropna()
            line[name] = own[name].mean()
            line[f"{name}_difference"] = difference.mean()
            line[f"{name}_se"] = difference.std() / np.sqrt(max(1, len(difference)))
            line |= {f"{name}_fold{fold}": value for fold, value in own[name].items()}
        lines.append(line | {"seconds": own.seconds.mean()})
    return pd.DataFrame(lines)


def in_words(whole: pd.DataFrame) -> str:
    """Return what `table` returns as lines of text, AUCs times 100."""
    shown = whole[["split", "row", "folds"]].copy()
    for name, title in (("auc", "AUC"), ("within_auc", "within groups")):
        folds = [f"{name}_fold{fold}" for fold in range(FOLDS) if f"{name}_fold{fold}" in whole]
        shown[f"{title} by fold"] = [
            " ".join("   -" if np.isnan(v) else f"{100 * v:.1f}" for v in values)
            for values in whole[folds].to_numpy(dtype=float)
        ]
        shown[title] = (100 * whole[name]).map("{:.2f}".format)
        pairs = 100 * whole[[f"{name}_difference", f"{name}_se"]]
        shown[f"{title} - base"] = [
            "" if np.isnan(d) else f"{d:+.2f}" + ("" if np.isnan(se) else f" ± {se:.2f}")
            for d, se in pairs.to_numpy()
        ]
    return shown.assign(s=whole.seconds.map("{:.0f}".format)).to_string(index=False)


def _some(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return the type of an option that takes some of these names, with commas between."""
    names = list(known)

    def read(text: str) -> list[str]:
        found = [part.strip() for part in text.split(",") if part.strip()]
        if wrong := [name for name in found if name not in names]:
            raise argparse.ArgumentTypeError(f"{wrong[0]!r} is not one of {', '.join(names)}")
        return found

    return read


if __name__ == "__main__":
    sys.exit(main())
