from pathlib import Path

import pandas as pd
import pytest

from helpers.core import paths
from helpers.datasets import Source, near_duplicates, sources, splits
from helpers.datasets.cache import open_cache
from helpers.datasets.settings import SplitSettings

PUBLISHED = Path(__file__).parents[2] / "data" / "elpv_groups.csv"


@pytest.fixture(scope="module")
def source() -> Source:
    return sources.load(SplitSettings(dataset="elpv"))


def test_the_set_is_whole_and_its_inferred_modules_have_one_cell_type_each(source):
    table = source.table
    assert len(table) == 2624 and table.id.is_unique and table.id[0] == "cell0001"
    assert table.cell_type.value_counts().to_dict() == {"mono": 1074, "poly": 1550}
    counts = table.groupby(["probability", "label"]).size().to_dict()
    assert counts == {(0.0, 0): 1508, (0.3333, 0): 295, (0.6667, 1): 106, (1.0, 1): 715}
    assert table.group.nunique() == 44 and table.group.is_monotonic_increasing
    assert table.groupby("group").cell_type.nunique().max() == 1
    sizes = table.group.value_counts().value_counts()
    assert sizes.to_dict() == {60: 40, 54: 1, 50: 1, 72: 1, 48: 1}


def test_the_published_groups_are_those_of_the_code(source):
    published = pd.read_csv(PUBLISHED)
    assert published.id.tolist() == source.table.id.tolist()
    assert published.group.tolist() == source.table.group.tolist()
    twice = published.set_index("id").duplicate_of.dropna()
    assert len(twice) == 100 and twice["cell1735"] == "cell2277" and twice["cell2326"] == "cell1784"
    assert published.fold.tolist() == source.table.official_fold.tolist()
    assert published.groupby("group").fold.nunique().max() == 1
    assert published.fold[published.group.isin(["module30", "module39"])].nunique() == 1
    scored = pd.read_csv(paths.published_scores() / "folds.csv")
    assert published.set_index("id").fold.equals(scored.set_index("id").groups.rename("fold"))


def test_all_cells_taken_twice_are_found(source, tmp_path):
    rows = [*range(1680, 1800), *range(2270, 2400)]  # the cells taken twice and their neighbours
    part = Source("elpv", source.table.iloc[rows].reset_index(drop=True), "")
    cache = open_cache(part.table, 32, tmp_path)
    pairs, remark = near_duplicates.find(cache, SplitSettings().near_duplicate_bits)
    ids = part.table.id
    found = {(ids[i], ids[j]) for i, j in zip(pairs["first"], pairs["second"], strict=True)}
    published = pd.read_csv(PUBLISHED).dropna().query("id < duplicate_of")
    wanted = set(zip(published.id, published.duplicate_of, strict=True))
    assert len(wanted) == 50 and wanted <= found and remark == ""


def test_without_a_test_set_modules_are_judged_by_the_published_folds(source):
    settings = SplitSettings(split="groups", test_fraction=0.0, cross_fit=5)
    table = splits.make_split(source, source.table.id, settings).table
    assert table.fold.tolist() == source.table.official_fold.tolist()
    assert set(table.split) == {"train", "val"} and "official_fold" not in table
    others = SplitSettings(split="groups", test_fraction=0.0, cross_fit=4)
    assert set(splits.make_split(source, source.table.id, others).table.fold) == {0, 1, 2, 3}


def test_the_default_tests_the_first_published_fold_and_validates_on_the_last(source):
    first, other = (
        splits.make_split(source, source.table.id, SplitSettings(seed=seed)).table
        for seed in (0, 1)
    )
    assert first.equals(other) and first.groupby("group").split.nunique().max() == 1
    sides = first.groupby(source.table.official_fold).split.unique().map(list).to_dict()
    assert sides == {0: ["test"], 1: ["train"], 2: ["train"], 3: ["train"], 4: ["val"]}
