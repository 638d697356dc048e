"""Names of models: of their predictions files, in tables and legends, and their order there."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable

import seaborn as sns

from helpers.runs import settings

FINETUNED = "_finetuned"  # suffix of a classical model's file on fine-tuned features
AVERAGED = "_averaged"  # suffix of the file that holds the mean of a model's seeds
# order and names of the report's Table 2; others follow in alphabetical order
ROW_NAMES = {
    "lda": "LDA",
    "rf": "RF",
    "lr": "LR",
    "svm": "SVM",
    "ll": "LL",
    "cnn": "two-layer CNN",
    "fbp": "FBP",
    "darts_imagenet": "DARTS ImageNet",
    "darts_searched": "DARTS searched",
    "darts_v1": "DARTS V1",
    "pc_darts_cifar": "PC-DARTS CIFAR",
    "pc_darts_imagenet": "PC-DARTS ImageNet",
    "pdarts": "P-DARTS",
    "random_cell": "Random cell",
    "rank_average": "rank average",
}
_SEED = re.compile(r"(?P<model>.+)_seed(?P<number>[1-9]\d*)")  # a model's further seeds
_RANDOM = re.compile(r"random_cell_(\d+)")


def display_name(model: str) -> str:
    """The name that tables and legends show."""
    if model.endswith(FINETUNED):
        return f"{display_name(model.removesuffix(FINETUNED))} on FBP features"
    if model.endswith(AVERAGED):
        return f"{display_name(model.removesuffix(AVERAGED))}, seeds averaged"
    further, drawn = _SEED.fullmatch(model), _RANDOM.fullmatch(model)
    if further:
        return f"{display_name(further['model'])}, seed {further['number']}"
    if drawn:
        return f"{ROW_NAMES['random_cell']} {drawn[1]}"
    return ROW_NAMES.get(model, model)


def legend_name(model: str, models: Collection[str]) -> str:
    """The name in a legend beside `models`, of which each has a curve from one file of scores.

    A model with an average beside it has several seeds, and its own file is the first of them.
    """
    several = model + AVERAGED in models
    return f"{display_name(model)}, first seed" if several else display_name(model)


def order(name: str) -> tuple[int, str]:
    """What to sort models by: the report's order, then others, ensembles last."""
    stem = base_name(name.removesuffix(FINETUNED))
    stem = "random_cell" if _RANDOM.match(stem) else stem
    known = list(ROW_NAMES)
    if name in settings.ENSEMBLES:
        return (len(known) + 1, name)
    return (known.index(stem) if stem in known else len(known), name)


def seed_name(name: str, number: int) -> str:
    """The file of a model's `number`-th seed, counted from 0."""
    return name if number == 0 else f"{name}_seed{number}"


def base_name(name: str) -> str:
    """The model behind a seed's file or an average's: `fbp_seed1` and `fbp_averaged` are `fbp`."""
    return without_seed(name.removesuffix(AVERAGED))


def without_seed(name: str) -> str:
    """The model that a file belongs to: `fbp_seed1` is a training of `fbp`."""
    return further_seed_of(name) or name


def further_seed_of(name: str) -> str | None:
    """The model of which `name` is a training with a further seed; None of any other name."""
    found = _SEED.fullmatch(name)
    return found["model"] if found else None


# places in seaborn's "colorblind" palette; 6 to 8 are too pale, or gray
OWN_COLOURS = {"lda": 0, "rf": 1, "lr": 9, "svm": 5, "ll": 0, "cnn": 1, "fbp": 2}
OWN_COLOURS |= {"darts_imagenet": 4, "darts_searched": 3, "random_cell_0": 5}
OTHER_COLOURS = (9, 7, 8, 6, 0, 1)


def model_colours(models: Iterable[str]) -> dict[str, str]:
    """A colour of the colour-blind palette for each model: the series' own models keep theirs in
    all pictures, an average of seeds and a classifier on FBP features have the model's, and other
    models follow in their order. Dash patterns tell apart what shares a colour.
    """
    palette = sns.color_palette("colorblind").as_hex()
    bases = {name: base_name(name.removesuffix(FINETUNED)) for name in models}
    others = [base for base in dict.fromkeys(bases.values()) if base not in OWN_COLOURS]
    places = OWN_COLOURS | dict(zip(others, itertools.cycle(OTHER_COLOURS), strict=False))
    return {name: palette[places[base]] for name, base in bases.items()}
