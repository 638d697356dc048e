"""Results and whole files of shards, without a model: each image is a letter with its own score."""

from pathlib import Path

import pandas as pd

from helpers.commands.score.files import Result, ScoreFiles
from helpers.commands.score.listing import Entry, Shard
from helpers.commands.score.progress import shard_path

ALONE = Shard()
KEY = {"images": "/parts", "model": "m", "shard": "0/1"}


def score_of(name: str) -> float:
    """A different score for every letter: 0.01 for a, 0.02 for b."""
    return (ord(name) - ord("a") + 1) / 100


def results(
    names: str, shard: Shard = ALONE, unreadable: str = "", more: float = 0.0
) -> list[Result]:
    """Results of the images that the letters of `names` stand for, all scores `more` higher."""
    entries = [Entry(i, name, name, name, f"{i}{name}") for i, name in enumerate(names)]
    own = [entry for entry in entries if shard.takes(entry.position)]
    return [
        Result(e, None, "bad") if e.path in unreadable else Result(e, score_of(e.path) + more)
        for e in own
    ]


def write_shard(out: Path, names: str, shard: Shard, unreadable: str = "", **options) -> None:
    """Whole files of one shard of a list; options: more, model, generation."""
    key = KEY | {"shard": str(shard), "model": options.get("model", "m")}
    found = results(names, shard, unreadable, options.get("more", 0.0))
    generation = options.get("generation", 0)
    with ScoreFiles(shard_path(out, shard), key, restart=True, generation=generation) as files:
        files.commit(found, len(names), names, complete=True)


def write_shards(out: Path, names: str, count: int, unreadable: str = "", **options) -> None:
    """Whole files of all shards of a list."""
    for index in range(count):
        write_shard(out, names, Shard(index, count), unreadable, **options)


def joined_scores(out: Path) -> dict[str, float]:
    """The scores of a joined file by path, in its order."""
    return pd.read_csv(out, index_col="path").defect_score.to_dict()
