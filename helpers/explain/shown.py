"""Which model of a run is looked into, and which parts are worth looking at.

Parts are rows of a table (`id`, `path`, `label`, `defect_score`); maps are (B, H, W).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from helpers.core import devices
from helpers.core.paths import RunPaths
from helpers.core.style import LABEL_NAMES
from helpers.datasets.cache import ImageCache
from helpers.explain.gradcam import feature_layer, grad_cam
from helpers.models import backbones
from helpers.results import operating_point, results_table
from helpers.results.metrics import roc_auc
from helpers.runs import names, predictions, record, stages
from helpers.training.features import cache_of, image_batches
from helpers.training.inference import placed

AVERAGED = "_averaged"
GROUPS = ("surest hits", "worst misses", "least certain")  # the rows of a gallery


def display_name(model: str) -> str:
    """Return the name that figures show."""
    averaged = ", seeds averaged" if model.endswith(AVERAGED) else ""
    return names.display_name(model.removesuffix(AVERAGED)) + averaged


class ExplainError(ValueError):
    """There is no model to explain, or no part to show; the message says what is missing."""


@dataclass(frozen=True)
class Shown:
    """A model whose maps are shown, and the labelled parts that it scored."""

    wanted: str  # the model that was asked for
    name: str  # the model that is shown
    scores_of: str  # the model that gave the scores of `parts`, one of the two
    model: backbones.Model
    cache: ImageCache
    parts: pd.DataFrame  # id, path, label, defect_score of the parts of `side`
    side: str  # "test", or "val" where the test labels are hidden
    threshold: float  # chosen on validation; parts at or above it are called bad

    @property
    def caption(self) -> str:
        """Which model is shown, on which parts, and why another one than was asked for."""
        name, wanted = display_name(self.name), display_name(self.wanted)
        side = "validation" if self.side == "val" else "test"
        text = (
            f"{name} on {len(self.parts)} labelled {side} parts; called bad from a score of "
            f"{self.threshold:.3f} on, chosen on validation."
        )
        if self.name == self.wanted:
            return text
        if self.shows_first_seed:
            about = f"{wanted}: an average has no network of its own"
            if self.scores_of == self.wanted:
                return f"{text.replace(name, wanted, 1)} {about}; the maps are its first seed's."
            return f"{about}, so its first seed is shown. {text}"
        reason = f"{wanted} has no network of its own to look into"
        if self.scores_of == self.wanted:
            text = text.replace(name, wanted, 1)
            return f"{text} {reason}: the maps are those of {name}, the best that has one."
        return f"{reason}, so the best model on validation that has one is shown. {text}"

    @property
    def shows_first_seed(self) -> bool:
        """Whether an average of seeds was asked for, whose first has given the network."""
        return self.wanted == self.name + AVERAGED

    @property
    def title(self) -> str:
        """The model's name for a figure, and which one it stands in for."""
        name, wanted = display_name(self.name), display_name(self.wanted)
        if self.name == self.wanted:
            return name
        if self.scores_of == self.wanted:
            return f"{wanted}, maps of {'its first seed' if self.shows_first_seed else name}"
        if self.shows_first_seed:
            return f"{name}, first seed (an average has no network of its own)"
        return f"{name} (in place of {wanted}, no network)"

    def images(self, ids: pd.Series) -> Tensor:
        """Images as the model wants them, on its device: (B, C, H, W), in the order of `ids`."""
        table = pd.DataFrame({"id": np.asarray(ids), "label": 0})
        device = next(self.model.parameters()).device
        batches = image_batches(self.cache, table, self.model, len(table), device=device)
        return torch.cat(list(batches.ordered()))

    def maps(self, ids: pd.Series, target_class: int | Tensor) -> Tensor:
        """Grad-CAM of the parts for a class, or one class a part: (B, H, W) on the CPU."""
        layer = feature_layer(self.model)
        return grad_cam(self.model, self.images(ids), target_class, layer).cpu()

    def pixels(self, ids: pd.Series) -> np.ndarray:
        """The parts as they look, at the model's size: (B, H, W, C) uint8."""
        return self.cache.take(self.cache.rows(ids))


def open_model_if_any(run_paths: RunPaths, wanted: str = "") -> Shown | None:
    """`open_model`, or None with a printed reason in a run that has no network to look into."""
    scored = predictions.read_all_predictions(run_paths, ensembles=True)
    if any(run_paths.checkpoint(name).is_file() for name in scored):
        return open_model(run_paths, wanted)
    print("no network has been trained in this run: notebook 03 or 05 makes the pictures possible")
    return None


def open_model(run_paths: RunPaths, wanted: str = "", own_scores: bool = False) -> Shown:
    """The model `wanted` (of the run's predictions; "" is the best on validation) with its parts.

    A model without a network (an SVM, an ensemble) gives way to the best on validation that has a
    checkpoint; with `own_scores` only for the maps. `Shown.caption` says so.

    Raises:
        ExplainError: no such model, or no model with a checkpoint.
        ArtifactError: no predictions, or a file that does not fit the split.
    """
    scored = predictions.read_all_predictions(run_paths, ensembles=True)
    if wanted and wanted not in scored:
        raise ExplainError(f"run {run_paths.name} has no model {wanted!r}; it has {_list(scored)}")
    ranked = sorted(scored, key=lambda name: -roc_auc(*scored[name].labels_scores("val")))
    wanted = wanted or ranked[0]
    preferred = (
        wanted,
        wanted.removesuffix(AVERAGED),
        *ranked,
    )  # an average's maps are its first seed's
    explainable = [name for name in preferred if run_paths.checkpoint(name).is_file()]
    if not explainable:
        raise ExplainError(
            f"none of {_list(scored)} has a checkpoint in {run_paths.checkpoint('').parent}; run "
            "notebook 03 first"
        )
    name = explainable[0]
    path = run_paths.checkpoint(name)
    with record.naming_maker(run_paths, path):
        model = backbones.load_model(path)
    placed(model, devices.default_device())
    split = predictions.read_split(run_paths)
    scores_of = wanted if own_scores else name
    parts, side = _labelled_parts(scored[scores_of], split)
    return Shown(
        wanted=wanted,
        name=name,
        scores_of=scores_of,
        model=model,
        cache=cache_of(split, model.spec.image_size_px),
        parts=parts,
        side=side,
        threshold=_threshold(scored[scores_of], split),
    )


