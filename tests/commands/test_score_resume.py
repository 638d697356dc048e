"""A scoring that was killed or stopped goes on, and ends as if it had not been."""

import itertools
import multiprocessing
import os
import signal
import time

import numpy as np
import pandas as pd
import pytest

from helpers.commands.score import command as score
from helpers.commands.score import engine, files
from helpers.commands.score.progress import load_progress
from tests.score_fixtures import by_the_series, command, folder, make_model, save, scores

__all__ = ["folder"]


def _slow_run(arguments: list[str]) -> None:
    """A process that is slow enough to be killed in between: 1 ms more for each image."""
    engine.PIECE, plain = 16, engine.decode
    engine.decode = lambda *given: (time.sleep(0.001), plain(*given))[1]
    raise SystemExit(score.main(arguments))


def test_killed_three_times_at_random_moments_it_ends_as_if_never_killed(folder):
    arguments = command(folder)
    processes = multiprocessing.get_context("forkserver")  # torch is imported once
    processes.set_forkserver_preload(["helpers.score"])
    rng = np.random.default_rng()
    for _ in range(3):
        before = load_progress(folder / "scores.csv")
        process = processes.Process(target=_slow_run, args=(arguments,))
        process.start()
        while process.is_alive() and load_progress(folder / "scores.csv") == before:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.02))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not load_progress(folder / "scores.csv").complete
    assert score.main(arguments) == 0
    interrupted = (folder / "scores.csv").read_bytes()
    assert score.main([*arguments, "--restart"]) == 0
    assert (folder / "scores.csv").read_bytes() == interrupted
    assert len(scores(folder)) == 120 and scores(folder).index.is_unique


@pytest.mark.parametrize("last", [1, 2, 5])
def test_a_piece_that_the_record_does_not_know_is_cut_off(folder, monkeypatch, capsys, last):
    (folder / "parts" / "bad" / "broken.png").write_text("no image")
    calls = itertools.count()
    plain = files.save_progress

    def stopped(*given):
        """As if killed between writing the rows and saying so."""
        if next(calls) == last:
            raise KeyboardInterrupt
        plain(*given)

    with monkeypatch.context() as patch:
        patch.setattr(files, "save_progress", stopped)
        assert score.main(command(folder)) == 130
    assert "the same command goes on" in capsys.readouterr().err
    with (folder / "scores.csv").open("a") as file:
        file.write("good/half a li")
    assert score.main(command(folder)) == 0
    np.testing.assert_allclose(scores(folder).defect_score, by_the_series(folder), rtol=1e-6)
    unreadable = pd.read_csv(folder / "scores.unreadable.csv")
    assert unreadable.path.tolist() == ["bad/broken.png"]


def test_what_is_whole_is_not_scored_again(folder, monkeypatch, capsys):
    assert score.main(command(folder)) == 0
    monkeypatch.setattr(engine, "decode", None)
    assert score.main(command(folder)) == 0
    assert "scores.csv is whole: nothing to do. Scored: 120" in capsys.readouterr().out


def test_images_behind_those_that_are_done_are_added(folder):
    assert score.main(command(folder)) == 0
    before = (folder / "scores.csv").read_text()
    save(folder / "parts" / "good" / "new.png", 20, 20)
    assert score.main(command(folder)) == 0
    assert (folder / "scores.csv").read_text().startswith(before)
    np.testing.assert_allclose(scores(folder).defect_score, by_the_series(folder), rtol=1e-6)


def test_images_are_added_to_shards_one_after_the_other(folder, capsys):
    """The first shard doesn't take the other one for whole, nor fail over its shorter list."""
    for shard in ("0/2", "1/2"):
        assert score.main(command(folder, "--shard", shard)) == 0
    save(folder / "parts" / "good" / "new.png", 20, 20)
    save(folder / "parts" / "good" / "newer.png", 30, 20)
    capsys.readouterr()
    assert score.main(command(folder, "--shard", "0/2")) == 0
    assert "to do: 1/2\n" in capsys.readouterr().out
    assert score.main(command(folder, "--shard", "1/2")) == 0
    assert "All 2 shards are whole, joined in" in capsys.readouterr().out
    np.testing.assert_allclose(scores(folder).defect_score, by_the_series(folder), rtol=1e-6)


def test_shards_begun_anew_replace_the_scores_of_images_under_the_same_names(folder, capsys):
    for shard in ("0/2", "1/2"):
        assert score.main(command(folder, "--shard", shard)) == 0
    first, second, *_ = sorted((folder / "parts" / "bad").iterdir())
    before = scores(folder).defect_score.copy()
    for path in (first, second):
        save(path, 24, 24)
    assert score.main(command(folder, "--shard", "0/2", "--restart")) == 0
    told = capsys.readouterr().out
    assert "to do: 1/2\nBegun before another shard was begun anew: 1/2. Run with" in told
    assert not load_progress(folder / "scores.csv").complete
    assert score.main(command(folder, "--shard", "1/2")) == 0  # without --restart: still the old
    assert "to do: 1/2\n" in capsys.readouterr().out
    assert score.main(["--merge", str(folder / "scores.csv")]) == 1
    assert "run its command with --shard 1/2 --restart too" in capsys.readouterr().err
    assert score.main(command(folder, "--shard", "1/2", "--restart")) == 0
    assert "All 2 shards are whole, joined in" in capsys.readouterr().out
    after = scores(folder).defect_score
    assert before.index[~np.isclose(before, after)].tolist() == [
        f"bad/{first.name}",
        f"bad/{second.name}",
    ]
    np.testing.assert_allclose(after, by_the_series(folder), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parts: save(parts / "bad" / "a.png", 9, 9), "image 1 was bad/bad00.png, now bad/a"),
        (
            lambda parts: (parts / "good" / "good59.jpg").unlink(),
            "was good/good59.jpg, now nothing",
        ),
    ],
)
def test_another_list_is_refused(folder, capsys, change, message):
    assert score.main(command(folder)) == 0
    before = (folder / "scores.csv").read_bytes()
    change(folder / "parts")
    assert score.main(command(folder)) == 1
    told = capsys.readouterr().err
    assert message in told and "begin anew with --restart" in told
    assert (folder / "scores.csv").read_bytes() == before
    assert score.main(command(folder, "--restart")) == 0
    np.testing.assert_allclose(scores(folder).defect_score, by_the_series(folder), rtol=1e-6)


def test_another_model_or_option_is_refused(folder, capsys):
    assert score.main(command(folder)) == 0
    assert score.main(command(folder, "--flips")) == 1
    assert (
        "was begun otherwise: flips was False, now True. Give the same" in capsys.readouterr().err
    )
    make_model(folder / "m.safetensors", seed=1)
    assert score.main(command(folder)) == 1
    assert "was begun otherwise: model was m.safetensors (" in capsys.readouterr().err


def test_two_processes_cannot_write_the_same_file(folder, capsys):
    with files.ScoreFiles(folder / "scores.csv", {}):
        assert score.main(command(folder)) == 1
    assert "another process writes" in capsys.readouterr().err
