"""Search inside EfficientNet-Lite0 on ELPV: `python -m tests.benchmarks.subnets`.

    python -m tests.benchmarks.subnets search  # writes subnets.csv beside this file
    python -m tests.benchmarks.subnets alone   # trains the chosen and drawn parts alone
    python -m tests.benchmarks.subnets table   # compares them, and draws AUC over time

The shared training sees folds 1 to 4 of whole modules. The search chooses parts whose logits on
fold 0 agree best with three trainings of FBP without fold 0: no label of fold 0 is used, and labels
of 525 images say less (Lu et al. 2021). The four best with at most SHARE of FBP's multiply-adds are
compared with four of nearly the same cost, drawn at random, and with the whole network on smaller
images, which needs no search. Each is then trained alone, fold by fold, as FBP is.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logit

from helpers.core import files, metrics, paths, seeding, work
from helpers.core.members import sides
from helpers.darts import network, sandwich
from helpers.darts.genotypes import PUBLISHED
from helpers.darts.sandwich import Candidate, Space
from helpers.darts.settings import RetrainSettings
from helpers.models import backbones
from helpers.models.spec import Network
from helpers.models.subnets import Subnet
from helpers.results.out_of_fold import read_folder
from helpers.runs.presets import PRESET_VALUES
from helpers.training import fit
from helpers.training.inference import milliseconds_per_image
from helpers.training.settings import FinetuneSettings
from tests.benchmarks import out_of_fold, population

BASE = out_of_fold.LITE.format(0)
CHOOSING_FOLD, BEST = 0, 4
FBP_PX = 192
# of FBP's multiply-adds, for half of its time: small networks take longer for each of them
SHARE, NEAR = 0.38, 0.05  # multiply-adds of a drawn part are those of its best one +- 5 %
SEED, REPEATS = 0, 6
BESIDE = ("fbp", "darts_v2", "cnn")  # rows of the table and the picture
TABLE = Path(__file__).with_suffix(".csv")
JUDGED = TABLE.with_name("subnets_judged.csv")


def search() -> None:
    """Train all parts together, and write what the choice saw, and what it chose."""
    parts = Space(backbones.find_weights(BASE, "", max(sandwich.SIZES_PX)))
    settings = FinetuneSettings(**PRESET_VALUES["full"]["03_finetuning"])
    training = dataclasses.replace(settings.fbp, keep="last")
    table = sides(out_of_fold.protocol("groups"), CHOOSING_FOLD)
    images = out_of_fold.images(max(parts.sizes_px))
    key = files.fingerprint([dataclasses.asdict(training), parts.sizes_px, SEED])
    resume = paths.cache_root() / f"subnets_{key}.safetensors"
    with work.doing("parts", resume):
        shared = sandwich.train(parts, images, table, training, SEED)
    val = table[table.split == "val"]
    fbp = read_folder(paths.published_scores()).scores["groups"]["fbp"].loc[val.id]
    said = resume.with_suffix(".csv")  # a killed search judges no part twice
    judged = pd.read_csv(said).set_index("row") if said.exists() else pd.DataFrame()
    judged = judged.to_dict("index")

    def fidelity(one: Candidate) -> float:
        if (row := row_of(one)) not in judged:
            scores = sandwich.held_out_scores(shared, images, table, training, one)
            auc = metrics.roc_auc(val.label.astype(int), scores)
            judged[row] = {"fidelity": agreement(scores, fbp.mean(axis=1)), "auc_fold0": auc}
            files.save_csv(said, pd.DataFrame(judged).T.rename_axis("row").reset_index())
        return judged[row]["fidelity"]

    limit = SHARE * parts.macs[Candidate(Subnet(parts.depths), FBP_PX)]
    chosen = choose(parts, fidelity, limit)
    files.save_csv(TABLE, chosen.join(pd.DataFrame(judged).T.round(4), on="row"))
    for path in (resume, said):
        path.unlink(missing_ok=True)


def agreement(scores: Iterable[float], teacher: Iterable[float]) -> float:
    """Return the correlation of two models' logits."""
    logits = [logit(np.clip(list(some), 1e-6, 1 - 1e-6)) for some in (scores, teacher)]
    return float(np.corrcoef(*logits)[0, 1])


