"""From the listed images of a part to their scores."""

from __future__ import annotations

import itertools
import os
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
    """A model that is ready on a device, and the threads that decode for it."""

    def __init__(
        self,
        model: Model,
        settings: Settings,
        device: torch.device,
        images: int,
        batch_size: int = 64,
        threads: int = 0,
    ) -> None:
        """`images` will be scored in all; 0 `threads`: a launcher's processes divide the cores."""
        self.spec, self.settings, self.batch_size = model.spec, settings, batch_size
        self.scorer = Scorer(model, device, settings.precision, images)
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
        raw: list[Tensor] = []  # (views, B, K)
        while batch := list(itertools.islice(decoded, self.batch_size)):
            reasons += [one.reason for one in batch]
            has_more += [one.has_more for one in batch]
            readable = [one.pixels for one in batch if not one.reason]
            if not readable:
                continue
            channels = max(pixels.shape[2] for pixels in readable)  # 1 if none has colour
            same = [np.broadcast_to(p, (*p.shape[:2], channels)) for p in readable]
            images = to_float(torch.from_numpy(np.stack(same)), self.scorer.device)
            views = 4 if self.settings.flips else 1
            raw.append(self.scorer.score_batch(normalise(images, self.spec), views))
        scores = probability_of_bad(torch.cat(raw, dim=1).cpu().numpy()) if raw else np.empty(0)
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
