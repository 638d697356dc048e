"""What tests/test_processes.py does in two processes, and alone for comparison.

Each function of `WORK` is called in every process and gives what is kept of it: nested dicts and
lists of tensors and plain values.
"""

import copy
import os
import shutil
from functools import partial
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from helpers.core import files, processes, tensors
from helpers.core.paths import HOME_VARIABLE, RunPaths
from helpers.darts import search
from helpers.darts.settings import SearchSettings
from helpers.darts.supernet import Supernet
from helpers.runs import stages
from helpers.training import inference
from helpers.training.batches import EmbeddingBatches
from helpers.training.loop import Hooks, Training, TrainingError
from helpers.training.settings import BaselineSettings, TrainSettings

KINDS = {"adamw": {"ema_decay": 0.9}, "sgd": {"optimizer": "sgd", "schedule": "cosine", "lr": 0.1}}
TIMELESS = ("train_loss", "val_loss", "val_auc", "lr")


def embeddings(n=97, seed=0, batch_size=16):
    """97 rows in batches of 16: the last batch is one row, and a share of it is empty."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(np.int64)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    x[:, 0] += 1.5 * labels
    return EmbeddingBatches(x, labels, np.arange(n).astype(str), batch_size)


def plain(seed=0):
    """Without batch norm and dropout: two processes have to do what one does."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


def noisy():
    torch.manual_seed(1)
    hidden = [nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3)]
    return nn.Sequential(*hidden, nn.Linear(8, 2))


def fit(model, settings, train=None, **options):
    train = train or embeddings()
    options = {"seed": 3, "name": "toy"} | options
    return Training(model, train, embeddings(seed=1), settings, **options).run()


def kept(model, found):
    history = [{name: r[name] for name in TIMELESS} for r in found.history]
    return {"state": copy.deepcopy(model.state_dict()), "history": history}


def fine_tuning(folder):
    results = {}
    for kind, options in KINDS.items():
        # all but the main process start from other weights, which they have to give up
        model = plain(seed=processes.share()[0])
        settings = TrainSettings(epochs=2, precision="no", keep="last", **options)
        results[kind] = kept(model, fit(model, settings))
    return results


def normalised():
    torch.manual_seed(1)
    return nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2))


def running_statistics(folder):
    """Batch norm's, after an epoch; the first layer's do not depend on the weights."""
    model = normalised()
    fit(model, TrainSettings(epochs=1, precision="no", keep="last"), embeddings(96))
    return {name: value for name, value in model[0].state_dict().items() if "running" in name}


class Seeds(Hooks):
    """Notes the random stream that each epoch draws from; may stop before an epoch."""

    def __init__(self, stop=None):
        self.seen, self.stop = [], stop

    def epoch_starts(self, epoch, epochs):
        if epoch == self.stop:
            raise KeyboardInterrupt

    def before_step(self, images, targets):
        self.seen.append(torch.initial_seed())


def resuming(folder):
    """Three epochs, and one and two, in all processes: the same bits, from a file of the main's."""
    settings = TrainSettings(epochs=3, precision="no", ema_decay=0.5)
    whole, halves, seeds = noisy(), noisy(), Seeds()
    written, write = [], files.write_bytes
    files.write_bytes = lambda path, content: written.append(path.name) or write(path, content)
    try:
        fit(whole, settings, embeddings(96), hooks=seeds)
        try:
            fit(halves, settings, embeddings(96), resume=folder / "resume", hooks=Seeds(stop=1))
        except KeyboardInterrupt:
            torch.rand(5)
        processes.wait()
        if processes.is_main():
            shutil.copy(folder / "resume", folder / f"resume of {processes.count()}")
        again = noisy()
        fit(again, settings, embeddings(96), resume=folder / "resume")
    finally:
        files.write_bytes = write
    return {
        "whole": copy.deepcopy(whole.state_dict()),
        "resumed": copy.deepcopy(again.state_dict()),
        "streams": sorted(set(seeds.seen)),
        "written": written,
    }


