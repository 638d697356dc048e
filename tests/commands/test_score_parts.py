"""Part files: resuming, shards, damage, and lists or settings that changed."""

import multiprocessing
import os
import shutil
import signal
import time

import numpy as np
import pandas as pd
import pytest

from helpers.commands.score import command as score
from helpers.commands.score import listing
from helpers.commands.score.engine import PartScorer
from helpers.commands.score.parts import Job, PartFiles, Row, Settings, names_digest
from helpers.deploy.predictor import TrainedModel
from tests.score_fixtures import by_the_series, command, folder, make_model, save, scores

__all__ = ["folder"]


def _slow_run(arguments: list[str]) -> None:
    """A process that is slow enough to be killed in between: 1 ms more for each image."""
    listing.PART_IMAGES, plain = 16, TrainedModel.read
    TrainedModel.read = lambda *given: (time.sleep(0.001), plain(*given))[1]
    raise SystemExit(score.main(arguments))


def part_names(folder):
    return sorted(path.name for path in (folder / "scores.csv.parts").glob("[0-9]*.csv"))


def both(folder, name="scores"):
    return [(folder / f"{name}{kind}.csv").read_bytes() for kind in ("", ".unreadable")]


@pytest.fixture
def whole(folder, capsys):
    """`folder` with an unreadable file, all scored."""
    (folder / "parts" / "bad" / "broken.png").write_text("not an image")
    assert score.main(command(folder)) == 0
    capsys.readouterr()
    return folder


def test_killed_three_times_at_random_moments_it_ends_as_if_never_killed(folder):
    arguments = command(folder)
    processes = multiprocessing.get_context("forkserver")  # torch is imported once
    processes.set_forkserver_preload([__name__])
    rng = np.random.default_rng()
    for _ in range(3):
        before = part_names(folder)
        process = processes.Process(target=_slow_run, args=(arguments,))
        process.start()
        while process.is_alive() and part_names(folder) == before:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.02))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (folder / "scores.csv").exists()
    assert score.main(arguments) == 0
    interrupted = (folder / "scores.csv").read_bytes()
    assert score.main([*arguments, "--restart"]) == 0
    assert (folder / "scores.csv").read_bytes() == interrupted
    assert len(scores(folder)) == 120 and scores(folder).index.is_unique


def test_after_ctrl_c_only_what_is_missing_is_scored(whole, monkeypatch, capsys):
    expected, plain, seen = both(whole), PartScorer.score, []

    def stopped(self, entries):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(entries[0].path)
        return plain(self, entries)

    with monkeypatch.context() as patch:
        patch.setattr(PartScorer, "score", stopped)
        assert score.main(command(whole, "--restart")) == 130
    assert "the same command without --restart continues" in capsys.readouterr().err
    assert part_names(whole) == ["000000.csv", "000001.csv", "000002.csv"]
    monkeypatch.setattr(
        PartScorer, "score", lambda *given: seen.append(given[1][0].path) or plain(*given)
    )
    assert score.main(command(whole)) == 0
    assert seen == [part[0].path for part in listing.open_list(str(whole / "parts")).parts()]
    assert both(whole) == expected


def test_an_interrupt_before_old_parts_are_removed_does_not_advise_to_keep_them(
    whole, monkeypatch, capsys
):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(PartFiles, "remove", stopped)
    assert score.main(command(whole, "--restart")) == 130
    assert "the same command continues" in capsys.readouterr().err


def test_a_file_that_was_replaced_keeps_its_score_until_a_restart_and_that_is_said(whole, capsys):
    before = scores(whole).defect_score
    save(whole / "parts" / "bad" / "bad00.png", 40, 40)
    assert score.main(command(whole)) == 0
    assert "121 images were read by an earlier call; --restart reads" in capsys.readouterr().out
    assert scores(whole).defect_score.equals(before)
    assert score.main(command(whole, "--restart")) == 0
    assert "earlier call" not in capsys.readouterr().out
    changed = scores(whole).defect_score != before
    assert changed[changed].index.tolist() == ["bad/bad00.png"]


@pytest.mark.parametrize("order", ["01", "10"])
def test_two_shards_and_one_process_write_the_same_bytes(whole, capsys, order):
    sharded = [*command(whole), "--out", str(whole / "s.csv"), "--shard"]
    assert score.main([*sharded, f"{order[0]}/2"]) == 0
    told = capsys.readouterr().out
    assert f"s.csv is joined when all shards are complete; to do: {order[1]}/2\n" in told
    assert not (whole / "s.csv").exists()
    assert score.main([*sharded, f"{order[1]}/2"]) == 0
    assert "s.csv: scored 120, unreadable 1 (" in capsys.readouterr().out
    assert both(whole, "s") == both(whole)


def test_shards_of_another_number_continue_what_is_there(whole, capsys):
    expected = both(whole)
    assert score.main(command(whole, "--restart", "--shard", "0/3")) == 0
    assert "to do: 1/3, 2/3\n" in capsys.readouterr().out
    shutil.move(whole / "scores.csv.parts", whole / "s.csv.parts")
    for shard in ("0/2", "1/2"):
        assert score.main([*command(whole, "--shard", shard), "--out", str(whole / "s.csv")]) == 0
    assert both(whole, "s") == expected


