"""model.json beside a model's checkpoints: how to use it, what it promises, where it comes from.

Notebook 07 writes it, because it chooses thresholds and temperature on scores of images that none
of the listed checkpoints has seen. They belong to the average of these checkpoints.
"""

from collections.abc import Sequence
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass

from helpers.core import files, metrics
from helpers.core.rules import STRICT
from helpers.core.style import LABEL_NAMES, percent_up, told_apart
from helpers.decisions import decision, lot_offset, operating_point
from helpers.decisions.lot_offset import LotModel
from helpers.decisions.operating_point import parts_needed
from helpers.models import backbones
from helpers.models.backbones import Network, PretrainedClassifier
from helpers.models.weights import licence_of
from helpers.results.predictions import Scored

NAME = "model.json"
VERDICTS = ("pass", "look again", "reject")  # in the order of their scores
CAVEAT = "The promise holds for parts that are drawn like those held out"
OF_LOTS = "It is a mean over lots that are drawn like those held out: one may be far worse"
CHOSEN = "; it is a little too good if the parts held out also chose the epoch"
UNLIKE = " An image unlike the training images is never passed: promises are for the others."
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[list[float], Field(min_length=2, max_length=2)]


@dataclass(frozen=True, config=STRICT)
class Description:
    """The content of model.json."""

    model: str
    run: str
    title: str  # of the model, with what is averaged
    is_smoke: bool  # True if the numbers mean nothing
    checkpoints: dict[str, str]  # digest of each by its name; their scores are averaged
    calibration_fold: int | None  # the fold left out, if the model is cross-fitted
    # how an image is read
    classes: list[str]
    image_size_px: Count
    channels: Count  # 1: gray; 3: colour, gray images are repeated
    fit: Literal["squash", "pad"]
    full_scale_bits: Annotated[int, Field(ge=0)]  # of images of more than 8 bits; 0: none
    # how its score becomes a verdict
    views: Count  # symmetries of the image that are averaged, itself included
    precision: Literal["no", "bf16", "fp16"]  # of the scores that chose the thresholds
    temperature: Annotated[float, Field(gt=0)] | None  # None: no probability without bad parts
    pass_below: float
    reject_from: float
    # what that promises
    rule: str  # of the promise: "next lot" (units are lots), or "expected" (units are parts)
    asked_escape_rate: Rate  # share of the bad parts that may pass
    promised_escape_rate: Rate | None  # above the asked one if the held-out bad parts were too few
    held_out_bad_parts: int
    val_auc: float | None  # of the held-out images of all folds; None without bad ones
    caveat: str  # what the promise rests on; if all bad parts may pass, what is promised instead
    # where it comes from
    dataset: str
    images_digest: str
    split_digest: str
    attribution: str  # of the images, with their licence
    weights: str  # at the start of the training; "" if random
    made_with: dict[str, str | None]  # commit and versions of the training
    mask: str = ""  # of each image that is read, see `sources.mask_of`; "": all of it
    weights_licence: str = ""  # of `weights`, as timm states it for their name
    seal: str = ""  # `digest`, written with the promise
    # share of held-out good parts that are rejected; if none can be, share that does not pass
    overkill_rate: Rate | None = None
    held_out_lots: Annotated[int, Field(ge=0)] = 0  # with bad parts; 0: the rule is "expected"
    part_escape_rate: Rate | None = None  # promised too for the next bad part of lots like these
    lot_model: LotModel | None = None  # for `predict --known`; None: lots are unknown or too few
    # of each measure of `measures.WORDS`; empty for few images: then there are no warnings
    training_ranges: dict[str, Range] = field(default_factory=dict)

    def __post_init__(self) -> None:
        low, high = self.pass_below, self.reject_from
        if not low <= high:  # or one is not a number
            raise ValueError(f"pass_below {low} must not be above reject_from {high}")

    @property
    def digest(self) -> str:
        """Return a digest of everything but the seal, as it is in the file."""
        return files.fingerprint(asdict(replace(self, seal="")))

    def probabilities(self, scores: ArrayLike) -> np.ndarray:
        """Return the calibrated probability of bad (N,) for each score (N,); NaN if unknown."""
        if self.temperature is None:
            return np.full(np.shape(scores), np.nan)
        return decision.apply_temperature(scores, self.temperature)

    def verdicts(self, scores: ArrayLike, warnings: ArrayLike = "") -> np.ndarray:
        """Return "pass", "look again" or "reject" for each score (N,); "" for one that is NaN.

        A part with a warning (N,) does not pass: the promise is about parts like those in training.
        """
        scores = np.asarray(scores, dtype=np.float64)
        place = (scores >= self.pass_below).astype(int) + (scores >= self.reject_from)
        place = np.where(np.asarray(warnings) == "", place, np.maximum(place, 1))
        return np.where(np.isnan(scores), "", np.array(VERDICTS, dtype=object)[place])

    def why(self, judged: pd.DataFrame) -> np.ndarray:
        """Return for each part to look at again (`score, verdict`) the reason; "" for others.

        It is the column `warning`, if there is one and it says something, or the nearer threshold.
        """
        is_low = judged.score < (self.pass_below + self.reject_from) / 2
        why = np.where(is_low, "nearer to pass", "nearer to reject")
        why = np.full(len(judged), "no part is rejected") if self.reject_from >= 1 else why
        warning = judged.get("warning", pd.Series("", judged.index)).fillna("")
        return np.where(judged.verdict == VERDICTS[1], np.where(warning == "", why, warning), "")

    @property
    def promise(self) -> str:
        """Return the thresholds, their promise, and what the promise rests on, in words."""
        pass_below, reject_from = told_apart(self.pass_below, self.reject_from)
        if self.seal != self.digest:
            return f"{self.title}: {NAME} was edited or is older: no escape rate is promised."
        rule = f"{self.title}: pass below {pass_below}"
        unlike = UNLIKE if self.training_ranges else ""  # without ranges nothing is unlike
        if self.promised_escape_rate is None:
            return f"{rule}; no escape rate is promised. {self.caveat}"
        asked, held_out = f"{100 * self.asked_escape_rate:g} % asked", self.held_out_bad_parts
        rule, rate = f"{rule}, reject from {reject_from}.", percent_up(self.promised_escape_rate)
        if not self.held_out_lots:
            kept = f"On average at most {rate} % of the bad parts pass ({asked}, {held_out} bad"
            return f"{rule} {kept} parts held out). {self.caveat}{unlike}"
        if self.promised_escape_rate > self.asked_escape_rate:
            needed = parts_needed(self.asked_escape_rate)
            asked += f", which needs {needed:,.0f} lots with bad parts"
        kept = f"At most {rate} % of the bad parts of a new lot pass, on average over lots"
        kept += f" ({self.held_out_lots} lots held out; {asked}). {self.caveat}"
        if self.part_escape_rate is not None:
            kept += " Of bad parts drawn one by one from such lots at most "
            kept += f"{percent_up(self.part_escape_rate)} % pass, on average."
        return f"{rule} {kept}{unlike}"


