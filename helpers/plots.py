"""The pictures of the notebooks: one style, readable in gray and for the colour-blind."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from helpers.images import ImageCache
from helpers.names import FINETUNED, base_name, display_name, without_seed
from helpers.stages import Stage
from helpers.writing import atomic_path

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

LABEL_NAMES = {0: "good", 1: "bad"}
PALETTE = {"good": "#0173b2", "bad": "#de8f05"}  # seaborn's "colorblind" blue and orange
INTERVAL = re.compile(r"\S+ \[[^]]*\]")  # a number and the ends of its interval
# places in seaborn's "colorblind" palette; 6 to 8 are too pale, or gray
OWN_COLOURS = {"lda": 0, "rf": 1, "lr": 9, "svm": 5, "ll": 0, "cnn": 1, "fbp": 2}
OWN_COLOURS |= {"darts_imagenet": 4, "darts_searched": 3, "random_cell_0": 5}
OTHER_COLOURS = (9, 7, 8, 6, 0, 1)
ONE_MODEL = {"fmt": "o", "color": "black", "capsize": 3}
SEVERAL_SEEDS = {
    "fmt": "D",
    "color": PALETTE["bad"],
    "elinewidth": 4,
    "ms": 7,
    "mec": "black",
    "label": "several seeds: mean ± standard deviation",
}
SMOKE_NOTE = "smoke preset: wiring only, the numbers mean nothing"


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


def use_style() -> None:
    """The look of all figures; call it once in a notebook."""
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind")
    plt.rcParams |= {"figure.dpi": 100, "savefig.dpi": 150, "figure.constrained_layout.use": True}


def save(stage: Stage, figure: Figure, name: str, credit: str = "") -> None:
    """Write a figure to the run's folder and register it as the stage's output.

    A line below says which run it is from, with what backbone, and whose images it shows.
    """
    backbone = stage.notes.get("backbone")
    about = [f"run {stage.paths.name}", backbone and f"backbone {backbone}", credit]
    footnote = "; ".join(part for part in about if part)
    figure.text(0, -0.01, footnote, ha="left", va="top", fontsize=8, color="0.35")
    if stage.is_smoke:
        figure.text(0, 1.01, SMOKE_NOTE, ha="left", va="bottom", fontsize=9, color="firebrick")
    path = stage.paths.figure(name)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight")
    stage.output(path)


def class_counts(split: pd.DataFrame) -> Figure:
    """Images of each class on each side of the split, with the numbers on the bars."""
    frame = split[split.split != "excluded"].assign(label=_label_names)
    figure, axes = plt.subplots(figsize=(7, 3.2))
    order = [side for side in ("train", "val", "test") if (frame.split == side).any()]
    hues = [name for name in (*PALETTE, "hidden") if (frame.label == name).any()]
    palette = PALETTE | {"hidden": "0.6"}
    sns.countplot(
        frame, x="split", hue="label", order=order, hue_order=hues, palette=palette, ax=axes
    )
    for bars in axes.containers:
        axes.bar_label(cast(BarContainer, bars), fontsize=9)
    axes.set(xlabel="", ylabel="images", title="Images per side and class")
    axes.legend(title="", loc="upper right")
    return figure


def sample_parts(split: pd.DataFrame, cache: ImageCache, seed: int, columns: int = 8) -> Figure:
    """Random training images: good ones in the first row, bad ones in the second."""
    figure, axes = plt.subplots(2, columns, figsize=(1.5 * columns, 3.5))
    rng = np.random.default_rng(seed)
    for row, (label, word) in enumerate(LABEL_NAMES.items()):
        pool = split[(split.split == "train") & (split.label == label)]
        drawn = pool.iloc[rng.permutation(len(pool))[:columns]]
        for ax in axes[row]:
            ax.set_axis_off()
        for ax, pixels, name in zip(
            axes[row], cache.take(cache.rows(drawn.id)), drawn.id, strict=False
        ):
            ax.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255)
            ax.set_title(str(name)[-16:], fontsize=8)
        axes[row][0].text(
            -0.12,
            0.5,
            word,
            rotation=90,
            ha="center",
            va="center",
            transform=axes[row][0].transAxes,
        )
    figure.suptitle("Training images, drawn at random")
    return figure


def brightness_and_size(split: pd.DataFrame, cache: ImageCache) -> Figure:
    """Distributions of mean gray value, contrast and image size by class."""
    frame = split.merge(cache.table.drop(columns="digest"), on="id").assign(label=_label_names)
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4))
    labelled = frame[frame.label != "hidden"]
    for ax, column, title in (
        (axes[0], "mean", "mean gray value (0 to 255)"),
        (axes[1], "std", "standard deviation of gray values"),
    ):
        sns.kdeplot(
            labelled,
            x=column,
            hue="label",
            hue_order=list(PALETTE),
            palette=PALETTE,
            common_norm=False,
            fill=True,
            alpha=0.25,
            ax=ax,
            legend=ax is axes[0],
            warn_singular=False,
        )
        ax.set(xlabel=title)
    axes[0].get_legend().set_title("")
    sizes = frame.groupby(["width_px", "height_px"]).size().reset_index(name="images")
    sizes["size"] = sizes.width_px.astype(str) + "x" + sizes.height_px.astype(str)
    sizes = sizes.nlargest(8, "images")
    sns.barplot(sizes, y="size", x="images", color="0.6", width=0.1 * len(sizes), ax=axes[2])
    axes[2].bar_label(axes[2].containers[0], fontsize=9, padding=2)
    axes[2].margins(x=0.18)
    axes[2].set(ylabel="width x height in px")
    return figure


def mark_every(epochs: pd.Series) -> int:
    """Epochs between two markers of a line: some twenty along the longest training."""
    return max(1, int(epochs.max()) // 20)


def learning_curves(curves: pd.DataFrame) -> Figure:
    """Loss and validation AUC over epochs (columns of training histories).

    One line per model; of several seeds the mean, in a band of one standard deviation. Trainings of
    very different lengths share a logarithmic axis, which leaves the short ones room.
    """
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.6))
    lengths = curves.groupby("model").epoch.max()
    unequal = lengths.max() > 3 * lengths.min()
    colours = model_colours(curves.model.map(without_seed))
    palette = {display_name(name): colour for name, colour in colours.items()}
    frame = curves.assign(model=curves.model.map(without_seed).map(display_name))
    for ax, column, title in (
        (axes[0], "train_loss", "training loss"),
        (axes[1], "val_loss", "validation loss"),
        (axes[2], "val_auc", "validation AUC"),
    ):
        sns.lineplot(
            frame,
            x="epoch",
            y=column,
            hue="model",
            palette=palette,
            style="model",
            errorbar="sd",
            markers=True,
            markevery=mark_every(frame.epoch),
            dashes=False,
            ax=ax,
            legend=ax is axes[2],
        )
        ax.set(title=title, ylabel="")
        if unequal:
            ax.set(xscale="log", xlabel="epoch (logarithmic)")
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
            ax.xaxis.set_minor_locator(NullLocator())
        else:
            ax.xaxis.get_major_locator().set_params(integer=True)
    axes[2].legend(title="", loc="upper left", bbox_to_anchor=(1.02, 1))
    return figure


def interval_arms(estimate: pd.Series, low: pd.Series, high: pd.Series) -> list[pd.Series]:
    """Lengths of an interval's two arms (N,) for `errorbar`, none below 0.

    All resamples of few parts can be equal but for rounding, and a percentile interval need not
    hold its estimate.
    """
    return [(estimate - low).clip(lower=0), (high - estimate).clip(lower=0)]


def auc_bars(table: pd.DataFrame) -> Figure:
    """Test AUC of every model with its 95 % interval; validation AUC where labels are hidden.

    Of several seeds the mean and one standard deviation, drawn otherwise: that says how much the
    seed matters, an interval how much the draw of the parts does.
    """
    column = "test_auc" if "test_auc" in table and table.test_auc.notna().any() else "val_auc"
    frame = table[table.model != "majority"].iloc[::-1].assign(y=lambda f: np.arange(len(f)))
    figure, ax = plt.subplots(figsize=(8, 0.42 * len(frame) + 1.6))
    for rows, arms, style in interval_or_spread(frame, column):
        ax.errorbar(rows[column], rows.y, xerr=arms, **style)
        ends = rows[column] + arms[1].fillna(0)
        for value, y, end in zip(rows[column], rows.y, ends, strict=True):
            ax.annotate(f"{value:.3f}", (end, y), (6, 0), textcoords="offset points", va="center")
    ax.set_yticks(frame.y, [display_name(name) for name in frame.model])
    ax.margins(x=0.16, y=0.5 / len(frame))
    ax.set(xlabel=f"{column.split('_')[0]} AUC")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=11)
    return figure


def interval_or_spread(
    frame: pd.DataFrame, column: str
) -> Iterator[tuple[pd.DataFrame, list[pd.Series], dict[str, Any]]]:
    """The rows of one model and those of several seeds, each with arms and style for `errorbar`.

    The arms are a 95 % interval's (`column` with _low and _high; NaN where a table has none), or
    one standard deviation (_std).
    """
    spread = frame.get(f"{column}_std", pd.Series(np.nan, frame.index)).astype(float)
    one, several = frame[spread.isna()], frame[spread.notna()]
    if len(one):
        ends = [one.get(f"{column}_{end}", one[column]) for end in ("low", "high")]
        label = "one model: 95 % interval" if len(several) else "95 % interval"
        yield one, interval_arms(one[column], *ends), ONE_MODEL | {"label": label}
    if len(several):
        yield several, [spread[several.index]] * 2, SEVERAL_SEEDS


def styled(table: pd.DataFrame, caption: str, smoke: bool = False, wrap: bool = False) -> Styler:
    """A table for a notebook, with what must be known to read it above it.

    `wrap` lets cells of a wide table break into lines, a number and its interval excepted.
    """
    caption = f"{SMOKE_NOTE.upper()}. {caption}" if smoke else caption
    space = "normal" if wrap else "nowrap"
    styles = [
        {"selector": "caption", "props": "caption-side: top; text-align: left; padding: 4px 0"},
        {"selector": "td, th", "props": f"text-align: left; white-space: {space}"},
    ]
    if wrap:
        table = table.map(
            lambda cell: INTERVAL.sub(_unbroken, cell) if isinstance(cell, str) else cell
        )
    return (
        table.style.format(escape="html")
        .hide(axis="index")
        .set_caption(caption)
        .set_table_styles(styles)
    )


def _unbroken(found: re.Match[str]) -> str:
    return found.group().replace(" ", "\N{NO-BREAK SPACE}")


def _label_names(frame: pd.DataFrame) -> pd.Series:
    return frame.label.map(LABEL_NAMES).fillna("hidden")
