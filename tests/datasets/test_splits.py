import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.core import members
from helpers.core.rules import SettingsError
from helpers.datasets import DataError, Source, splits
from helpers.datasets.settings import SplitSettings
from helpers.datasets.split_file import keeps_groups_apart, waits_for


def toy_source(good=120, bad=80, test=0) -> Source:
    """Images named g000.. and b000..; a third of each class is "poly", the rest "mono"."""
    ids = [f"g{i:03d}" for i in range(good)] + [f"b{i:03d}" for i in range(bad)]
    ids += [f"t{i:03d}" for i in range(test)]
    folders = {"g": "good", "b": "bad", "t": "test"}
    paths = [f"/data/{folders[i[0]]}/{i}.png" for i in ids]
    labels = pd.array([0] * good + [1] * bad + [pd.NA] * test, dtype="Int64")
    table = pd.DataFrame({"id": ids, "path": paths, "label": labels, "official_split": ""})
    table["cell_type"] = ["poly" if int(i[1:]) % 3 == 0 else "mono" for i in ids]
    if test:
        table["official_split"] = ["train"] * (good + bad) + ["test"] * test
    return Source("toy", table, "bad = b", stratify=("cell_type",))


def own_digests(source: Source, **copies: str) -> pd.Series:
    """A digest per image; `copies` names images that have the pixels of another one."""
    return source.table.id.map(lambda name: copies.get(name, name))


def divide(source: Source, digests: pd.Series | None = None, **settings) -> splits.Split:
    digests = own_digests(source) if digests is None else digests
    return splits.make_split(source, digests, SplitSettings(**{"val_per_class": 20} | settings))


def sides(split: splits.Split) -> dict[str, str]:
    return dict(zip(split.table.id, split.table.split, strict=True))


def refused(source: Source, **settings) -> str:
    with pytest.raises(DataError) as caught:
        divide(source, **settings)
    return str(caught.value)


def write_csv(path: Path, /, **columns) -> str:
    pd.DataFrame(columns).to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize("kind", ["poly", None])  # a missing value is a kind too
def test_sides_and_folds_have_their_size_and_keep_label_and_cell_type_in_proportion(kind):
    source = toy_source(good=120, bad=60)
    source.table["cell_type"] = source.table.cell_type.map({"mono": "mono", "poly": kind})
    table = divide(source, val_per_class=15).table
    assert table.columns.tolist() == ["id", "path", "label", "split", "cell_type", "digest"]
    counts = table.groupby(["split", "label"]).size().unstack().T.to_dict("list")
    assert counts == {"test": [30, 15], "train": [75, 30], "val": [15, 15]}
    mono = (table.cell_type == "mono").groupby([table.split, table.label]).mean()
    assert mono.between(0.62, 0.71).all()  # two thirds
    folded = divide(source, cross_fit=5, test_fraction=0.0).table
    sizes = folded.groupby(["label", folded.cell_type == "mono", "fold"]).size()
    assert sizes.tolist() == [8] * 5 + [16] * 5 + [4] * 5 + [8] * 5


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    source = toy_source()
    first, again, other = (sides(divide(source, seed=seed)) for seed in (3, 3, 4))
    assert first == again
    for side in ("val", "test"):
        for letter in "gb":  # each class on each side is drawn again
            a, b = ({n for n in s if s[n] == side and n[0] == letter} for s in (first, other))
            assert len(a) == len(b) and len(a - b) > len(a) / 3


@pytest.mark.parametrize(
    ("least", "labels", "strata", "expected"),
    [
        (2, "0000000", "aaaabbc", "aaaabba"),  # c is alone, and joins the largest
        (2, "000011", "aabcdd", "aa00dd"),  # b and c are rare, and share the label's stratum
        (3, "00000111", "aaabbcde", "aaaaa111"),
        (1, "0011", "abcd", "abcd"),
    ],
)
def test_rare_strata_are_joined_by_label_and_never_across_labels(least, labels, strata, expected):
    pool = pd.DataFrame({"label": [*map(int, labels)], "stratum": list(strata)})
    assert splits._strata(pool, least).tolist() == list(expected)


def test_more_kinds_than_images_to_draw_do_not_change_the_size_of_a_side():
    source = toy_source()
    source.table["cell_type"] = source.table.id.str[-1]  # ten of them
    table = divide(source, val_per_class=5).table
    counts = table.groupby(["split", "label"]).size().unstack().loc[["test", "val"]]
    assert counts.to_numpy().tolist() == [[30, 20], [5, 5]]


