"""Figures of the split."""

import matplotlib.pyplot as plt
import pandas as pd

from helpers.datasets import figures


def test_class_counts_are_written_on_the_bars():
    split = pd.DataFrame({"split": ["train"] * 3 + ["val"], "label": [0, 0, 1, 1]})
    figure = figures.class_counts(split)
    texts = {t.get_text() for t in figure.axes[0].texts}
    plt.close(figure)
    assert {"2", "1"} <= texts
