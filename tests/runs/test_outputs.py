"""Saved figures name the run that they are from."""

import matplotlib.pyplot as plt
import pytest

from helpers.core import style
from helpers.core.paths import RunPaths
from helpers.datasets.settings import SplitSettings
from helpers.runs import outputs, stages


@pytest.mark.parametrize("preset", ["smoke", "quick"])
def test_a_saved_figure_names_run_backbone_and_images_and_warns_of_smoke(home, preset):
    stage = stages.Stage("01_data_split", RunPaths("r"), preset, SplitSettings(), "key")
    figure, _ = plt.subplots()
    stage.note(backbone="resnet18")
    outputs.save(stage, figure, "f", credit="Images: mine")
    plt.close(figure)
    assert stage.paths.figure("f").is_file()
    texts = [t.get_text() for t in figure.texts]
    assert texts == ["run r; backbone resnet18; Images: mine"] + [style.SMOKE_NOTE] * (
        preset == "smoke"
    )