def predictions(folder):
    torch.manual_seed(2)
    model, batches = nn.Linear(6, 2), embeddings(23, batch_size=5)
    scores = inference.Scorer(model, precision="no").scores(batches)[0]
    numbers = inference.evaluate(model, batches, "no")
    return {"scores": torch.from_numpy(scores), "numbers": numbers}


def errors(folder):
    bad = embeddings(16)
    bad.embeddings[11] = np.nan  # in one process's share alone
    try:
        fit(plain(), TrainSettings(precision="no"), bad)
    except TrainingError as error:
        return str(error)


def steps(folder):
    os.environ[HOME_VARIABLE] = str(folder)
    stage = stages.Stage("02", RunPaths("r"), "quick", BaselineSettings(), "key")
    path, needed = stage.paths.root / "out.txt", []

    def work(out):
        needed.append(True)
        if processes.is_main():
            files.write_bytes(out, b"done")

    for _ in range(2):
        stage.once("work", {"a": 1}, work, everywhere=True, out=path)
        needed.append(path.is_file())  # seen by all as soon as the step is over
    with processes.main_first():
        if processes.is_main():
            (folder / "cache").touch()
        needed.append((folder / "cache").is_file())
    return needed


def talk(folder):
    rank = processes.share()[0]
    return {
        "from main": processes.from_main(lambda: [rank, "main"]),
        "gather": processes.gather(rank),
        "dealt": processes.gather_dealt(list(range(5))[rank :: processes.count()]),
        "average": processes.average(torch.tensor([1.0, 2.0]) * (rank + 1), 3 - 2 * rank),
        "name": processes.device_name(),
    }


# --- the search ----------------------------------------------------------------------------------


class ToyImages:
    """28 images of 8x7 in batches of 9, in float64; a last batch of one image is dropped."""

    batch_size, epoch_size = 9, 28
    ids = np.arange(28).astype(str)
    labels = np.arange(28) % 2

    def __init__(self, seed):
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randn(28, 3, 8, 7, generator=generator, dtype=torch.float64)

    def shuffled(self, seed, epoch, share=(0, 1)):
        rows = np.random.default_rng([seed % 2**32, epoch]).permutation(28)
        for whole in (rows[:9], rows[9:18], rows[18:27]):
            part = whole[share[0] :: share[1]]  # 5 and 4 of two processes
            yield part, self.images[part], torch.from_numpy(self.labels[part])

    def ordered(self, share=(0, 1)):
        yield from self.images.split(9)[share[0] :: share[1]]


class InShares(Supernet):
    """In training one process normalises the two shares of a batch apart, as two would."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        out = [super(InShares, self).forward(x[rank::2]) for rank in range(2)]
        rows = torch.cat([torch.arange(len(x))[rank::2] for rank in range(2)])
        return torch.cat(out)[rows.argsort()]


def search_of(order, kind=Supernet):
    """A search of one epoch; cells of one node, which make no genotype, are quick."""
    torch.manual_seed(0)
    net = kind(4, 3, 2, nodes=1).double()
    settings = SearchSettings(
        batch_size=9,
        epochs=1,
        order=order,
        alpha_lr=0.05,
        eigenvalue_every=1,
        rollback_growth=0.0,
    )
    with (
        patch.object(search.guard, "architecture_record", lambda net, limit: {"genotype": None}),
        patch.object(
            search, "dominant_eigenvalue", partial(search.dominant_eigenvalue, iterations=2)
        ),
    ):
        found = search.run_search(net, ToyImages(0), ToyImages(1), settings)
    alpha = [[r["alpha_loss"], r["eigenvalue"], r["val_auc"]] for r in found.history]
    return kept(net, found) | {"alpha": alpha}


def searching(folder):
    return {f"order {order}": search_of(order) for order in (1, 2)}


WORK = [fine_tuning, running_statistics, resuming, predictions, errors, steps, talk, searching]


def work(rank, folder, port):
    """The whole of it in one of two processes; leaves `<rank>.safetensors` in the folder."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port)}
    os.environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    results = {function.__name__: function(folder) for function in WORK}
    tensors.save_state(folder / f"{rank}.safetensors", results)
    processes.leave()
