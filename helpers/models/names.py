"""The names, the order and the colours of models in tables and figures."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

from helpers.core.rules import SettingsError
from helpers.models import libraries
from helpers.models.record import BASES, Model

ENSEMBLES = ("rank_average", "stacking")  # predictions that 06 makes from all others
BRIGHTNESS = "_on_brightness"  # suffix of a classical model's file on the mean gray value
FINETUNED = "_on_fbp"  # suffix of a classical model's file on fine-tuned features
CLASSICAL = ("lda", "rf", "lr", "svm")  # the models of 02, and of 03 with the suffix
PRETRAINED = ("ll", "fbp")  # the other models of 03 on a backbone
PATCHCORE = "patchcore"  # another model of 02
DISTILLED = "_distilled"  # suffix of a network's file if a teacher taught it
# order and names of the report's Table 2; other models follow in alphabetical order
ROW_NAMES = {
    "lr_on_brightness": "Brightness alone",
    "lda": "LDA",
    "rf": "RF",
    "lr": "LR",
    "svm": "SVM",
    "patchcore": "PatchCore (good parts only)",
    "ll": "LL",
    "cnn": "Two-layer CNN",
    "fbp": "FBP",
    "darts_imagenet": "DARTS ImageNet",
    "darts_searched": "DARTS searched",
    "darts_perturbation": "DARTS perturbation",
    "darts_halving": "Best of halving",
    "darts_v1": "DARTS V1",
    "pc_darts_cifar": "PC-DARTS CIFAR",
    "pc_darts_imagenet": "PC-DARTS ImageNet",
    "pdarts": "P-DARTS",
    "random_cell": "Random cell",
    "rank_average": "Rank average",
    "stacking": "Stacking",
    "majority": "Majority",
}
# positions in seaborn's "colorblind" palette; 6 to 8 are too pale or gray
OWN_COLOURS = {"lda": 0, "rf": 1, "lr": 9, "svm": 5, "ll": 0, "cnn": 1, "fbp": 2}
OWN_COLOURS |= {"patchcore": 9, "darts_imagenet": 4, "darts_searched": 3, "random_cell_0": 5}
OWN_COLOURS |= {"darts_perturbation": 0, "darts_halving": 9}
OTHER_COLOURS = (9, 8, 6, 0, 1, 7)  # gray last: random cells are gray
_ON_BACKBONE = re.compile(rf"({'|'.join((*CLASSICAL, *PRETRAINED))})_(.+)")
_RANDOM = re.compile(r"random_cell_(\d+)")
_AVERAGED = re.compile(r", \d+ (seeds|folds)( x \d+ folds)? averaged$")


def display_name(model: str, averaged: str = "") -> str:
    """Return the name of a predictions file for tables, such as "FBP, 3 seeds averaged".

    `averaged` names what the model's scores are the mean of; it is empty for one training.
    """
    if averaged:
        return f"{display_name(model)}, {averaged} averaged"
    if model.endswith(DISTILLED):
        return f"{display_name(model.removesuffix(DISTILLED))}, distilled"
    if (base := base_name(model)) != model:
        backbone = model.removesuffix(FINETUNED).partition("_")[2]
        return f"{display_name(base)} ({libraries.title(backbone)})"
    if model.endswith(FINETUNED):
        return f"{display_name(model.removesuffix(FINETUNED))} on FBP features"
    if drawn := _RANDOM.fullmatch(model):
        return f"{ROW_NAMES['random_cell']} {drawn[1]}"
    return ROW_NAMES.get(model, model)


def model_of(name: str) -> Model:
    """Return the record of a model whose file has this name."""
    stem = name.removesuffix(DISTILLED)
    teacher = "fbp" if stem != name else ""
    features = next((end for end in (FINETUNED, BRIGHTNESS) if stem.endswith(end)), "")
    stem = stem.removesuffix(features)
    backbone, number = "", None
    if drawn := _RANDOM.fullmatch(stem):
        stem, number = "random_cell", int(drawn[1])
    elif stem not in BASES and (on := _ON_BACKBONE.fullmatch(stem)):
        stem, backbone = on[1], on[2]
    model = Model(stem, backbone, features.removeprefix("_on_"), teacher, number)
    return model if model.slug == name else Model(name)


def backbone_suffix(backbone: str, backbones: Sequence[str]) -> str:
    """Return what a backbone appends to its models' names, as in "fbp_efficientnet_lite2".

    The first of a stage's `backbones` appends nothing.
    """
    return "_" + backbone.replace("/", "_") if backbone in backbones[1:] else ""


def on_backbones(models: Sequence[str], backbones: Sequence[str], end: str = "") -> list[str]:
    """Return the names of models on all backbones of a stage."""
    suffixes = [backbone_suffix(backbone, backbones) for backbone in backbones]
    return [model + suffix + end for suffix in suffixes for model in models]


def base_name(model: str) -> str:
    """Return the name that a model on a further backbone has on the first: "fbp", "svm_on_fbp".

    Other names are returned as they are.
    """
    stem = model.removesuffix(FINETUNED)
    found = None if stem in ROW_NAMES else _ON_BACKBONE.fullmatch(stem)
    return found[1] + model[len(stem) :] if found else model


def _plain(model: str) -> str:
    """Return the name without what says on what a model was fitted, or who taught it."""
    return base_name(model).removesuffix(FINETUNED).removesuffix(DISTILLED)


def chosen(wanted: str, models: Sequence[str]) -> str:
    """Return the model called `wanted`, by its file's name or as a table shows it.

    Raises:
        SettingsError: no model has this name.
    """
    shown = {display_name(name): name for name in models}
    name = shown.get(_AVERAGED.sub("", wanted), wanted)
    if name not in models:
        raise SettingsError(f"MODEL={wanted!r} is not one of {', '.join(models)}")
    return name


def order(name: str) -> tuple[int, str]:
    """Return a key that sorts models: the report's order, then other models, ensembles last."""
    stem = _plain(name)
    stem = "random_cell" if _RANDOM.match(stem) else stem
    known = list(ROW_NAMES)
    if name in ENSEMBLES:
        return (len(known) + 1, name)
    return (known.index(stem) if stem in known else len(known), name)


def model_colours(models: Iterable[str]) -> dict[str, str]:
    """Return a colour of the colour-blind palette for each model.

    The series' own models have the same colour in all figures and on all backbones. A classifier on
    FBP features has that of the classifier, and a distilled network that of the network. Dash
    patterns distinguish models that share a colour.
    """
    import seaborn as sns  # takes a second: only where pictures are drawn

    palette = sns.color_palette("colorblind").as_hex()
    bases = {name: _plain(name) for name in models}
    others = [base for base in dict.fromkeys(bases.values()) if base not in OWN_COLOURS]
    places = OWN_COLOURS | dict(zip(others, itertools.cycle(OTHER_COLOURS), strict=False))
    return {name: palette[places[base]] for name, base in bases.items()}
