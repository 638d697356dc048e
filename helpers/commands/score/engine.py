"""From the listed images of a part to their scores."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from helpers.commands.score import ScoreError
from helpers.commands.score.listing import Entry
from helpers.commands.score.parts import Part, Row, Settings
from helpers.datasets.decoding import (
    DECODE_ERRORS,
    BitsFound,
    read_image,
    resize,
    unreadable_reason,
)
from helpers.models.spec import Model
from helpers.training.batches import normalise, to_float
from helpers.training.inference import Scorer, probability_of_bad


class _Decoded(NamedTuple):
    pixels: np.ndarray
    reason: str
    has_more: bool = False


class PartScorer:
    """Models that are ready on a device, and the threads that decode for them."""

    def __init__(
        self,
        models: Sequence[Model],
        settings: Settings,
        device: torch.device,
        images: int,
        batch_size: int = 64,
        threads: int = 0,
    ) -> None:
        """Make the scorers of all models, which see the same images; their scores are averaged.

        `images` will be scored in all; 0 `threads`: a launcher's processes divide the cores.
        """
        self.spec, self.settings, self.batch_size = models[0].spec, settings, batch_size
        self.scorers = [Scorer(model, device, settings.precision, images) for model in models]
        neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        # Pillow frees the interpreter lock while it decodes and resizes, so threads are enough.
        self.pool = ThreadPoolExecutor(threads or max(1, (os.cpu_count() or 1) // neighbours))

    def score(self, entries: list[Entry]) -> Part:
        """Score the images of one part.

        Raises:
            ScoreError: the model gives a score that is not a number.
        """
        decoded = self.pool.map(self._decode, entries)  # ahead of the batches that are scored
        reasons: list[str] = []
        has_more: list[bool] = []
        raw: list[list[Tensor]] = [[] for _ in self.scorers]  # of each model (views, B, K)
        while batch := list(itertools.islice(decoded, self.batch_size)):
            reasons += [one.reason for one in batch]
            has_more += [one.has_more for one in batch]
            readable = [one.pixels for one in batch if not one.reason]
            if not readable:
                continue
            channels = max(pixels.shape[2] for pixels in readable)  # 1 if none has colour
            same = [np.broadcast_to(p, (*p.shape[:2], channels)) for p in readable]
            images = to_float(torch.from_numpy(np.stack(same)), self.scorers[0].device)
            prepared = normalise(images, self.spec)
            for scorer, own in zip(self.scorers, raw, strict=True):
                own.append(scorer.score_batch(prepared, self.settings.views))
        scores = np.empty(0)
        if raw[0]:
            each = [probability_of_bad(torch.cat(own, dim=1).cpu().numpy()) for own in raw]
            scores = np.mean(each, axis=0)
        remaining = iter(scores)
        rows = []
        for entry, reason in zip(entries, reasons, strict=True):
            score = "" if reason else f"{next(remaining):.9g}"
            if score == "nan":
                raise ScoreError(
                    f"{self.settings.model} gives no number for {entry.path}; try --precision no"
                )
            rows.append(Row(entry.path, entry.id, score, reason))
        several = tuple(e.path for e, more in zip(entries, has_more, strict=True) if more)
        return Part(entries[-1].part, rows, entries[-1].digest, several)

    def _decode(self, entry: Entry) -> _Decoded:
        """Return pixels (S, S, 1 or 3) uint8, or none and why it cannot be read."""
        path = Path(entry.file)
        try:
            picture = read_image(path, self.settings.bits)
            pixels = resize(picture.pixels, self.spec.image_size_px, self.settings.fit)
        except DECODE_ERRORS as error:
            return _Decoded(np.empty(0), unreadable_reason(path, error))
        except BitsFound as found:
            scale = f"the scale is of {self.settings.bits}: see --bits"
            return _Decoded(np.empty(0), f"it uses {found.bits} bits, {scale}")
        return _Decoded(pixels if pixels.ndim == 3 else pixels[..., None], "", picture.has_more)