def choose(parts: Space, score: Callable[[Candidate], float], limit: float) -> pd.DataFrame:
    """Return the parts that evolution judged, best first, then drawn parts and smaller images.

    A row has the name in `out_of_fold`, the multiply-adds, the kind, and for the best ones and
    those drawn at their cost the number of the pair.
    """
    ranked = [*sandwich.evolve(parts, score, limit, SEED)]
    best, drawn = ranked[:BEST], list[Candidate]()
    generator = seeding.numpy_stream(SEED, "parts of equal cost")
    for one in best:
        like = [
            other
            for other, macs in parts.macs.items()
            if other not in [*best, *drawn] and abs(macs / parts.macs[one] - 1) <= NEAR
        ]
        drawn.append(like[generator.integers(len(like))])
    whole = [one for one in parts.candidates if one.kept == Subnet(parts.depths)]
    smaller = max((one for one in whole if parts.macs[one] <= limit), key=parts.macs.__getitem__)
    for one in (*drawn, smaller):
        score(one)  # for the table
    kinds = [("best", one) for one in best] + [("evolved", one) for one in ranked[BEST:]]
    kinds += [("drawn", one) for one in drawn] + [("smaller images", smaller)]
    pairs = [*range(len(best)), *[None] * len(ranked[BEST:]), *range(len(drawn)), None]
    return pd.DataFrame(
        {"row": row_of(one), "macs": parts.macs[one], "kind": kind, "pair": pair}
        for (kind, one), pair in zip(kinds, pairs, strict=True)
    )


def row_of(one: Candidate) -> str:
    """Return a part's row in `out_of_fold`."""
    return f"{one.kept.of(BASE)}@{one.size_px}"


def to_train() -> pd.DataFrame:
    """Return the rows of the table that are trained alone."""
    table = pd.read_csv(TABLE)
    return table[table.kind != "evolved"].drop_duplicates("row", ignore_index=True)


def compared(
    scores: Mapping[str, pd.DataFrame], folds: pd.DataFrame, chosen: pd.DataFrame
) -> tuple[pd.DataFrame, str]:
    """Return the AUC of each row across and inside modules, gaps to FBP's, and a sentence on pairs.

    `scores` has a column for each training, and its AUC is that of one training: the mean over
    them. Errors are by modules, from whole modules drawn with replacement.
    """
    trainings = {
        (row, seed): values for row, table in scores.items() for seed, values in table.items()
    }
    labels, wide = folds.label.to_numpy(int), pd.DataFrame(trainings).set_axis(folds.index)
    drawn = population.drawn_aucs(labels, wide, folds.group).T.groupby(level=0).mean().T
    aucs = wide.agg(lambda one: metrics.roc_auc(labels, one)).groupby(level=0).mean()
    inside, drawn_inside = population.inside_modules(labels, wide, folds.group)
    rows = pd.DataFrame({"auc": aucs, "inside": inside})
    for name, whole, draws in (("auc", aucs, drawn), ("inside", inside, drawn_inside)):
        error = draws.rsub(draws.fbp, axis=0).std()
        rows = rows.assign(**{f"{name}_less": whole.fbp - whole, f"{name}_error": error})
    pairs = [tuple(chosen.row[chosen.pair == n]) for n in sorted(chosen.pair.dropna().unique())]
    rivals = {"four random ones of the same cost": pairs}
    for smaller in chosen.row[chosen.kind == "smaller images"]:
        rivals["the whole network on smaller images"] = [(best, smaller) for best, _ in pairs]
    said = []
    for rival, them in rivals.items():
        ahead = []
        for whole, draws in ((aucs, drawn), (inside, drawn_inside)):
            gain, gains = (sum(t[a] - t[b] for a, b in them) / len(them) for t in (whole, draws))
            ahead.append(f"{100 * gain:+.1f} ± {100 * gains.std():.1f}")
        said.append(f"{ahead[0]} points from {rival} on unseen modules, {ahead[1]} inside")
    words = f"The best four are {'; '.join(said)}."
    return rows.rename_axis("row").reset_index(), words