@pytest.mark.parametrize("by", ["id", "path"])
def test_an_external_split_is_followed_and_images_it_leaves_out_are_excluded(tmp_path, by):
    source = toy_source(4, 5)
    names = source.table[by].tolist()[:8]
    given = ["train", "val", "excluded", "train", "train", "val", "test", "train"]
    csv = write_csv(tmp_path / "s.csv", **{by: names[::-1], "split": given[::-1]})
    split = divide(source, own_digests(source, b003="b002", b000="g000"), split_csv=csv)
    assert split.duplicates.id.tolist() == ["b000", "g000", "b002", "b003"]
    assert split.duplicates.two_labels.tolist() == [True, True, False, False]
    assert split.table.split.tolist() == [*given[:7], "excluded", "excluded"]
    assert [int(line.split()[-1]) for line in split.report.splitlines()] == [2, 1]


def test_labels_of_an_external_split_that_contradict_the_images_are_refused(tmp_path):
    source = toy_source(4, 5)
    sides, right = ["train", "val", "test"] * 3, ["good", "0", " Ok", "", "1", "bad"]
    columns = {"id": source.table.id, "split": sides}
    csv = write_csv(tmp_path / "s.csv", **columns, label=[*right, "1", "1", "1"])
    assert divide(source, split_csv=csv).table.split.tolist() == sides
    csv = write_csv(tmp_path / "s.csv", **columns, label=[*right, "1", "0", "0"])
    assert "labels 'b003' as good, the images do not (2 such" in refused(source, split_csv=csv)


@pytest.mark.parametrize(
    ("order", "culprit"),
    [
        ("train val test train train test", "no bad image in val"),
        ("val val test train train test", "no good image in train"),
        ("train val train train val train", "no image in test"),
        ("train val test train val test train", "'t000'"),  # its label is hidden
        ("train val test train val test val", "'t000'"),
    ],
)
def test_an_external_split_needs_both_classes_with_labels_and_some_test(tmp_path, order, culprit):
    sides = order.split()
    source = toy_source(3, 3, test=len(sides) - 6)
    csv = write_csv(tmp_path / "s.csv", id=source.table.id, split=sides)
    assert culprit in refused(source, split_csv=csv)


def test_if_a_class_is_too_small_for_validation_all_images_are_judged_out_of_fold_but_not_of_one():
    # 40 bad images, a quarter of them in test: 30 are left for training and validation.
    split = divide(toy_source(120, 40), val_per_class=20)
    out_of_fold = divide(toy_source(120, 40), cross_fit=5, test_fraction=0.0)
    pd.testing.assert_frame_equal(split.table, out_of_fold.table)
    assert "VAL_PER_CLASS=20 is too large" in split.report and not out_of_fold.report
    table = divide(toy_source(120, 40), val_per_class=15).table
    assert (table[table.label == 1].split == "train").sum() == 15
    assert divide(toy_source(60, 10), val_per_class=150).table.fold.nunique() == 5
    assert "images are too few to draw" in refused(toy_source(1, 20))
    alone = refused(toy_source(1, 20), cross_fit=5, test_fraction=0.0)
    assert "there are 1 and 20" in alone and alone.endswith("Add images")


@pytest.mark.parametrize("n_bad", [0, 1, 9])
@pytest.mark.parametrize("settings", [{}, {"cross_fit": 5, "test_fraction": 0.0}])
def test_few_bad_images_are_held_out_with_a_third_of_the_good_ones(n_bad, settings):
    source = toy_source(60, n_bad)
    digests = own_digests(source, g001="g000", **({"b000": "g005"} if n_bad else {}))
    table = divide(source, digests, **settings).table
    assert "fold" not in table and waits_for(table).endswith(f"there are {n_bad}")
    counts = table.groupby(["split", "label"]).size()
    assert counts["val"].get(1, 0) == n_bad and counts["train"].index.tolist() == [0]
    assert counts["val", 0] == pytest.approx(20, abs=1)
    side = table.set_index("id").split
    assert side.g000 == side.g001 and (not n_bad or side.g005 == "val")
    again, other = (divide(source, digests, seed=seed, **settings).table for seed in (0, 1))
    assert again.split.equals(table.split) and not other.split.equals(table.split)
    assert waits_for(divide(toy_source(60, 10)).table) == ""