def surest_of_each_class(shown: Shown, most: int = 256, at_once: int = 32) -> pd.DataFrame:
    """A good and a bad part for `class_maps`: the most surely right one of each class whose maps
    for both labels are not empty; looked for among the `most` surest, else the surest.

    What a network is very sure of often leaves nothing that speaks for the other label, and an
    empty map shows nothing. `rank` counts from 1, the surest, to `n_right`.

    Where no part of a class is rightly called, `n_right` is 0 and the least wrong one is taken.

    Raises:
        ExplainError: no part of a class.
    """
    rows = []
    for label, word in LABEL_NAMES.items():
        own = shown.parts[shown.parts.label == label]
        if own.empty:
            raise ExplainError(
                f"there is no {word} part among the {len(shown.parts)} labelled ones"
            )
        right = own[called(own, shown.threshold) == label]
        pool = own if right.empty else right
        pool = pool.sort_values("defect_score", ascending=label == 0, kind="stable")
        pool = pool.assign(rank=np.arange(1, len(pool) + 1), n_right=len(right))
        chosen = pool.iloc[:1]
        for start in range(0, min(most, len(pool)), at_once):
            some = pool.iloc[start : min(start + at_once, most)]
            some = some[_holds_something(shown, some.id, 1 - label)]
            some = some[_holds_something(shown, some.id, label)] if len(some) else some
            if len(some):
                chosen = some.iloc[:1]
                break
        rows.append(chosen)
    return pd.concat(rows, ignore_index=True)


def gallery_parts(parts: pd.DataFrame, threshold: float, n: int) -> pd.DataFrame:
    """Up to `n` parts of each `group`, with the class that each was `called`.

    "surest hits" are rightly called and nearest to their label, "worst misses" wrongly called and
    farthest from it, both half good and half bad parts where there are enough; "least certain"
    ones are nearest to the threshold.
    """
    as_called = called(parts, threshold)
    parts = parts.assign(called=as_called, mistake=(parts.label - parts.defect_score).abs())
    right, wrong = parts[as_called == parts.label], parts[as_called != parts.label]
    nearest = (parts.defect_score - threshold).abs().sort_values(kind="stable").index[:n]
    groups = {
        "surest hits": _half_of_each(right.sort_values("mistake", kind="stable"), n),
        "worst misses": _half_of_each(
            wrong.sort_values("mistake", ascending=False, kind="stable"), n
        ),
        "least certain": parts.loc[nearest],
    }
    return pd.concat([rows.assign(group=name) for name, rows in groups.items()], ignore_index=True)


def called(parts: pd.DataFrame, threshold: float) -> pd.Series:
    """1 for parts at or above the threshold, which are called bad, 0 for the others."""
    return (parts.defect_score >= threshold).astype(int)


def part_title(part: Any) -> str:
    """Id (its last 16 characters), label and score of a row of a table of parts."""
    return f"{str(part.id)[-16:]}\n{LABEL_NAMES[part.label]}, score {part.defect_score:.3f}"


def attribution(run_paths: RunPaths) -> str:
    """Whose images a run shows, as its source wants it said."""
    return stages.load_run(run_paths)["stages"]["01_data_split"].get("attribution", "")


def backbone_of(run_paths: RunPaths) -> str | None:
    """The pretrained backbone that the run's earlier stages used."""
    found = [stage.get("backbone") for stage in stages.load_run(run_paths)["stages"].values()]
    return next((name for name in reversed(found) if name), None)


def _labelled_parts(scored: predictions.Scored, split: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The test parts, or the validation parts where the labels of the test parts are hidden."""
    side = scored.judged_on
    rows = {"val": scored.val, "test": scored.test}[side]
    rows = rows[rows.label.notna()]
    rows = rows.assign(label=rows.label.astype(int))
    return rows.merge(split[["id", "path"]], on="id"), side


def _threshold(scored: predictions.Scored, split: pd.DataFrame) -> float:
    """The most accurate one on validation, weighed as the line is: the table's."""
    bad_rate = results_table.training_bad_rate(split)
    return operating_point.cheapest_threshold(*scored.labels_scores("val"), 1, 1, bad_rate)


def _list(scored: dict[str, predictions.Scored]) -> str:
    return ", ".join(sorted(scored))


def _half_of_each(ordered: pd.DataFrame, n: int) -> pd.DataFrame:
    """The first `n`, half good and half bad; the other class fills up what one lacks."""
    place = ordered.groupby("label").cumcount()
    first = ordered.index[place < n // 2]
    others = ordered.index.difference(first, sort=False)[: n - len(first)]
    chosen = ordered.loc[ordered.index.isin([*first, *others])]
    return chosen.sort_values("label", kind="stable")


def _holds_something(shown: Shown, ids: pd.Series, label: int) -> np.ndarray:
    return (shown.maps(ids, label).amax((1, 2)) > 0).numpy()
