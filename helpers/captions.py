"""What must be known to read a table or a picture of a run, in a sentence or two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helpers import artifacts, config, stages


def caption(stage: stages.Stage) -> str:
    """What must be known to read a table: data, labels, split, seeds, backbone, machine."""
    run = stages.load_run(stage.paths)
    try:
        return _caption(stage, run)
    except (AttributeError, KeyError, TypeError) as error:
        raise artifacts.damaged(stage.paths.run_json, f"it lacks {error}") from None


def _caption(stage: stages.Stage, run: dict[str, Any]) -> str:
    split, last = run["stages"]["01_data_split"], run["stages"][_trained_in(stage, run)]
    backbone = stage.notes.get("backbone") or "none"
    counts = ", ".join(f"{side} {n}" for side, n in split["images"].items())
    return (
        f"Run {stage.paths.name}; {split['label_mapping']}; images ({counts}; 0 good, 1 bad), "
        f"split seed {split['settings']['seed']}; backbone {backbone}; "
        f"{_seeds_text(last['settings'])}; {_devices(stage, last)}. "
        f"{split['caveats']}"
    )


def _seeds_text(settings: Mapping[str, Any]) -> str:
    first, count = settings["seed"], settings.get("seeds", 1)
    if count == 1:
        return f"training seed {first}"
    return f"training seeds {first} to {first + count - 1} where a row says so, otherwise {first}"


def _devices(stage: stages.Stage, last: Mapping[str, Any]) -> str:
    """Where the run's networks were trained; where it has none, the stage's own device."""
    models = sorted(path.stem for path in stage.paths.predictions_root.glob("*.csv"))
    files = [stage.paths.metrics(f"{model}_history") for model in models]
    records = [artifacts.load_json(file) for file in files if file.is_file()]
    known = sorted({str(r["device"]) for r in records if isinstance(r, dict) and r.get("device")})
    return " and ".join(known) or f"{last['device']}, {last['precision']}"


def _trained_in(stage: stages.Stage, run: dict[str, Any]) -> str:
    """The stage whose seed and device stand behind the numbers: 06 trains nothing itself."""
    if not isinstance(stage.settings, config.AnalysisSettings):
        return stage.name
    trained = ("02_features_baselines", "03_finetuning", "05_genotype_retraining")
    earlier = [name for name in trained if name in run["stages"]]
    return earlier[-1] if earlier else stage.name
