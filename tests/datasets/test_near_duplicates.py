import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

from helpers.datasets import near_duplicates
from helpers.datasets.cache import open_cache
from tests.datasets.test_cache import save, table_of


def scenes(n, seed=0):
    """Smooth random gray images, as different as solar cells are."""
    rng = np.random.default_rng(seed)
    blots = [Image.fromarray(rng.integers(0, 256, (12, 12), dtype=np.uint8)) for _ in range(n)]
    return [blot.resize((96, 96), Image.Resampling.BICUBIC) for blot in blots]


@pytest.fixture
def cache(tmp_path):
    """Six parts, two of them pictured twice, and 21 pictures that look alike."""
    images = dict(zip("abcdef", scenes(6), strict=True))
    plain = scenes(1, seed=5)[0]
    images |= {f"plain{i:02d}": plain for i in range(near_duplicates.LARGEST_CLUSTER + 1)}
    images["a_blurred"] = images["a"].filter(ImageFilter.GaussianBlur(2))
    images["b_dark"] = images["b"].point(lambda value: value * 0.6 + 10)
    paths = [save(tmp_path / f"{name}.png", np.asarray(image)) for name, image in images.items()]
    return open_cache(table_of(*paths), 64, tmp_path / "cache")


def test_a_blurred_and_a_darker_picture_of_a_part_are_found_and_other_parts_are_not(cache):
    pairs, remark = near_duplicates.find(cache, 20)
    ids = cache.table.id
    found = {(ids[i], ids[j]) for i, j in zip(pairs["first"], pairs["second"], strict=True)}
    assert found == {("a", "a_blurred"), ("b", "b_dark")}
    assert remark.startswith("21 images have nearly the same hash")
    assert pairs.bits.between(0, 20).all()
    pairs, remark = near_duplicates.find(cache, 0)
    assert pairs.empty and "not searched" in remark


def test_pairs_are_those_whose_bits_differ_counted_one_by_one(monkeypatch):
    monkeypatch.setattr(near_duplicates, "ROWS_AT_ONCE", 7)  # several blocks
    rng = np.random.default_rng(1)
    hashes = rng.random((30, 64)) < 0.5
    hashes[20] = hashes[3]
    hashes[20, :5] ^= True
    pairs, alike = near_duplicates.near_pairs(hashes, 22)
    assert not alike.any()
    counted = [
        (i, j, int((hashes[i] != hashes[j]).sum())) for i in range(30) for j in range(i + 1, 30)
    ]
    expected = sorted(row for row in counted if row[2] <= 22)
    assert sorted(pairs.itertuples(index=False, name=None)) == expected
    assert (3, 20, 5) in expected and len(expected) > 3


def test_alike_images_make_no_pairs_so_that_memory_does_not_grow_with_the_square(monkeypatch):
    hashes = np.zeros((400, 64), dtype=bool)
    hashes[399] = hashes[398] = np.random.default_rng(0).random(64) < 0.5
    pairs, alike = near_duplicates.near_pairs(hashes, 4)
    assert pairs.to_numpy().tolist() == [[398, 399, 0]]
    assert alike[:398].all() and not alike[398:].any()


def test_clusters_join_pairs_and_equal_values_and_missing_values_join_nothing():
    pairs = pd.DataFrame({"first": [0], "second": [4]})
    cluster = near_duplicates.clusters(6, pairs, pd.Series(["a", "b", "b", None, "c", None]))
    assert cluster[0] == cluster[4] and cluster[1] == cluster[2]
    assert len(set(cluster)) == 4