def test_copies_of_a_bad_image_count_as_one_and_corrected_labels_name_the_first_bad_ones():
    source = toy_source(60, 12)
    copied = own_digests(source, **{f"b{i:03d}": "b000" for i in range(1, 4)})
    assert waits_for(divide(source, copied).table).endswith("there are 12")
    source = toy_source(72, 0)
    source.table["label_before"] = source.table.label.where(source.table.index < 12)
    source.table.loc[:11, "label"] = 1
    assert waits_for(divide(source).table) == ""


def test_by_groups_good_parts_alone_are_held_out_by_groups_and_so_are_few_bad_ones():
    source = grouped_source(12)
    source.table["label"] = pd.array([0] * 144, dtype="Int64")
    source.table.loc[[0, 30, 100], "label"] = 1
    table = divide(source, split="groups").table
    used = table[table.split != "excluded"]
    # good ones of their group are in training
    assert set(table.label[table.split == "excluded"]) == {1}
    assert waits_for(table).endswith("there are 3")
    assert used.groupby("group").split.nunique().max() == 1
    bad, held = table[table.label == 1], used.group[used.split == "val"]
    assert ((bad.split == "val") == bad.group.isin(held)).all()
    assert (used.split == "val").mean() == pytest.approx(1 / 3, abs=0.02)
    assert "all good images are of one group" in refused(lots((40, 0), (0, 5)), split="groups")


def test_subsample_keeps_classes_and_test_images_in_proportion_and_the_order():
    source = toy_source(120, 60, test=60)
    small = splits.subsample_source(source, 120, seed=0)
    assert small.table.label.value_counts().to_dict() == {0: 60, 1: 30}
    assert small.table.official_split.value_counts().to_dict() == {"train": 90, "test": 30}
    assert small.table.id.tolist() == [i for i in source.table.id if i in set(small.table.id)]
    again, other = (splits.subsample_source(source, 120, seed).table for seed in (0, 1))
    assert small.table.equals(again) and not small.table.equals(other)
    for enough in (None, 240, 500):
        assert splits.subsample_source(source, enough, seed=0) is source
    facts = splits.describe(small, divide(small, val_per_class=5), {"g000": "not an image"})
    assert facts["images"]["test hidden"] == 30 and sum(facts["images"].values()) == 120
    assert facts["images"]["val 0"] == facts["images"]["val 1"] == 5
    assert facts["test_left_out"] == 30 and facts["unreadable"] == ["g000"]
    assert splits.describe(source, divide(source, val_per_class=5), ())["test_left_out"] == 0


def grouped_source(n_groups=20, each=12, seed=0) -> Source:
    """Groups with between 0 and all of their images bad, as solar modules have."""
    rng = np.random.default_rng(seed)
    rates = np.repeat(rng.random(n_groups), each)
    ids = pd.Series([f"i{i:04d}" for i in range(len(rates))])
    labels = pd.array((rng.random(len(rates)) < rates).astype(int), dtype="Int64")
    table = pd.DataFrame({"id": ids, "path": "/data/" + ids + ".png", "label": labels})
    table["official_split"] = ""
    table["group"] = np.repeat([f"lot{i:02d}" for i in range(n_groups)], each)
    return Source("lots", table, "bad = 1")


def lots(*sizes: tuple[int, int]) -> Source:
    """Lots of so many good and bad parts."""
    source = grouped_source(1, sum(map(sum, sizes)))
    source.table["group"] = np.repeat([f"lot{n + 1}" for n in range(len(sizes))], np.sum(sizes, 1))
    labels = np.repeat([0, 1] * len(sizes), np.ravel(sizes))
    return dataclasses.replace(source, table=source.table.assign(label=pd.array(labels, "Int64")))


