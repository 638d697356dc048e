"""A trained model for new images: `helpers.load_model(...)` and what `predict` returns."""

import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from helpers.core import environment, files
from helpers.core.style import evenly
from helpers.datasets import DataError, decoding
from helpers.datasets.cache import inside, unreadable_reason
from helpers.datasets.folder import image_files
from helpers.deploy import measures
from helpers.deploy.description import NAME, Description, read_description
from helpers.explain.attribution import DISTANCES, ODDS, stopping_map
from helpers.models import backbones
from helpers.models.backbones import Facts, Network, at_once
from helpers.training.batches import normalise, to_float
from helpers.training.inference import Scorer, ScoresError, probability_of_bad
from helpers.training.patchcore import PatchCoreNetwork

OneImage = str | Path | np.ndarray | Image.Image
MOST_OWN_IMAGES = 200  # of a folder that notebook 08 asks about; `helpers.predict` takes any number
FROM_THE_RUN = 48  # test images that it asks about if no folder is given


class Answer(NamedTuple):
    """The answer for one image."""

    score: float  # NaN if it cannot be read
    reason: str  # why it cannot be read; "" if it can
    has_more: bool  # True if its file has pages or frames behind the first
    measures: Sequence[float]  # see `measures.measure`; none if it cannot be read


class Opened(NamedTuple):
    """The trainings that belong to a name, and what their folder says about them."""

    models: list[Network]
    checkpoints: list[Path]
    facts: Facts
    description: Description | None  # None if there are no thresholds for these checkpoints
    remark: str  # why there is no description; "" if there is one


