"""Find faulty electronic parts in images: the package behind the numbered notebooks.

Importing it does nothing; .github/CONTRIBUTING.md has its map. A trained model answers for new
images:

    helpers.load_model("elpv-quick/fbp").predict("part.png")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.deploy.predictor import TrainedModel

__version__ = "0.2.0.dev0"


def load_model(name: "str | Path") -> "TrainedModel":
    """Load a trained model; see `helpers.runs.opened.open_model` for names and errors."""
    from helpers.deploy.predictor import TrainedModel  # imports torch
    from helpers.runs.opened import open_model

    return TrainedModel(open_model(name))