@pytest.mark.parametrize("restart", [(), ("--restart",)])
def test_one_shard_s_restart_starts_all_shards_from_scratch(whole, capsys, restart):
    """Scores of images that were replaced under the same names must not be mixed with old ones."""
    before = scores(whole).defect_score
    images = whole / "parts" / "bad"
    for name in ("bad00.png", "bad30.png"):  # in the first and second part
        save(images / name, 40, 40)
    assert score.main(command(whole, "--shard", "0/2", "--restart")) == 0
    assert "to do: 1/2\n" in capsys.readouterr().out
    assert not (whole / "scores.csv").exists()
    assert score.main(command(whole, "--shard", "1/2", *restart)) == 0
    changed = scores(whole).defect_score != before
    assert changed[changed].index.tolist() == ["bad/bad00.png", "bad/bad30.png"]


def _empty(path):
    path.write_bytes(b"")


def _cut_off(path):
    path.write_bytes(path.read_bytes()[:-30])


def _one_digit(path):
    text = path.read_text()
    path.write_text(text.replace(",0.", ",0.9", 1))


def _of_another_place(path):
    path.write_bytes(path.with_name("000001.csv").read_bytes())


def _of_another_model(path):
    folder = path.parent.parent
    make_model(folder / "other.safetensors", seed=1)
    arguments = ["--model", str(folder / "other.safetensors"), "--out", str(folder / "o.csv")]
    assert score.main([*command(folder), *arguments]) == 0
    path.write_bytes((folder / "o.csv.parts" / path.name).read_bytes())


@pytest.mark.parametrize(
    "damage", [_empty, _cut_off, _one_digit, _of_another_place, _of_another_model]
)
def test_a_damaged_or_foreign_part_is_scored_again(whole, capsys, damage):
    expected = both(whole)
    damage(whole / "scores.csv.parts" / "000002.csv")
    assert score.main(command(whole)) == 0
    assert "scores.csv: 16 images in" in capsys.readouterr().out
    assert both(whole) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda images: save(images / "bad" / "a.png", 9, 9),
        lambda images: save(images / "good" / "new.png", 9, 9),  # behind the others
        lambda images: (images / "good" / "good59.jpg").unlink(),
        lambda images: (images / "good" / "good59.jpg").rename(images / "good" / "good99.jpg"),
    ],
)
def test_another_list_is_refused(folder, capsys, change):
    assert score.main(command(folder)) == 0
    before = (folder / "scores.csv").read_bytes()
    change(folder / "parts")
    assert score.main(command(folder)) == 1
    told = capsys.readouterr().err
    assert f"parts changed since {folder / 'scores.csv'} was started: restore it, give" in told
    assert (folder / "scores.csv").read_bytes() == before
    assert score.main(command(folder, "--restart")) == 0
    np.testing.assert_allclose(scores(folder).defect_score, by_the_series(folder), rtol=1e-6)


def test_images_of_the_same_names_in_another_folder_are_refused(folder, capsys):
    assert score.main(command(folder)) == 0
    shutil.copytree(folder / "parts", folder / "tuesday")
    assert score.main(command(folder, images=str(folder / "tuesday"))) == 1
    assert "with other settings: images was parts, now tuesday. Use" in capsys.readouterr().err


def test_complete_parts_are_not_scored_again_even_if_the_disk_is_mounted_elsewhere(
    whole, monkeypatch, capsys
):
    expected = both(whole)
    (whole / "scores.csv").unlink()
    monkeypatch.setattr(TrainedModel, "read", None)
    elsewhere = whole.parent / f"{whole.name}-elsewhere"
    shutil.move(whole, elsewhere)
    assert score.main(command(elsewhere)) == 0
    assert "scores.csv: 0 images: nothing to do\n" in capsys.readouterr().out
    assert both(elsewhere) == expected


def test_another_model_or_option_is_refused(folder, capsys):
    assert score.main(command(folder)) == 0
    assert score.main(command(folder, "--views", "4")) == 1
    told = capsys.readouterr().err
    assert "was started with other settings: views was 1, now 4. Use the same" in told
    make_model(folder / "m.safetensors", seed=1)
    assert score.main(command(folder)) == 1
    assert "other settings: model was m.safetensors (" in capsys.readouterr().err
    assert score.main(command(folder, "--restart")) == 0
    np.testing.assert_allclose(scores(folder).defect_score, by_the_series(folder), rtol=1e-6)


def test_a_list_that_changes_meanwhile_is_noticed(folder, monkeypatch, capsys):
    plain = PartScorer.score

    def changing(self, entries):
        save(folder / "parts" / "good" / "aaa.png", 9, 9)  # before the images still to be listed
        return plain(self, entries)

    monkeypatch.setattr(PartScorer, "score", changing)
    assert score.main(command(folder)) == 1
    told = capsys.readouterr().err
    assert "000003.csv does not fit the list: " in told and "changed while it was scored" in told
    assert not (folder / "scores.csv").exists()


def test_a_damaged_record_is_named_with_the_way_out(whole, capsys):
    expected = both(whole)
    (whole / "scores.csv.parts" / "list.json").write_text('{"count": 1}')
    assert score.main(command(whole)) == 1
    told = capsys.readouterr().err
    assert "list.json is damaged: start from scratch with --restart" in told
    assert score.main(command(whole, "--restart")) == 0
    assert both(whole) == expected


def test_names_with_commas_quotes_and_line_breaks_come_back(tmp_path):
    name = 'a, "b"\r\n.png'
    row = Row(name, "i,d", "0.25", "")
    job = Job(Settings("images", "m", "no", 1, 8), 1, [names_digest([row])])
    files = PartFiles(tmp_path / "s.csv", job)
    files.write(0, [row])
    assert files.read(0) == [row]
    files.join()
    found = pd.read_csv(tmp_path / "s.csv").iloc[0]
    assert (found.path, found.id, found.defect_score) == (name, "i,d", 0.25)
