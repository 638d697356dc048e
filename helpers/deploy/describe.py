"""Describe a network for a line: its thresholds, their promise, and where it comes from.

describe(scored["fbp"], point, temperature=1.7, checkpoints=paths, run="elpv-quick")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.core import files, metrics
from helpers.core.style import LABEL_NAMES
from helpers.deploy.description import Description, sealed
from helpers.models import backbones
from helpers.models.backbones import PretrainedClassifier
from helpers.models.spec import Network
from helpers.models.weights import licence_of
from helpers.results.operating_point import Rule
from helpers.results.predictions import Scored

RULE: Rule = "expected"  # the promise that verdicts follow
CAVEAT = "The promise holds for parts that are drawn like those held out"
CHOSEN = "; it is a little too good if they also chose the epoch"
CROSS_FITTED = (
    "; it is approximate, since held-out parts were scored by one fold's network and new parts are "
    "scored by the mean of all"
)
TAUGHT = "; it is too good, since the network's teachers have seen the held-out parts"


def describe(
    scored: Scored,
    point: pd.Series,
    temperature: float,
    checkpoints: Sequence[Path],
    weights: str = "",
    **origin: Any,
) -> Description:
    """Return the description of a network.

    Args:
        scored: its scores.
        point: its row of `decision.operating_table` by `RULE`.
        temperature: of its scores, see `decision.calibration_table`.
        checkpoints: of its trainings, which are averaged.
        weights: that the training started from, if it has a pretrained backbone.
        origin: the other fields: `run`, `is_smoke`, `dataset`, `images_digest`, `split_digest`,
            `attribution`.
    """
    model = backbones.load_model(checkpoints[0])
    facts, backbone, precision = model.facts, backbone_of(model), model.facts.precision
    return sealed(
        Description(
            model=scored.name,
            title=scored.title,
            checkpoints={path.name: files.file_digest(path) for path in checkpoints},
            classes=list(LABEL_NAMES.values()),
            image_size_px=model.spec.image_size_px,
            channels=model.spec.in_channels,
            fit=facts.fit,
            full_scale_bits=facts.full_scale_bits,
            views=facts.views,
            precision=precision,  # type: ignore[arg-type]  # the class checks its value
            temperature=temperature,
            pass_below=float(point.threshold),
            reject_from=float(point.reject_threshold),
            rule=RULE,
            asked_escape_rate=float(point.asked),
            promised_escape_rate=float(point.promised),
            held_out_bad_parts=int(point.val_bad),
            val_auc=float(metrics.roc_auc(*scored.labels_scores("val"))),
            caveat=caveat_of(scored),
            weights=weights if backbone else "",
            weights_licence=licence_of(backbone, weights) if backbone else "",
            made_with=facts.made_with,
            **origin,
        )
    )


def backbone_of(model: Network) -> str:
    """Return the pretrained backbone of a network; "" if it started from random weights."""
    if isinstance(model, PretrainedClassifier):
        return model.spec.kind
    return model.spec.options.get("backbone", "")  # PatchCore's


def caveat_of(scored: Scored) -> str:
    """Return what the promise rests on."""
    chosen = "" if scored.model.base == "patchcore" else CHOSEN  # it has no epochs
    taught = TAUGHT if scored.model.teacher else ""
    text = CAVEAT + (CROSS_FITTED if "folds" in scored.model.averaged else chosen) + taught + "."
    if (groups := scored.blocks("val")) is None:
        return text
    bad = scored.labels_scores("val")[0] == 1
    return f"{text} The bad ones are from {len(set(groups[bad]))} groups; other groups may differ."
