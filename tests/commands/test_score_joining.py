"""When shards are joined again: after changes, damage and a restart; which ones belong together."""

import pytest

from helpers.commands.score import ScoreError
from helpers.commands.score.files import ScoreFiles
from helpers.commands.score.generations import generation_of, outdated, unfinished
from helpers.commands.score.listing import Shard
from helpers.commands.score.merge import merge, withdraw
from helpers.commands.score.progress import load_progress
from tests.shard_fixtures import KEY, joined_scores, score_of, write_shard, write_shards


def test_shards_that_changed_under_the_same_names_are_joined_again(tmp_path):
    out = tmp_path / "s.csv"
    write_shards(out, "abcde", 2)
    merge(out)
    write_shards(out, "abcde", 2, more=0.5)
    merge(out)
    assert joined_scores(out) == {name: score_of(name) + 0.5 for name in "abcde"}
    write_shards(out, "abcdef", 2)
    merge(out)
    assert joined_scores(out) == {name: score_of(name) for name in "abcdef"}


def _header_only(out):
    out.write_text("path,id,defect_score\n")


def _another_digit(out):
    out.write_text(out.read_text().replace("0.01", "0.07"))


def _longer(out):
    out.write_text(out.read_text() + "x,x,0.5\n")


def _no_reasons(out):
    out.with_name("s.unreadable.csv").unlink()


@pytest.mark.parametrize("damage", [_header_only, _another_digit, _longer, _no_reasons])
def test_a_damaged_joined_file_is_joined_again(tmp_path, damage):
    out, reasons = tmp_path / "s.csv", tmp_path / "s.unreadable.csv"
    write_shards(out, "abcde", 2, "b")
    merge(out)
    whole = out.read_bytes(), reasons.read_bytes()
    damage(out)
    merge(out)
    assert (out.read_bytes(), reasons.read_bytes()) == whole


def test_a_whole_joined_file_is_written_again_only_with_restart(tmp_path):
    out = tmp_path / "s.csv"
    write_shards(out, "abcde", 2)
    merge(out)
    first = out.stat().st_ino
    merge(out)
    assert out.stat().st_ino == first
    merge(out, restart=True)
    assert out.stat().st_ino != first


def test_a_shard_of_before_a_restart_is_joined_only_on_demand(tmp_path):
    out = tmp_path / "s.csv"
    write_shards(out, "abcd", 2)
    merge(out)
    write_shard(out, "abcd", Shard(0, 2), more=0.5, generation=1)
    with pytest.raises(ScoreError) as error:
        merge(out)
    assert "s.1of2.csv was begun before another shard was begun anew; run its" in str(error.value)
    assert f"with --merge {out} --restart" in str(error.value)
    assert joined_scores(out) == {name: score_of(name) for name in "abcd"}
    merge(out, restart=True)
    mixed = {"a": 0.51, "b": 0.02, "c": 0.53, "d": 0.04}
    assert joined_scores(out) == mixed
    out.unlink()
    merge(out)  # what was joined on demand belongs together from then on
    assert joined_scores(out) == mixed


@pytest.mark.parametrize(
    ("there", "restart", "expected"),
    [
        ((None, None), False, 0),
        ((None, None), True, 1),
        ((None, 1), False, 1),  # deleted, and scored again for the others
        ((None, 1), True, 1),
        ((None, 0), True, 1),
        ((0, 0), False, 0),
        ((0, 1), False, 0),  # goes on as what it was begun
        ((0, 1), True, 1),  # catches up with a shard that was begun anew before it
        ((1, 1), True, 2),
        ((2, 1), True, 3),
    ],
)
def test_a_restart_catches_up_with_the_newest_generation_or_begins_one(
    tmp_path, there, restart, expected
):
    out = tmp_path / "s.csv"
    for index, generation in enumerate(there):
        if generation is not None:
            write_shard(out, "abcd", Shard(index, 2), generation=generation)
    assert generation_of(out, Shard(0, 2), restart) == expected


def test_a_shard_of_another_list_or_generation_is_unfinished(tmp_path):
    out, this, other = tmp_path / "s.csv", Shard(0, 2), Shard(1, 2)
    write_shards(out, "abcd", 2)
    assert unfinished(out, this) == []
    write_shard(out, "abce", this)
    assert unfinished(out, this) == [other]
    write_shard(out, "abcde", this)
    assert unfinished(out, this) == [other]
    write_shard(out, "abcde", other, generation=1)
    assert unfinished(out, other) == outdated(out, 2) == [this]


def test_a_joined_file_is_unfinished_once_a_shard_is_begun_anew(tmp_path):
    out = tmp_path / "s.csv"
    write_shards(out, "abcd", 2)
    merge(out)
    withdraw(out, KEY | {"model": "n", "shard": "0/2"})
    assert not load_progress(out).complete
    write_shards(out, "abcd", 2, model="n", more=0.5)
    merge(out)  # the new model's scores may be joined without --restart
    assert joined_scores(out) == {name: score_of(name) + 0.5 for name in "abcd"}


def test_what_one_process_scored_is_not_withdrawn(tmp_path):
    out = tmp_path / "s.csv"
    write_shards(out, "ab", 2)
    merge(out)
    with ScoreFiles(out, KEY) as files:  # goes on with the joined file
        files.commit([], 2, "ab", complete=True)
    before = load_progress(out)
    withdraw(out, KEY | {"shard": "0/2"})
    assert load_progress(out) == before
