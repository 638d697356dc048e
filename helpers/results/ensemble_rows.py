"""The ensembles as predictions files like any other, written where validation says so.

What fitting may see is cut out first: `fitting_data` holds no label of a test part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.results import ensembles
from helpers.runs import settings, stages
from helpers.runs.predictions import Scored, predictions_frame, read_all_predictions, read_split

MAX_FOLDS = 5


class FittingData(NamedTuple):
    """Validation labels (N,) and both sides' scores by model; test labels are not here."""

    val_labels: np.ndarray
    val_scores: dict[str, np.ndarray]
    test_scores: dict[str, np.ndarray]


def fitting_data(scored: Mapping[str, Scored]) -> FittingData:
    """What an ensemble may be fitted on."""
    val_labels, _ = next(iter(scored.values())).labels_scores("val")
    val = {name: model.val.defect_score.to_numpy() for name, model in scored.items()}
    test = {name: model.test.defect_score.to_numpy() for name, model in scored.items()}
    return FittingData(val_labels, val, test)


def write_ensembles(stage: stages.Stage, seed: int = 0) -> pd.DataFrame:
    """Fit both ensembles on validation, and write the predictions of those that are kept.

    One that is not kept any more is removed. The validation rows of the file are out-of-fold
    scores, so that the ensemble's validation numbers can stand beside the other models'.

    Returns:
        `ensemble, val_auc, kept, reason`, and the weight of every model that has one, as text.

    Raises:
        ArtifactError: a file with an ensemble's name that this stage has not written.
    """
    scored = read_all_predictions(stage.paths)
    data = fitting_data(scored)
    fitted = _fit(data, seed)
    inputs = {"seed": seed, "split": files.file_digest(stage.paths.split_csv)}
    inputs |= {name: files.file_digest(stage.paths.predictions(name)) for name in scored}
    split = read_split(stage.paths)
    kept = {name: row for name, row in fitted.items() if row.kept}
    contents = {name: _content(split, scored, row) for name, row in kept.items()}
    for name in settings.ENSEMBLES:
        _refuse_foreign_file(stage.paths, name, contents.get(name))
    for name in settings.ENSEMBLES:
        path = stage.paths.predictions(name)
        if name not in contents:
            path.unlink(missing_ok=True)
            continue
        content = contents[name]
        stage.once(
            name, inputs, lambda file, content=content: files.write_bytes(file, content), file=path
        )
    return _summary(data, fitted)


def _fit(data: FittingData, seed: int) -> dict[str, ensembles.EnsembleRow]:
    """Both ensembles; none where validation is too small for two folds, or there is one model."""
    folds = min(MAX_FOLDS, int(np.bincount(data.val_labels, minlength=2).min()) // 2)
    if len(data.val_scores) < 2 or folds < 2:
        return {}
    return ensembles.build_ensembles(
        data.val_scores, data.val_labels, data.test_scores, seed, folds
    )


def _content(
    split: pd.DataFrame, scored: Mapping[str, Scored], row: ensembles.EnsembleRow
) -> bytes:
    """The predictions file of an ensemble."""
    any_model = next(iter(scored.values()))
    ids = [*any_model.val.id, *any_model.test.id]
    by_id = pd.Series(np.clip(np.concatenate([row.val_scores, row.test_scores]), 0, 1), index=ids)
    scores = split.id.map(by_id)
    return files.csv_bytes(predictions_frame(split, scores.to_numpy()))


def _summary(data: FittingData, fitted: Mapping[str, ensembles.EnsembleRow]) -> pd.DataFrame:
    rows = []
    for name, row in fitted.items():
        used = sorted(((w, n) for n, w in row.weights.items() if w > 0.005), reverse=True)
        rows.append(
            {
                "ensemble": name,
                "val_auc": ensembles.roc_auc(data.val_labels, row.val_scores),
                "kept": row.kept,
                "reason": row.reason,
                "weights": ", ".join(f"{model} {weight:.2f}" for weight, model in used),
            }
        )
    return pd.DataFrame(rows, columns=["ensemble", "val_auc", "kept", "reason", "weights"])


def _refuse_foreign_file(run_paths: RunPaths, name: str, content: bytes | None) -> None:
    """Refuse a file with an ensemble's name that is neither on record nor what would be written.

    The latter is a file of this stage that was killed before it could put it on record.
    """
    path = run_paths.predictions(name)
    written = stages.load_run(run_paths).get("steps", {}).get(name, {}).get("outputs", {})
    if not path.exists() or (written and stages.outputs_are_intact(run_paths, written)):
        return
    if path.read_bytes() != content:
        raise files.ArtifactError(
            f"{path} has the name of an ensemble but was not made here, or changed since; "
            "rename it to keep it as a model of your own, or delete it"
        )
