"""Write model.json for the networks of a run, when notebook 06 has found their thresholds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.core import files, metrics
from helpers.core.style import LABEL_NAMES, percent, percent_up, told_apart
from helpers.deploy.description import NAME, Description
from helpers.models import backbones
from helpers.models.backbones import PretrainedClassifier
from helpers.models.names import DISTILLED, PATCHCORE, base_name
from helpers.models.weights import licence_of
from helpers.results.operating_point import Rule
from helpers.results.predictions import Scored
from helpers.runs.costs import checkpoints
from helpers.runs.stages import FIRST, Stage, load_run

RULE: Rule = "expected"  # the promise that verdicts follow
CAVEAT = "The promise holds for parts that are drawn like those held out"
CHOSEN = "; it is a little too good if they also chose the epoch"
CROSS_FITTED = (
    "; it is approximate, since held-out parts were scored by one fold's network and new parts are "
    "scored by the mean of all"
)
TAUGHT = "; it is too good, since the network's teachers have seen the held-out parts"


def describe_models(
    stage: Stage, scored: Mapping[str, Scored], points: pd.DataFrame, calibrated: pd.DataFrame
) -> pd.DataFrame:
    """Write model.json for each network of a run, as outputs of the stage.

    Args:
        stage: that of notebook 06.
        scored: the models of the run.
        points: `decision.operating_table` of them.
        calibrated: `decision.calibration_table` of them.

    Returns:
        A row of text per network, the best on validation first: `Model, Call it, Pass below /
        reject from, Escape rate: promised, Good parts rejected`, and `Remark`, the reason, if a
        network has no model.json.
    """
    points, rows = points[points.rule == RULE].set_index("model"), list[list[str]]()
    temperature = calibrated.set_index("model").temperature
    aucs = {name: metrics.roc_auc(*own.labels_scores("val")) for name, own in scored.items()}
    # as `predictor.best_described` chooses
    for name, own in sorted(scored.items(), key=lambda item: (-len(item[1].val), -aucs[item[0]])):
        path = stage.paths.trainings(name) / NAME
        if not (found := checkpoints(path.parent)):
            continue  # not a network
        thresholds = promised = rejected = ""
        problem = next((f"{one.name} is missing" for one in found if not one.is_file()), "")
        if problem:
            path.unlink(missing_ok=True)
        else:
            point = points.loc[name]
            content = _description(stage, own, found, point, float(temperature[name]))
            files.save_json(stage.output(path), dataclasses.asdict(content))
            thresholds = " / ".join(told_apart(point.threshold, point.reject_threshold))
            promised = f"{percent_up(point.promised)} %"
            if "test_escapes" in point:
                promised += f"; {percent(point.test_escape_rate)} % on test"
            rejected = f"{percent(point[f'{own.judged_on}_overkill_rate'])} %"
        call = f"{stage.paths.name}/{name}"
        rows.append([own.title, call, thresholds, promised, rejected, problem])
    columns = ["Model", "Call it", "Pass below / reject from", "Escape rate: promised"]
    columns += ["Good parts rejected", "Remark"]
    table = pd.DataFrame(rows, columns=columns)
    return table if table.Remark.any() else table.drop(columns="Remark")


def _description(
    stage: Stage, scored: Scored, found: Sequence[Path], point: pd.Series, temperature: float
) -> Description:
    run, facts = load_run(stage.paths), backbones.facts_of(found[0])
    model = backbones.load_model(found[0])
    kind, colon, place = run.get("dataset", "").partition(":")
    step = run.get("steps", {}).get(scored.name, {})
    maker = run["stages"].get(step.get("stage"), {})
    backbone = model.spec.options.get("backbone", "")  # PatchCore's
    if isinstance(model, PretrainedClassifier):
        backbone = model.spec.kind
    both = (maker.get(key, "").split(", ") for key in ("backbone", "weights"))
    weights = dict(zip(*both, strict=False)).get(backbone, maker.get("weights", ""))
    precision: Any = facts.precision  # the class checks its value
    return Description(
        model=scored.name,
        run=stage.paths.name,
        title=scored.title,
        is_smoke=stage.is_smoke,
        checkpoints={path.name: files.file_digest(path) for path in found},
        classes=list(LABEL_NAMES.values()),
        image_size_px=model.spec.image_size_px,
        channels=model.spec.in_channels,
        fit=facts.fit,
        full_scale_bits=facts.full_scale_bits,
        views=facts.views,
        precision=precision,
        temperature=temperature,
        pass_below=float(point.threshold),
        reject_from=float(point.reject_threshold),
        rule=RULE,
        asked_escape_rate=float(point.asked),
        promised_escape_rate=float(point.promised),
        held_out_bad_parts=int(point.val_bad),
        val_auc=float(metrics.roc_auc(*scored.labels_scores("val"))),
        caveat=_caveat(scored),
        dataset=f"{kind}{colon}{Path(place).name}",  # not where it was on this machine
        images_digest=stage.images_of_split().digest,
        split_digest=run.get("split", ""),
        attribution=run["stages"][FIRST].get("attribution", ""),
        weights=weights if backbone else "",
        weights_licence=licence_of(backbone, weights) if backbone else "",
        made_with=facts.made_with,
    )


def _caveat(scored: Scored) -> str:
    """Return what the promise rests on."""
    chosen = "" if base_name(scored.name) == PATCHCORE else CHOSEN  # it has no epochs
    taught = TAUGHT if scored.name.endswith(DISTILLED) else ""
    text = CAVEAT + (CROSS_FITTED if "folds" in scored.model.averaged else chosen) + taught + "."
    if (groups := scored.blocks("val")) is None:
        return text
    bad = scored.labels_scores("val")[0] == 1
    return f"{text} The bad ones are from {len(set(groups[bad]))} groups; other groups may differ."