def lines(rows: pd.DataFrame) -> list[str]:
    """Return the table of `README.md`: AUC, and how much less it is than FBP's, in per cent."""
    row = "| {row} | {kind} | {ms:.2f} | {auc:.1f} | {auc_less:.1f} ± {auc_error:.1f} | "
    row += "{inside:.1f} | {inside_less:.1f} ± {inside_error:.1f} |"
    shares = rows.set_index(["row", "kind", "ms"]).mul(100).reset_index()
    return [row.format(**one) for one in shares.to_dict("records")]


def network_of(row: str) -> Network:
    """Build a row's network with random weights."""
    if row == "cnn":
        return fit.two_layer_cnn(FinetuneSettings().cnn_image_size_px, 1, 0)
    if row == "darts_v2":
        settings = RetrainSettings(**PRESET_VALUES["full"]["05_genotype_retraining"])
        shape = (settings.retrain_image_size_px, 1)
        spec = network.network_spec(PUBLISHED["DARTS_V2"], settings.network, *shape)
        return network.build_network(spec, 0)
    name, _, size_px = (f"{BASE}@{FBP_PX}" if row == "fbp" else row).partition("@")
    return backbones.build(backbones.spec_of(name, fit.NUM_CLASSES, int(size_px)))


def milliseconds(rows: Sequence[str]) -> list[float]:
    """Return the least milliseconds for one view of one image, the rows in turn."""
    networks = [network_of(row) for row in rows]
    times = [[milliseconds_per_image(one, 1, "no") for one in networks] for _ in range(REPEATS)]
    return np.min(times, axis=0).tolist()


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one step; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.subnets")
    parser.add_argument("step", choices=("search", "alone", "table"))
    parser.add_argument("--folds", nargs="+", type=int, default=[*range(out_of_fold.FOLDS)])
    parser.add_argument("--seeds", nargs="+", type=int, default=[SEED])
    given = parser.parse_args(arguments)
    if given.step == "search":
        search()
        return 0
    chosen = to_train()
    if given.step == "alone":
        for seed, fold, row in itertools.product(given.seeds, given.folds, chosen.row):
            out_of_fold.complete(row, "groups", seed, fold)
        return 0
    folds = read_folder(paths.published_scores()).folds
    stored = {row: out_of_fold.stored(row, "groups") for row in (*BESIDE, *chosen.row)}
    scores = {row: table.loc[folds.id].dropna(axis="columns") for row, table in stored.items()}
    if missing := [row for row, table in scores.items() if table.empty]:
        raise SystemExit(f"not whole yet: {', '.join(missing)}; run `alone`, and `out_of_fold`")
    rows, said = compared(scores, folds, chosen)
    others = folds[folds.groups != CHOOSING_FOLD]
    _, elsewhere = compared({r: t.loc[others.id] for r, t in scores.items()}, others, chosen)
    rows = rows.assign(ms=milliseconds(rows.row), kind=rows.row.map(chosen.set_index("row").kind))
    rows = rows.assign(kind=rows.kind.fillna(rows.row)).sort_values("ms").round(5)
    files.save_csv(JUDGED, rows)
    print(*lines(rows), said, f"Without the fold that chose: {elsewhere}", sep="\n")
    labels = {"ms": "milliseconds for one view on one core", "auc": "AUC, unseen modules"}
    population.draw(rows, labels, TABLE.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
