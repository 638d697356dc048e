"""Draw what recipes of FBP gain over the time of a training: `python -m tests.benchmarks.tries`.

The rows of `tries.csv` that have `seconds` (of one core, mean of five folds of whole modules, two
trainings side by side) are compared with the first of them, all by the same seed. Writes tries.png
beside this file.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from helpers.core import style

PLACE = Path(__file__).parent
MARKERS = "osD^vPX"
SIDES = {"unseen": "all parts of unseen modules", "inside": "inside unseen modules"}


def draw(tries):
    """Return the figure of the rows with seconds: points with 95 % intervals over modules."""
    rows = tries.dropna(subset="seconds")
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharex=True, layout="constrained")
    for ax, (side, title) in zip(axes, SIDES.items(), strict=True):
        for marker, (_, row) in zip(MARKERS, rows.iterrows(), strict=False):
            points = 0 if pd.isna(row[side]) else row[side]
            ends = [[points - row[f"{side}_low"]], [row[f"{side}_high"] - points]]
            look = {"fmt": marker, "ms": 8, "elinewidth": 1, "label": row.label}
            ax.errorbar(row.seconds / 60, points, ends if points else None, **look)
        ax.axhline(0, color="0.6", lw=1, zorder=0)
        ax.set(title=title, xlabel="minutes of one core", xlim=(0, 11.5))
    axes[0].set_ylabel("AUC: points more than before")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=10)
    return figure


if __name__ == "__main__":
    style.use_style()
    draw(pd.read_csv(PLACE / "tries.csv")).savefig(PLACE / "tries.png", dpi=110)
