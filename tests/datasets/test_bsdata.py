import json

import numpy as np
import pytest
from PIL import Image

from helpers.datasets import DataError, sources
from helpers.datasets.settings import SplitSettings
from helpers.explain.true_masks import read_mask

BAD = "01_200902053521_585000_090_crop_2"
NAMES = ("01_200828110014_277500_315_crop_2", BAD, "KGT_1_2_crop_3")


@pytest.fixture
def place(tmp_path):
    """A clone with three drawn photographs of 40 x 20 px, one of them of another spindle."""
    for folder in ("data", "label"):
        (tmp_path / folder).mkdir()
    for name in NAMES:
        Image.new("L", (40, 20)).save(tmp_path / "data" / f"{name}.jpg")
    corners = [[10.0, 5.0], [19.0, 5.0], [19.0, 9.0], [10.0, 9.0]]
    outlined = {"imageWidth": 40, "imageHeight": 20, "shapes": [{"points": corners}]}
    (tmp_path / "label" / f"{BAD}.json").write_text(json.dumps(outlined))
    return tmp_path


def test_a_photograph_is_bad_if_its_pitting_is_outlined_and_its_name_says_place_and_time(place):
    source = sources.load(SplitSettings(dataset=f"bsdata:{place}"))
    assert source.table.label.tolist() == [0, 1]
    assert source.table.group.tolist() == ["277500_315", "585000_090"]
    assert source.table.time.tolist() == ["2020-08-28 11:00:14", "2020-09-02 05:35:21"]
    assert source.left_out == ("photographs of other spindles: 1",)
    with pytest.raises(DataError, match="git clone"):
        sources.load(SplitSettings(dataset=f"bsdata:{place / 'data'}"))


def test_polygons_and_masks_tell_which_pixels_of_a_squashed_image_are_damaged(place):
    outlined = read_mask(place / "label" / f"{BAD}.json", 10)
    expected = np.zeros((10, 10), dtype=bool)
    expected[2:5, 2:5] = True  # columns 10 to 19 of 40, rows 5 to 9 of 20
    assert (outlined == expected).all()
    fine = read_mask(place / "label" / f"{BAD}.json", 80)  # larger than the image: no holes
    assert fine[20:40, 20:40].all() and fine.sum() == 400
    mask = np.zeros((20, 40), dtype=np.uint8)
    mask[5, 10] = 255  # one pixel does not vanish
    Image.fromarray(mask).save(place / "mask.png")
    assert np.argwhere(read_mask(place / "mask.png", 10)).tolist() == [[2, 2]]
    Image.new("L", (40, 20)).save(place / "mask.png")
    with pytest.raises(DataError, match="no damage"):
        read_mask(place / "mask.png", 10)
