"""The figures: what they show is what they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.core import style
from helpers.core.paths import RunPaths
from helpers.datasets import figures as datasets_figures
from helpers.datasets.settings import SplitSettings
from helpers.results import bars
from helpers.runs import names, outputs, stages
from helpers.training import figures


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_class_counts_are_written_on_the_bars():
    split = pd.DataFrame({"split": ["train"] * 3 + ["val"], "label": [0, 0, 1, 1]})
    figure = datasets_figures.class_counts(split)
    texts = {t.get_text() for t in figure.axes[0].texts}
    assert {"2", "1"} <= texts


def test_auc_bars_show_each_model_at_its_value_and_interval():
    table = pd.DataFrame(
        {
            "model": ["svm", "majority"],
            "test_auc": [0.9, 0.5],
            "test_auc_low": [0.85, None],
            "test_auc_high": [0.94, None],
        }
    )
    ax = bars.auc_bars(table).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["SVM"]
    assert ax.lines[0].get_xdata().tolist() == [0.9]
    assert [t.get_text() for t in ax.texts] == ["0.900"]


def test_an_interval_that_its_estimate_lies_beside_by_rounding_is_drawn():
    # 06 stopped on a run of 20 test images with "'xerr' must not contain negative values"
    columns = {"test_auc": [0.9], "test_auc_low": [0.9 + 1e-16], "test_auc_high": [0.9 - 1e-16]}
    assert bars.auc_bars(pd.DataFrame({"model": ["svm"], **columns})).axes[0].lines
    estimate, low, high = (pd.Series([v]) for v in (0.5, 0.375, 0.75))
    assert [arm[0] for arm in bars.interval_arms(estimate, low, high)] == [0.125, 0.25]


def test_a_wrapped_table_breaks_no_number_from_its_interval():
    table = pd.DataFrame({"Test AUC": ["86.6 [83.1, 89.7] (90.9 [88.2, 93.6])"], "n": [3]})
    html = style.styled(table, "c", wrap=True).to_html()
    space = "\N{NO-BREAK SPACE}"
    assert f"86.6{space}[83.1,{space}89.7] (90.9{space}[88.2,{space}93.6])" in html
    assert "white-space: nowrap" in style.styled(table, "c").to_html()


@pytest.mark.parametrize("preset", ["smoke", "quick"])
def test_a_saved_figure_names_run_backbone_and_images_and_warns_of_smoke(home, preset):
    stage = stages.Stage("01_data_split", RunPaths("r"), preset, SplitSettings(), "key")
    figure, _ = plt.subplots()
    stage.note(backbone="resnet18")
    outputs.save(stage, figure, "f", credit="Images: mine")
    assert stage.paths.figure("f").is_file()
    texts = [t.get_text() for t in figure.texts]
    assert texts == ["run r; backbone resnet18; Images: mine"] + [style.SMOKE_NOTE] * (
        preset == "smoke"
    )


def test_the_deviation_of_several_seeds_looks_unlike_an_interval_and_the_legend_names_both():
    table = pd.DataFrame(
        {
            "model": ["svm", "fbp"],
            "test_auc": [0.9, 0.8],
            "test_auc_low": [0.85, 0.7],
            "test_auc_high": [0.95, 0.9],
            "test_auc_std": [np.nan, 0.02],
        }
    )
    figure = bars.auc_bars(table)
    (ax,) = figure.axes
    assert ax.get_xlabel() == "test AUC"
    one, several = ax.containers
    arms = [kind.lines[2][0].get_segments()[0][:, 0].tolist() for kind in (one, several)]
    assert arms == [pytest.approx([0.85, 0.95]), pytest.approx([0.78, 0.82])]
    heights = dict(zip(ax.get_yticks(), (t.get_text() for t in ax.get_yticklabels()), strict=True))
    assert [heights[kind.lines[0].get_ydata()[0]] for kind in (one, several)] == ["SVM", "FBP"]
    assert one.lines[0].get_marker() != several.lines[0].get_marker()
    assert one.lines[0].get_color() != several.lines[0].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "one model: 95 % interval",
        "several seeds: mean ± standard deviation",
    ]


def test_a_table_without_seeds_speaks_of_intervals_alone():
    columns = {"test_auc": [0.9], "test_auc_low": [0.8], "test_auc_high": [0.95]}
    figure = bars.auc_bars(pd.DataFrame({"model": ["svm"], **columns}))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["95 % interval"]


def test_a_model_has_one_colour_in_all_pictures_whatever_stands_beside_it():
    few, many = ["cnn", "ll", "fbp"], ["mine", "fbp", "fbp_averaged", "darts_imagenet", "cnn"]
    first, second = names.model_colours(few), names.model_colours(many)
    assert first["fbp"] == second["fbp"] == second["fbp_averaged"]
    assert first["cnn"] == second["cnn"]
    assert len(set(first.values())) == len(few) and len(set(second.values())) == 4


@pytest.mark.parametrize(("epochs", "scale"), [((12, 100), "log"), ((12, 20), "linear")])
def test_a_short_training_is_not_squeezed_beside_a_long_one(epochs, scale):
    frames = [
        pd.DataFrame({"epoch": range(1, n + 1), "val_auc": 0.5, "val_loss": 1.0, "train_loss": 1.0})
        for n in epochs
    ]
    curves = pd.concat([frames[0].assign(model="fbp"), frames[1].assign(model="ll")])
    axes = figures.learning_curves(curves).axes
    assert [ax.get_xscale() for ax in axes] == [scale] * 3