def sealed(description: Description) -> Description:
    """Return the description with its `seal`, which shows later edits."""
    return replace(description, seal=description.digest)


def describe(
    scored: Scored,
    points: pd.DataFrame,
    temperature: float | None,
    checkpoints: Sequence[Path],
    weights: str = "",
    **origin: Any,
) -> Description:
    """Return the description of a network, whose `checkpoints` are those of `scored.deployed`.

    `points` are its rows of `decision.operating_table` on validation; with good parts alone that of
    `decision.good_alone`, with a `caveat` and no `temperature`. `weights` are those that a
    pretrained backbone started from, `origin` are the other fields.
    """
    by_rule = points.set_index("rule")
    rule = decision.of_lots(points)
    point, of_part = by_rule.loc[rule], by_rule.loc["expected"]
    as_many = of_part.threshold >= point.threshold - operating_point.ROUNDING  # pass by it
    model = backbones.load_model(checkpoints[0])
    backbone, deployed = backbone_of(model), scored.deployed
    labels, scores = scored.labels_scores("val")
    n_lots, lot_model = 0, None
    lots = decision.lots(scored) if rule == decision.LOT else None
    if lots is not None:
        n_lots, lot_model = decision.bad_lots(scored), lot_offset.fit(labels, scores, lots)
    is_promised, overkill = point.promised < 1, point.overkill_rate
    if not is_promised and "good_stopped" in point:  # without bad parts: nothing is rejected
        overkill = point.good_stopped / point.good
    # PatchCore has no epochs, and folds keep the last one
    is_chosen = deployed.calibration_fold is None and deployed.model.base != "patchcore"
    caveat = f"{OF_LOTS if n_lots else CAVEAT}{CHOSEN if is_chosen else ''}."
    description = Description(
        model=scored.name,
        title=deployed.title,
        checkpoints={path.name: files.file_digest(path) for path in checkpoints},
        calibration_fold=deployed.calibration_fold,
        classes=list(LABEL_NAMES.values()),
        image_size_px=model.spec.image_size_px,
        channels=model.spec.in_channels,
        temperature=temperature,
        pass_below=float(point.threshold),
        reject_from=float(point.reject_threshold),
        rule=rule,
        asked_escape_rate=float(point.asked),
        promised_escape_rate=float(point.promised) if is_promised else None,
        held_out_bad_parts=int(of_part.bad),
        held_out_lots=n_lots,
        part_escape_rate=float(of_part.promised) if as_many else None,
        lot_model=lot_model,
        overkill_rate=float(overkill),
        val_auc=float(metrics.roc_auc(labels, scores)) if labels.any() else None,
        caveat=point.get("caveat") or caveat,
        weights=weights if backbone else "",
        weights_licence=licence_of(backbone, weights) if backbone else "",
        **asdict(model.facts),
        **origin,
    )
    return sealed(description)


def backbone_of(model: Network) -> str:
    """Return the pretrained backbone of a network; "" if it started from random weights."""
    if isinstance(model, PretrainedClassifier):
        return model.spec.kind
    return model.spec.options.get("backbone", "")  # PatchCore's


def read_description(folder: Path) -> Description | None:
    """Return the description of a model's folder; None if there is none."""
    path = folder / NAME
    if not path.is_file():
        return None
    content = files.load_json(path)
    if not isinstance(content, dict):
        raise files.damaged(path, "it is not an object")
    try:
        return Description(**content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        older = "if an older version wrote it, run notebook 07 again"
        raise files.damaged(path, f"{place}: {first['msg']}; {older}") from None