@pytest.mark.parametrize("kind", ["random", "groups"])
@pytest.mark.parametrize(("cross_fit", "share"), [(0, 0.25), (4, 0.25), (4, 0.0)])
@pytest.mark.parametrize("has_test_set", [False, True])
def test_what_belongs_together_is_never_divided(kind, cross_fit, share, has_test_set):
    near = pd.DataFrame({"first": [0, 30, 31], "second": [239, 31, 100], "bits": 8})
    source = grouped_source()
    digests = own_digests(source, i0050="i0200")
    together = [[0, 239], [30, 31, 100], [50, 200]]
    if kind == "groups":  # near duplicates join no groups
        together = [list(range(start, start + 12)) for start in range(0, 240, 12)] + [[50, 200]]
    official = np.isin(source.table.index // 12, [0, 1, 2, 3, 8]) & has_test_set
    if has_test_set:
        source.table["official_split"] = np.where(official, "test", "train")
    for seed in range(4):
        settings = {"split": kind, "cross_fit": cross_fit, "test_fraction": share, "seed": seed}
        given = SplitSettings(**settings, val_per_class=20)
        split = splits.make_split(source, digests, given, near)
        kept = split.table[split.table.split != "excluded"]
        place = kept.fold.fillna(-1) if cross_fit else kept.split
        assert all(place.reindex(rows).dropna().nunique() <= 1 for rows in together)
        is_test = split.table.split == "test"
        assert set(kept.split) == {"train", "val"} | ({"test"} if is_test.any() else set())
        if has_test_set:
            assert (is_test == official).all()
        else:
            near_it = 0.11 if kind == "groups" else 0.02
            assert is_test.mean() == pytest.approx(share, abs=share and near_it)
        if cross_fit:
            pool = kept[kept.split != "test"]
            assert sorted(pool.fold.unique()) == [0, 1, 2, 3] and kept.fold[is_test].isna().all()
            assert ((pool.split == "val") == (pool.fold == 0)).all()
            if kind == "random":
                shares = pool.groupby("fold").label.mean()
                assert shares.max() - shares.min() < 0.1
        elif kind == "random":
            assert kept.label[kept.split == "val"].value_counts().to_dict() == {0: 20, 1: 20}
        assert len(split.duplicates) == 7


def test_a_split_by_groups_needs_groups_and_enough_of_them():
    nowhere = grouped_source()
    nowhere.table["group"] = None
    for source in (toy_source(), nowhere):
        assert "LABELS_CSV" in refused(source, split="groups")
    few = refused(grouped_source(4, each=24), split="groups")
    assert "4 groups" in few and "4 and 3" in few and "TEST_FRACTION=0 and CROSS_FIT=3" in few
    for fraction in (0.6, 0.04):
        with pytest.raises(SettingsError, match="unless SPLIT=random"):
            divide(grouped_source(20, 24), test_fraction=fraction)


def apart(split: splits.Split) -> bool:
    return keeps_groups_apart(split.table)


def test_known_groups_are_held_out_by_default_and_a_test_set_has_several_of_them():
    whole = divide(lots(*[(30, 10)] * 10))
    assert apart(whole) and whole.report.endswith("in training and in validation; groups: 10")
    assert whole.table.group[whole.table.split == "test"].nunique() >= 2
    assert "one group in test says nothing" in refused(lots(*[(30, 10)] * 6), split="groups")
    mixed = divide(grouped_source(20, 24), split="random")
    assert not apart(mixed) and divide(toy_source()).report == ""
    assert mixed.report == "groups that are on several sides of the split: 20"


@pytest.mark.parametrize("settings", [{}, {"cross_fit": 5, "test_fraction": 0.0}])
@pytest.mark.parametrize(
    ("folds", "sizes"),
    [
        (5, [(30, 10)] * 6),
        (2, [(30, 10)] * 2),
        (3, [(40, 0)] * 3 + [(25, 15)] * 3),
        (5, [(300, 100)] + [(15, 5)] * 5),
        (0, [(40, 0)] * 6),  # PatchCore alone
        (None, [(40, 0)] * 5 + [(25, 15)]),
        (None, [(30, 14), (30, 1)]),  # one bad part to train on
    ],
)
def test_few_lots_are_judged_out_of_fold_and_a_random_split_says_why(folds, sizes, settings):
    few = f"few: {len(sizes)} with good parts, {sum(bad > 0 for _, bad in sizes)} with bad ones"
    says = f"(CROSS_FIT={folds}, TEST_FRACTION=0), since there are {few}"
    if folds in (0, settings.get("cross_fit", 0)):
        says = "SPLIT=groups: none is in training and in validation"
    elif folds is None:
        says = f"add good and bad parts of further groups, since there are {few}"
    for seed in range(4):
        split = divide(lots(*sizes), seed=seed, **settings)
        assert says in split.report and apart(split) == (folds is not None)
        if folds:
            held = split.table.groupby("fold").label.agg(["size", "nunique"])
            assert held.index.tolist() == [*range(folds)] and (held["nunique"] == 2).all()
            uneven = "lot1 holds 80% of the images" in split.report
            assert uneven == (sizes[0][0] == 300) == ("learn from few" in split.report)
            assert not uneven or held["size"].idxmax() == folds - 1  # trains the deployed model


def test_groups_of_the_source_s_own_test_set_are_counted_and_may_be_in_training():
    official = grouped_source()
    official.table["official_split"] = ["train", "test"] * 120  # as chips of a contest
    official.table["label"] = official.table.label.mask(official.table.official_split == "test")
    split = divide(official)
    assert "the source's own test set has too: 20" in split.report and apart(split)
    assert (split.table.split == "test").sum() == 120 and (split.table.split != "excluded").all()


def test_near_duplicates_do_not_join_groups_and_are_counted():
    """A camera that stands still makes parts of all groups look alike."""
    near = pd.DataFrame({"first": range(232), "second": range(8, 240), "bits": 8})  # 8 clusters
    source = grouped_source()
    split = splits.make_split(source, own_digests(source), SplitSettings(), near)
    assert apart(split) and set(split.table.split) == {"train", "val", "test"}
    assert "near duplicates in two groups: 152" in split.report
    source.table.loc[[3, 100], "group"] = None  # these link no groups, but follow their pair
    split = splits.make_split(source, own_digests(source), SplitSettings(), near)
    assert apart(split) and (split.table.split != "excluded").sum() == 238


def test_parts_that_look_alike_count_one_by_one_in_lots_and_without_lots_the_way_out_is_named():
    source = lots(*[(15, 5)] * 6)
    near = pd.DataFrame({"first": np.arange(120) // 20 * 20, "second": range(120), "bits": 8})
    split = splits.make_split(source, own_digests(source), SplitSettings(), near)
    assert split.table.fold.nunique() == 5 and "near duplicates" not in split.report
    source = dataclasses.replace(source, table=source.table.drop(columns="group"))
    with pytest.raises(DataError, match="NEAR_DUPLICATE_BITS=0"):  # all good ones are near bad ones
        splits.make_split(source, own_digests(source), SplitSettings(), near)
    for pairs, says in ((near[near["second"] % 20 < 15], True), (near[:20], False)):
        split = splits.make_split(source, own_digests(source), SplitSettings(), pairs)
        assert ("images; if these are different parts" in split.report) == says


def test_a_fold_without_one_class_is_refused_before_anything_is_fitted():
    refusals = []
    for seed in range(40):  # some leave a fold without bad images
        try:
            source = grouped_source(10, 6, seed)
            table = divide(source, split="groups", cross_fit=4, seed=seed).table
        except DataError as error:
            refusals.append(str(error))
        else:
            assert (table.groupby("fold").label.nunique() == 2).all()
    assert any("no bad image in fold" in refusal for refusal in refusals)


def test_images_without_a_group_are_left_out_unless_they_are_the_source_s_test_set():
    source = grouped_source()
    source.table.loc[[3, 5], "group"] = None
    split = divide(source, split="groups")
    assert split.table.split.iloc[[3, 5]].tolist() == ["excluded"] * 2
    assert split.report.endswith(": 2")
    source = grouped_source()
    official = source.table.group.isin(source.table.group.unique()[:5])
    source.table["official_split"] = np.where(official, "test", "train")
    source.table["group"] = source.table.group.mask(official)
    table = divide(source, split="groups").table
    assert (table.split[official] == "test").all() and (table.split != "excluded").all()


@pytest.mark.parametrize("kind", ["random", "groups"])
def test_a_copy_or_a_group_on_two_sides_of_an_external_split_stays_where_it_is_best_protected(
    tmp_path, kind
):
    source = grouped_source()
    given = np.where(source.table.index < 12, "test", "train")
    given[[0, *range(12, 36)]] = ["train"] + ["val"] * 24  # one image of the test lot is in train
    csv = write_csv(tmp_path / "s.csv", id=source.table.id, split=given)
    digests = own_digests(source, i0050="i0020")
    split = divide(source, digests, split=kind, split_csv=csv).table.split
    assert split[50] == "excluded" and split[0] == ("excluded" if kind == "groups" else "train")
    table = divide(source, digests, split=kind, split_csv=csv, cross_fit=3).table
    assert (table.split[1:12] == "test").all() and set(table.fold.dropna()) == {0, 1, 2}


@pytest.mark.parametrize("kind", ["random", "groups"])
@pytest.mark.parametrize("cross_fit", [0, 3])
def test_a_corrected_label_moves_no_image_to_another_side(kind, cross_fit):
    source, untouched = grouped_source(), grouped_source()
    settings = {"split": kind, "cross_fit": cross_fit}
    before = divide(source, **settings).table
    rows = source.table.sample(30, random_state=0).index
    source.table["label_before"] = source.table.label.where(source.table.index.isin(rows))
    source.table.loc[rows, "label"] = 1 - source.table.label[rows]
    after = divide(source, **settings).table
    same = [name for name in ("id", "split", "fold") if name in before]
    pd.testing.assert_frame_equal(after[same], before[same])
    assert (after.label[rows] != before.label[rows]).all()
    fewer = splits.subsample_source(source, 100, seed=0).table  # MAX_IMAGES takes the same too
    assert fewer.id.tolist() == splits.subsample_source(untouched, 100, seed=0).table.id.tolist()


@pytest.mark.parametrize("more", [{}, {"cross_fit": 4}, {"cross_fit": 4, "test_fraction": 0.0}])
def test_the_split_of_another_run_is_repeated(tmp_path, more):
    settings, csv = {"split": "groups", "seed": 1, **more}, tmp_path / "split.csv"
    first = divide(grouped_source(), **settings).table
    first.to_csv(csv, index=False)
    again = divide(grouped_source(), split_csv=str(csv), **settings).table
    pd.testing.assert_frame_equal(again, first)
    fewer = splits.keep_readable(grouped_source(), first.id.iloc[2:])  # lines about the others
    there = divide(fewer, split_csv=str(csv), **settings).table  # are no error
    assert (there.split == "test").tolist() == (first.split[2:] == "test").tolist()


@pytest.mark.parametrize("settings", [{}, {"cross_fit": 3}, {"split": "groups"}])
def test_a_review_moves_no_image_and_its_labels_judge_nothing(settings):
    source = grouped_source() if settings.get("split") else toy_source()
    before = divide(source, **settings).table.set_index("id")
    # 20 new images that a review alone has labelled, and other labels for every seventh of the old
    new = source.table.iloc[:20].assign(label=pd.NA, group="new", path=source.table.path[:20] + "2")
    new["id"] = [f"r{number}" for number in range(20)]
    table = pd.concat([new, source.table], ignore_index=True).astype({"label": "Int64"})
    table["review"] = (1 - table.label).where(table.index % 7 == 0)
    table["review"] = table.review.mask(table.label.isna(), table.index % 2).astype("Int64")
    split = divide(dataclasses.replace(source, table=table), **settings).table
    table, same = split.set_index("id"), ["label", *{"split", "fold"}.intersection(before)]
    pd.testing.assert_frame_equal(table.loc[before.index, same], before[same], check_dtype=False)
    assert (table.split.drop(before.index) == "review").all()
    for fold in members.folds_of(split) or [None]:
        seen = members.sides(split, fold).set_index("id")
        trains, judged = seen.split == "train", seen.split.isin(["val", "test"])
        assert seen.label[trains].equals(table.review[trains].fillna(table.label[trains]))
        assert seen.label[judged].equals(table.label[judged])
        assert not table.label[judged].isna().any()
        assert not table.index[judged].str.startswith("r").any()


@pytest.mark.parametrize(("cross_fit", "beside_training"), [(0, "review"), (3, "excluded")])
def test_an_image_of_a_review_trains_beside_its_group_but_not_if_that_is_judged(
    cross_fit, beside_training
):
    old = grouped_source().table.assign(review=pd.NA)
    new = old.drop_duplicates("group").assign(label=pd.NA, review=1)
    new["id"] = new["path"] = "r" + new.id
    table = pd.concat([old, new], ignore_index=True).astype({"label": "Int64", "review": "Int64"})
    source = dataclasses.replace(grouped_source(), table=table)
    found = divide(source, split="groups", cross_fit=cross_fit).table.set_index("id")
    beside = found.split[new.id.str[1:]].to_numpy()
    expected = np.where(beside == "train", beside_training, "excluded")
    assert set(beside) == {"train", "val", "test"} and (found.split[new.id] == expected).all()