class TrainedModel:
    """A model that is ready for new images.

    model = helpers.load_model("elpv-quick/fbp")
    model.predict("part.png")  # or many paths, arrays or Pillow images
    print(model.description.promise)  # thresholds, and how many bad parts pass
    """

    def __init__(self, opened: Opened, device: torch.device | None = None, images: int = 0) -> None:
        """Put the networks on the device, and compile them if many `images` are to come."""
        _, _, self.facts, self.description, self.remark = opened
        self.network = opened.models[0]  # the first of those that are averaged
        self.scale = DISTANCES if isinstance(self.network, PatchCoreNetwork) else ODDS  # of maps
        device, precision = device or environment.default_device(), self.facts.precision
        self.scorers = [Scorer(model, device, precision, images) for model in opened.models]
        self.at_once = at_once(self.network.spec.image_size_px)

    def predict(self, images: OneImage | Iterable[OneImage]) -> pd.DataFrame:
        """Return a row for each of one or many images.

        They are paths, Pillow images, or arrays uint8 (H, W), (H, W, 1) or (H, W, 3), of any size;
        an array (N, H, W, C) is N images. A row has `file` ("" if it is not a path), `score` (mean
        over networks and views), `probability` (calibrated; NaN if unknown), `verdict` ("pass",
        "look again", "reject", or "" if unknown), `warning` ("darker, blurred": how it is not like
        the training images), and `reason`, why an image cannot be read.
        """
        is_one = isinstance(images, str | Path | Image.Image)
        is_one = is_one or (isinstance(images, np.ndarray) and images.ndim < 4)
        given: list[Any] = [images] if is_one else list(images)  # type: ignore[arg-type]
        names = [os.fspath(image) if isinstance(image, str | Path) else "" for image in given]
        return self.judged(names, self.answers(given))

    def judged(self, names: Sequence[str], answers: Iterable[Answer]) -> pd.DataFrame:
        """Return the table of `predict` for the answers for some images."""
        table = pd.DataFrame(answers, columns=Answer._fields).astype({"score": np.float64})
        table = table.assign(file=names, probability=np.nan, verdict="", warning="")
        if about := self.description:
            table["probability"] = about.probabilities(table.score)
            unlike = (measures.unlike(each, about.training_ranges) for each in table.measures)
            table["warning"] = [", ".join(words) for words in unlike]
            table["verdict"] = about.verdicts(table.score, table.warning)
        return table[["file", "score", "probability", "verdict", "warning", "reason"]]

    def answers(self, images: Iterable[OneImage]) -> Iterator[Answer]:
        """Yield the answer for each of any number of images, in constant memory.

        `at_once` images are scored together, while the next ones are read.
        """
        given, ahead = iter(images), deque[tuple[list[OneImage], Iterator]]()
        with ThreadPoolExecutor(joblib.cpu_count()) as pool:
            while batch := list(itertools.islice(given, self.at_once)):
                ahead.append((batch, pool.map(self.read, batch)))
                if len(ahead) > 1:
                    yield from self._answers_of(*ahead.popleft())
            for batch, decoded in ahead:
                yield from self._answers_of(batch, decoded)

    def _answers_of(self, batch: list[OneImage], decoded: Iterator) -> Iterator[Answer]:
        read = list(decoded)
        readable = [pixels for pixels, *_ in read if pixels is not None]
        scores = iter(self.scores(readable) if readable else ())
        for image, (pixels, *about) in zip(batch, read, strict=True):
            score = np.nan if pixels is None else float(next(scores))
            if pixels is not None and not np.isfinite(score):
                name = image if isinstance(image, str | Path) else "in memory"
                is_float32 = self.scorers[0].precision == "no"
                advice = "" if is_float32 else "; try `helpers.predict --precision no` (float32)"
                raise ScoresError(f"the score of image {name} is not finite{advice}")
            yield Answer(score, *about)

    def prepared(self, pixels: Sequence[np.ndarray]) -> Tensor:
        """Return B >= 1 images (S, S, 1 or 3) uint8, normalised for the networks: (B, C, S, S)."""
        channels = max(image.shape[2] for image in pixels)  # 1 if none has colour
        same = np.stack([np.broadcast_to(p, (*p.shape[:2], channels)) for p in pixels])
        images = to_float(torch.from_numpy(same), self.scorers[0].device)
        return normalise(images, self.network.spec)

    def scores(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """Return the defect scores (B,) float64 of B >= 1 images (S, S, 1 or 3) uint8."""
        return np.mean(self.each(pixels), axis=0)

    def each(self, pixels: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the defect scores (B,) of each network alone."""
        images = self.prepared(pixels)
        raw = [scorer.score_batch(images, self.facts.views) for scorer in self.scorers]
        return [probability_of_bad(scores.cpu().numpy()) for scores in raw]

    def bad_map(self, pixels: np.ndarray, score: float) -> Tensor:
        """Return what stops an image with this score: (S, S), see `attribution.stopping_map`.

        It is that of the first network. Without thresholds an image would pass below 0.5.
        """
        threshold = self.description.pass_below if self.description else 0.5
        places = inside(self.facts.mask, len(pixels), self.facts.fit)
        return stopping_map(self.network, self.prepared([pixels]), score, threshold, places)

    def read(self, image: OneImage) -> tuple[np.ndarray | None, str, bool, Sequence[float]]:
        """Return an image as the networks see it, (S, S, 1 or 3) uint8, or None; then `reason`,
        `has_more` and `measures` of its `Answer`."""
        bits, mask = self.facts.full_scale_bits or 8, self.facts.mask
        path = Path(image) if isinstance(image, str | Path) else Path()
        picture = _picture_of_array(image) if isinstance(image, np.ndarray) else image
        try:
            if isinstance(picture, Image.Image):
                decoding.refuse_what_pillow_changes(picture)
                found = decoding.picture_of(picture.copy(), bits, mask)
            else:
                found = decoding.read_image(path, bits, mask)
            pixels = decoding.resize(found.pixels, self.network.spec.image_size_px, self.facts.fit)
            measured = measures.measure(pixels, *found.pixels.shape[1::-1])
            return pixels.reshape(*pixels.shape[:2], -1), "", found.has_more, measured
        except MemoryError:
            raise
        except decoding.BitsFound as error:
            way = f"save it with {bits}, or see `helpers.predict --bits` (no verdicts)"
            return None, f"it uses {error.bits} bits, and the model reads {bits}: {way}", False, ()
        except Exception as error:  # a damaged file raises one of many kinds
            return None, unreadable_reason(path, error), False, ()


def _picture_of_array(array: np.ndarray) -> Image.Image:
    is_image = array.ndim >= 2 and array.shape[2:] in ((), (1,), (3,)) and array.size
    if array.dtype != np.uint8 or not is_image:
        raise DataError(
            f"an array {array.dtype} {array.shape} is not an image: give uint8 (H, W), (H, W, 1) "
            "or (H, W, 3); images of more than 8 bits are read from files"
        )
    return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)


def open_model(checkpoints: Sequence[Path]) -> Opened:
    """Load the trainings of one model, and the model.json beside them."""
    folder = checkpoints[0].parent
    models = [backbones.load_model(path) for path in checkpoints]
    # memories of PatchCore differ in size, as folds do
    kinds = [replace(m.spec, options=m.spec.options | {"size": None}) for m in models]
    if others := [str(p) for p, kind in zip(checkpoints, kinds, strict=True) if kind != kinds[0]]:
        both = f"{others[0]} and {checkpoints[0].name}"
        raise files.ArtifactError(f"{both} are not trainings of one model")
    description, remark = read_description(folder), ""
    if description is None:
        remark = f"no verdicts: {folder} has no {NAME}, which notebook 07 writes"
    elif description.checkpoints != {path.name: files.file_digest(path) for path in checkpoints}:
        remark = f"no verdicts: {folder / NAME} is for the average of several trainings, or for "
        remark += "others; if these are new, run notebook 07 again"
        description = None
    return Opened(models, [*checkpoints], models[0].facts, description, remark)


def parts_to_ask(split: pd.DataFrame, folder: str) -> pd.DataFrame:
    """Return the parts to judge, at even steps: `id, path, group` (missing if there is none).

    They are images of `folder`, whose subfolders are groups. If it is "", they are test images of
    the run (without a test set, of the first fold) with their `label`.
    """
    if not folder:
        side = "test" if (split.split == "test").any() else "val"
        test = split[split.split == side].reindex(columns=["id", "path", "group", "label"])
        return test.iloc[evenly(len(test), FROM_THE_RUN)].reset_index(drop=True)
    root = Path(folder).expanduser()
    if not (there := image_files(root)):
        raise DataError(f"FOLDER={folder!r} holds no image")
    images = [there[place].relative_to(root) for place in evenly(len(there), MOST_OWN_IMAGES)]
    print(f"{len(images)} of the {len(there):,} images of {folder} are asked about")
    table = pd.DataFrame({"id": [image.with_suffix("").as_posix() for image in images]})
    table["path"] = [(root / image).as_posix() for image in images]
    table["group"] = [image.parts[0] if len(image.parts) > 1 else None for image in images]
    return table
