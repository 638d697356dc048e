"""Scoring on a Ray cluster: Ray Data hands pieces of the list to actors that hold the model.

An optional extra: `pip install .[ray]`. The images must lie where every machine of the cluster
finds them under the same path; the scores come back in the list's order, so that writing, resuming
and sharding are those of `helpers.score`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import torch

from helpers.commands.score import ScoreError
from helpers.commands.score.engine import Scorer, ScoreSettings
from helpers.commands.score.files import Result
from helpers.commands.score.listing import Entry
from helpers.models import backbones


def score_stream(
    model: backbones.Model,
    entries: Iterable[Entry],
    settings: ScoreSettings,
    device: torch.device,
    advance: Callable[[], object] = int,
) -> Iterator[list[Result]]:
    """Yield the results of every piece of a list, in its order.

    The names (not the images) are held in memory. One actor for each GPU of the cluster where
    `device` is one, else for each core; each of them loads `settings.model` itself.

    Raises:
        ScoreError: Ray is not installed, or an actor failed.
    """
    try:
        import ray
    except ImportError:
        raise ScoreError(
            "--engine ray needs Ray Data: pip install .[ray], or use --engine plain"
        ) from None
    remaining = iter(entries)
    pieces = list(iter(lambda: list(itertools.islice(remaining, settings.piece)), []))
    if not pieces:
        return
    _join(ray)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False  # helpers.score shows its own
    names = [[{"path": e.path, "file": e.file} for e in piece] for piece in pieces]
    rows = [
        {"position": piece[0].position, "images": n} for piece, n in zip(pieces, names, strict=True)
    ]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        PieceScorer,
        fn_constructor_args=(settings, device.type),
        **_resources(ray, device),
    )
    try:
        for piece, row in zip(pieces, dataset.iter_rows(), strict=True):
            for _ in piece:
                advance()
            yield _results(piece, row)
    except ray.exceptions.RayError as error:
        raise ScoreError(f"Ray stopped: {error}") from None


def _join(ray: ModuleType) -> None:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine."""
    if ray.is_initialized():
        return
    try:
        ray.init(include_dashboard=False)
    except Exception as error:  # Ray's own start raises plain exceptions
        ray.shutdown()
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ScoreError(f"Ray does not start ({reason}); try again, or --engine plain") from None


class PieceScorer:
    """What an actor holds: the model, ready on its device."""

    def __init__(self, settings: ScoreSettings, device: str, threads: int) -> None:
        model = backbones.load_model(settings.model)
        self.scorer = Scorer(model, settings, torch.device(device), threads)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Names of one piece to scores (NaN where unreadable) and reasons, in its order.

        `stopped` says why there are none: a `ScoreError` would not come through Ray as itself.
        """
        entries = [
            Entry(row["position"] + i, image["path"], "", image["file"], "")
            for i, image in enumerate(row["images"])
        ]
        try:
            results = list(itertools.chain.from_iterable(self.scorer.stream(entries)))
        except ScoreError as error:
            return {"position": row["position"], "scores": [], "reasons": [], "stopped": str(error)}
        return {
            "position": row["position"],
            "scores": [math.nan if r.score is None else r.score for r in results],
            "reasons": [r.reason for r in results],
            "stopped": "",
        }


def _resources(ray: ModuleType, device: torch.device) -> dict[str, Any]:
    """How many actors, and what each of them takes of the cluster."""
    cluster = ray.cluster_resources()
    cpus, gpus = int(cluster.get("CPU", 1)), int(cluster.get("GPU", 0))
    actors = max(1, gpus if device.type == "cuda" else cpus)
    threads = max(1, cpus // actors)
    return {
        "fn_constructor_kwargs": {"threads": threads},
        "compute": ray.data.ActorPoolStrategy(size=actors),
        "num_cpus": threads,
        "num_gpus": 1 if device.type == "cuda" else 0,
    }


def _results(piece: list[Entry], row: dict[str, Any]) -> list[Result]:
    if row["stopped"]:
        raise ScoreError(row["stopped"])
    if row["position"] != piece[0].position:
        raise ScoreError(f"Ray gave another piece than that of {piece[0].path}; run it again")
    return [
        Result(entry, None if math.isnan(score) else float(score), reason)
        for entry, score, reason in zip(piece, row["scores"], row["reasons"], strict=True)
    ]
