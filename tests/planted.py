"""A run with made-up parts, and models of a chosen quality planted into it as predictions files."""

import numpy as np
import pandas as pd
from scipy import special

from helpers.core import files
from helpers.core.members import cross_fitted, sides
from helpers.core.paths import RunPaths
from helpers.datasets.split_file import read_split
from helpers.decisions.settings import DecisionSettings
from helpers.models.record import Model
from helpers.results import predictions
from helpers.runs import record
from helpers.runs.record import joined
from helpers.runs.run import Run


def make_run(n=200, name="toy", seed=0) -> RunPaths:
    """`n` parts on each side of the split: validation balanced, training and test 30 % bad."""
    rng = np.random.default_rng(seed)
    sides = {"train": 0.3, "val": 0.5, "test": 0.3}
    labels = [rng.permutation((np.arange(n) < share * n).astype(int)) for share in sides.values()]
    split = pd.DataFrame({"id": [f"{i:04d}" for i in range(3 * n)], "path": "x.png"})
    split = split.assign(label=np.concatenate(labels), split=np.repeat(list(sides), n))
    run_paths = RunPaths(name)
    files.save_csv(run_paths.split_csv, split)
    files.save_json(run_paths.run_json, {"run": name, "preset": "quick", "stages": {}})
    return run_paths


def run_of(qualities: dict[str | Model, float]) -> RunPaths:
    """A run with models of these qualities, as `plant` takes them, each with errors of its own."""
    run_paths = make_run()
    for seed, (model, quality) in enumerate(qualities.items()):
        plant(run_paths, model, quality, seed)
    return run_paths


def make_run_without_test(name: str, by_groups: bool, n=200) -> RunPaths:
    """The parts of `make_run` in 30 lots and five folds, of whole lots if `by_groups`."""
    run_paths = make_run(n, name)
    split, part = read_split(run_paths.split_csv), np.arange(3 * n)
    fold = (part % 30 if by_groups else part // 30) % 5
    sides = np.where(fold == 0, "val", "train")
    lots = [f"lot{number:02d}" for number in part % 30]
    files.save_csv(run_paths.split_csv, split.assign(split=sides, fold=fold, group=lots))
    return run_paths


def plant(
    run_paths: RunPaths, model: str | Model, separation: float, seed: int, *others: int, once=False
) -> None:
    """A model whose logits are `separation` apart for good and bad; infinite is perfect.

    A name is that of a file alone, a record that of a model of the run. `others` are more seeds.
    On a split with folds it is cross-fitted unless `once`.
    """
    split = read_split(run_paths.split_csv)
    label = split.label.astype(float).to_numpy()
    scores = {}
    members = cross_fitted(split.drop(columns="fold") if once else split, (seed, *others))
    for one in members:
        draw = (one.seed, one.fold) if one.fold else one.seed
        noise = np.random.default_rng(draw).normal(size=len(split))
        logits = noise + separation * (label - 0.5) if np.isfinite(separation) else noise
        scores[one] = special.expit(logits)
        if np.isinf(separation):
            scores[one] = 0.5 * scores[one] + 0.5 * label
    slug = model if isinstance(model, str) else model.slug
    frames = {
        member: predictions.predictions_frame(sides(split, member.fold), own)
        for member, own in scores.items()
    }
    files.save_csv(run_paths.predictions(slug), joined(frames))
    if isinstance(model, Model):
        with record.edit_run(run_paths) as run:
            about = {"stage": "03_finetuning", "model": model.to_json()}
            about["digest"] = files.file_digest(run_paths.predictions(slug))
            run.setdefault("models", {})[slug] = about


def add_folds(run_paths: RunPaths, folds: int = 5) -> None:
    """Divide the training images among the folds 1, 2, ...; validation is fold 0."""
    split = read_split(run_paths.split_csv)
    train = split.split == "train"
    fold = (1 + (train.cumsum() - 1) % (folds - 1)).astype("Int64").where(train)
    files.save_csv(run_paths.split_csv, split.assign(fold=fold.mask(split.split == "val", 0)))


def hide_test_labels(run_paths: RunPaths) -> None:
    """As in a contest."""
    split = read_split(run_paths.split_csv)
    split = split.assign(label=split.label.mask(split.split == "test"))
    files.save_csv(run_paths.split_csv, split)


def decision_stage(run_paths: RunPaths, **settings) -> Run:
    """An opened stage 07."""
    return Run("07_decision", run_paths, "quick", DecisionSettings(**settings))
