"""Try ways to fine-tune: `python -m tests.benchmarks.tries NAME ... --seeds 1 --folds 0 1`.

Each is the recipe of FBP of the preset `full` (EfficientNet-Lite0, 192 px, 8 epochs) but for one
change, scored out of fold by whole modules, once with the last weights and once with a running
average of the weights. The scores of a fold are written to TRIES/NAME/; what is there is not
computed again. Then each NAME that is complete is compared with the published FBP of its seed.

- pairs: beside the cross-entropy, log(1 + exp(good - bad)) of all pairs of a good and a bad part of
  the same module; batches of four modules with eight images each
- growing: 12 epochs, 6 on images of 128 px, 3 of 160 and 3 of 192
"""

import argparse
import copy
import itertools

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from helpers.core import files, metrics, paths
from helpers.core.members import sides
from helpers.models.weights import find_weights
from helpers.training import fit
from helpers.training.batches import ImageBatches, augmentation
from helpers.training.inference import autocast, predict
from helpers.training.loop import Training, keep_freed_memory
from helpers.training.settings import TrainSettings
from tests.benchmarks import out_of_fold

SIZES = {"pairs": 8 * [192], "growing": 6 * [128] + 3 * [160] + 3 * [192]}  # of each epoch
DECAY = 0.99  # of the average of the weights


class ModuleBatches(ImageBatches):
    """Batches of four modules with eight images each; `groups` is set afterwards."""

    def shuffled(self, seed, epoch):
        rng, chunks, rest = np.random.default_rng([seed, epoch, 7]), [], []
        for group in pd.unique(self.groups):
            rows = rng.permutation(np.flatnonzero(self.groups == group))
            whole = len(rows) // 8 * 8
            chunks += [*rows[:whole].reshape(-1, 8)]
            rest.append(rows[whole:])
        rest = rng.permutation(np.concatenate(rest))
        chunks += [rest[start : start + 8] for start in range(0, len(rest), 8)]
        order = np.concatenate([chunks[i] for i in rng.permutation(len(chunks))])
        parts = self._parts(order[: self.epoch_size])
        for part, inputs in zip(parts, self.inputs(parts, training=True), strict=True):
            yield part, inputs, torch.from_numpy(self.labels[part])


class Tried(Training):
    """A training that may add the loss of pairs, and averages its weights."""

    groups = None  # of each row, if pairs count
    average, steps = None, 0

    def step(self, images, targets):
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(images.device, self.precision):
            out = self.model(images)
        out = out.float()
        loss = F.cross_entropy(out, targets, label_smoothing=0.1)
        if self.groups is not None:
            own, score = self.groups[self._rows], out[:, 1] - out[:, 0]
            same = torch.from_numpy(own[:, None] == own)
            pairs = same & (targets[:, None] == 1) & (targets == 0)
            if pairs.any():
                loss = loss + F.softplus(-(score[:, None] - score)[pairs]).mean()
        loss.backward(inputs=self.parameters)
        nn.utils.clip_grad_norm_(self.parameters, self.settings.grad_clip)
        self.optimizer.step()
        self.scheduler.step()
        self._total, self._seen = self._total + loss.item() * len(out), self._seen + len(out)
        state = self.model.state_dict()
        if self.average is None:
            self.average = {name: value.detach().clone() for name, value in state.items()}
        self.steps += 1
        for name, value in state.items():
            if value.dtype.is_floating_point:
                share = 1 - min(DECAY, self.steps / (10 + self.steps))
                self.average[name].lerp_(value.detach(), share)
            else:
                self.average[name].copy_(value)
        return loss.item()


def scores_of(name, seed, fold):
    """Return `id, last, average` of the images of a fold."""
    table = sides(out_of_fold.protocol("groups"), fold)
    train, val = (table[table.split == side] for side in ("train", "val"))
    weights = find_weights(out_of_fold.LITE0, "", 192)
    net = fit.pretrained(weights, 192, seed)

    def batches(size_px):
        kind = ModuleBatches if name == "pairs" else ImageBatches
        made = kind(out_of_fold.images(size_px), train, net, 32, augment=augmentation("full"))
        made.groups = train.group.to_numpy()
        return made

    settings = TrainSettings(epochs=len(SIZES[name]), lr=1e-3, keep="last")
    training = Tried(net, batches(192), None, settings, seed=seed)
    training.groups = train.group.to_numpy() if name == "pairs" else None
    keep_freed_memory()
    for epoch, _ in enumerate(training.epochs()):
        training.train = batches(SIZES[name][epoch])
        for batch in training.batches():
            training.step(*batch)
    averaged = copy.deepcopy(net)
    averaged.load_state_dict(training.average)
    judged = ImageBatches(out_of_fold.images(192), val, net, 32)
    found = {
        n: predict(one, judged, "auto", 8) for n, one in (("last", net), ("average", averaged))
    }
    return pd.DataFrame({"id": val.id.to_numpy(), **found})


def compared(table, scores, base):
    """Return the gain (points) and its standard error on unseen modules and inside them."""
    labels, groups = table.label.astype(int).to_numpy(), table.group.to_numpy()
    gain, _, _, _, error = metrics.auc_difference(labels, scores, base, groups)
    cells = []
    for group in np.unique(groups):
        own = groups == group
        smaller = min(np.bincount(labels[own], minlength=2))
        if smaller >= 2:
            aucs = [metrics.roc_auc(labels[own], each[own]) for each in (scores, base)]
            cells.append((smaller, aucs[0] - aucs[1]))
    weight, gains = np.transpose(cells)
    weight = weight / weight.sum()
    inside, n = weight @ gains, len(gains)
    return 100 * np.array(
        [gain, error, inside, np.sqrt(((weight * (gains - inside)) ** 2).sum() * n / (n - 1))]
    )


def main():
    """Compute what is missing, and print the comparisons."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.tries")
    parser.add_argument("names", nargs="+", choices=[*SIZES])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--folds", nargs="+", type=int, default=range(out_of_fold.FOLDS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    tries = paths.cache_root() / "tries"
    for name, seed, fold in itertools.product(given.names, given.seeds, given.folds):
        path = tries / name / f"seed{seed}_fold{fold}.csv"
        if not path.exists():
            files.save_csv(path, scores_of(name, seed, fold))
    for name, seed in itertools.product(given.names, given.seeds):
        parts = [pd.read_csv(path) for path in sorted((tries / name).glob(f"seed{seed}_*.csv"))]
        scores = pd.concat(parts).set_index("id")
        table = out_of_fold.protocol("groups").set_index("id").loc[scores.index]
        base = out_of_fold.stored("fbp", "groups")[f"seed{seed}"].loc[scores.index].to_numpy()
        for kind in scores:
            numbers = compared(table, scores[kind].to_numpy(), base)
            print(f"{name}, seed {seed}, {kind}: {len(parts)} folds {numbers.round(2)}")


if __name__ == "__main__":
    main()
