"""README's pictures from a run."""

import numpy as np
import pytest
from PIL import Image

from helpers.commands import showcase
from helpers.darts import genotypes
from tests.explain_run import write_run


@pytest.fixture
def run_paths(home, parts_folder):
    run_paths = write_run(parts_folder)
    genotypes.save(run_paths.genotype("searched"), genotypes.random_genotype(0), {})
    return run_paths


def test_the_strip_shows_part_map_cell_and_the_curves_of_the_best_of_each_kind(run_paths):
    figure = showcase.strip(run_paths)
    part, overlay, cell, roc = figure.axes
    assert part.get_title() == "a bad part" and len(overlay.images) == 2
    assert cell.get_title() == "the cell that the search found"
    labels = [text.get_text() for text in roc.get_legend().get_texts()]
    assert labels == ["SVM: 100.0"] and "test" in roc.get_title()
    assert "Images: mine" in figure.texts[-1].get_text()


def test_every_notebook_gets_a_thumbnail_of_one_size_of_a_part_of_its_figure(run_paths, tmp_path):
    for name, (left, top, right, bottom) in showcase.THUMBNAILS.values():
        picture = np.zeros((1000, 1000, 3), np.uint8)
        rows, columns = (
            slice(round(1000 * a), round(1000 * b)) for a, b in ((top, bottom), (left, right))
        )
        picture[rows, columns] = 255
        run_paths.figure(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(run_paths.figure(name))
    written = showcase.write_pictures(run_paths, tmp_path / "images")
    assert [path.name for path in written] == ["strip.png", *(f"0{i}.png" for i in range(1, 8))]
    for number in range(1, 8):
        with Image.open(tmp_path / "images" / f"0{number}.png") as small:
            assert small.size == (240, 160) and np.asarray(small).min() == 255
