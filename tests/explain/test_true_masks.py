import json
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.explain import true_masks


def spot(row, column, size=28):
    heat = torch.zeros(size, size)
    heat[row, column] = 1
    return heat


def test_a_peak_in_the_damage_hits_and_one_beside_it_is_near():
    damaged = np.zeros((4, 28, 28), dtype=bool)
    damaged[:, 4:8, 4:8] = True
    maps = torch.stack([spot(5, 5), spot(5, 9), spot(20, 20), torch.zeros(28, 28)])
    maps[0, 0, 0] = 0.5  # a third of the map lies elsewhere
    judged = true_masks.on_damage(maps, damaged)
    assert judged.hit.tolist() == [True, False, False, False]
    assert judged.near.tolist() == [True, False, False, False]  # 28 px: nothing farther than 1.9
    assert judged.share.tolist() == pytest.approx([2 / 3, 0, 0, 0])
    assert judged.area.tolist() == [16 / 784] * 4
    near = true_masks.on_damage(spot(5, 8)[None], damaged[:1])
    assert near.near.tolist() == [True] and near.hit.tolist() == [False]


def test_random_maps_hit_as_often_as_the_area_says_and_the_interval_knows_it():
    rng = np.random.default_rng(0)
    maps, damaged = torch.tensor(rng.random((400, 12, 12))), rng.random((400, 12, 12)) < 0.2
    row = true_masks.summary(true_masks.on_damage(maps, damaged))
    assert row["hit_low"] < row["area"] < row["hit_high"] and row["more_low"] < 0 < row["more_high"]
    assert row["share"] == pytest.approx(row["area"], abs=0.01) and row["images"] == 400


def test_a_subject_s_maps_are_judged_by_the_files_of_its_parts(tmp_path):
    class Looking:
        model = None
        cache = type("Cache", (), {"size_px": 10, "fit": "squash"})
        asked: ClassVar = []

        def maps(self, ids, label):
            self.asked += [(list(ids), label)]
            return torch.stack([spot(2, 2, 10)] * len(ids))

    corners = [[10.0, 5.0], [19.0, 5.0], [19.0, 9.0], [10.0, 9.0]]
    outlined = {"imageWidth": 40, "imageHeight": 20, "shapes": [{"points": corners}]}
    (tmp_path / "a.json").write_text(json.dumps(outlined))
    looking = Looking()
    judged = true_masks.judge(looking, pd.Series({"a": str(tmp_path / "a.json")}), 1)
    assert judged.hit.all() and judged.id.tolist() == ["a"] and looking.asked == [(["a"], 1)]


def test_the_middle_quarter_holds_what_lies_there():
    maps = torch.stack([torch.ones(8, 8), spot(3, 3, 8), spot(0, 0, 8), torch.zeros(8, 8)])
    shares = true_masks.in_the_middle(maps).tolist()
    assert shares[:3] == [0.25, 1, 0] and np.isnan(shares[3])  # an empty map is nowhere


def test_maps_that_never_hit_small_damage_prove_nothing():
    damaged = np.zeros((60, 28, 28), dtype=bool)
    damaged[:, :3, :3] = True  # 1 %: chance misses all in half of the cases
    row = true_masks.summary(true_masks.on_damage(spot(20, 20).expand(60, -1, -1), damaged))
    assert row["hit"] == 0 and row["more_low"] < 0 < row["more_high"]
