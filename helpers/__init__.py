"""Find faulty electronic parts in images: the package behind the numbered notebooks.

.github/CONTRIBUTING.md has its map. A trained model answers for new
images:

    helpers.load_model("elpv-quick/fbp").predict("part.png")
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.deploy.predictor import TrainedModel

# Threads that wait for each other sleep: beside a busy process two that spin are slower than one.
# OpenMP reads it when torch is loaded, in this process and in those that it starts.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.2.0.dev0"


def load_model(name: "str | Path") -> "TrainedModel":
    """Load a trained model; see `helpers.runs.opened.open_model` for names and errors."""
    from helpers.deploy.predictor import TrainedModel  # imports torch
    from helpers.runs.opened import open_model

    return TrainedModel(open_model(name))
