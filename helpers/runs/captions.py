"""What must be known to read a table or a picture of a run, in a sentence or two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helpers.core import files as artifacts
from helpers.runs import record as run_record
from helpers.runs import stages

SIDES = {"train": "training", "val": "validation", "test": "test"}
_TRAINING = ("02_features_baselines", "03_finetuning", "05_genotype_retraining")


def caption(stage: stages.Stage) -> str:
    """What must be known to read a table: data, labels, split, seeds, backbone, machine."""
    run = stages.load_run(stage.paths)
    try:
        return _caption(stage, run)
    except (AttributeError, KeyError, TypeError) as error:
        raise artifacts.damaged(stage.paths.run_json, f"it lacks {error}") from None


def _caption(stage: stages.Stage, run: dict[str, Any]) -> str:
    split = run["stages"]["01_data_split"]
    trained = [name for name in _TRAINING if name in run["stages"] and name <= stage.name]
    last = run["stages"][trained[-1] if trained else stage.name]
    seeds = {name[:2]: run["stages"][name]["settings"] for name in trained}
    return (
        f"Run {stage.paths.name}; {split['label_mapping']}; {_images_text(split['images'])}, split "
        f"seed {split['settings']['seed']}; backbone {stage.notes.get('backbone') or 'none'}; "
        f"{_seeds_text(seeds)}{_devices(stage) or _own_device(last)}. {split['caveats']}"
    )


def _images_text(counts: Mapping[str, int]) -> str:
    """The images of each side; `counts` are those of "train 0", "train 1", "val 0", ..., "test"."""
    parts = []
    for side, name in SIDES.items():
        good, bad = counts.get(f"{side} 0", 0), counts.get(f"{side} 1", 0)
        if good or bad:
            parts.append(f"{name} {good:,} good and {bad:,} bad")
        hidden = sum(n for key, n in counts.items() if key.split()[0] == side) - good - bad
        if hidden:
            parts.append(f"{name} {hidden:,} unlabelled")
    return "images: " + ", ".join(parts)


def _seeds_text(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """The seeds of the stages' trainings, in one sentence where all begin with the same."""
    texts = {stage: _seeds_of(own) for stage, own in settings.items()}
    if len({own["seed"] for own in settings.values()}) < 2:
        longest = max(settings, key=lambda stage: settings[stage].get("seeds", 1), default="")
        return f"training {texts[longest]}; " if texts else ""
    return f"training {', '.join(f'{text} in {stage}' for stage, text in texts.items())}; "


def _seeds_of(settings: Mapping[str, Any]) -> str:
    first, count = settings["seed"], settings.get("seeds", 1)
    if count == 1:
        return f"seed {first}"
    return f"seeds {first} to {first + count - 1} where a row says so, otherwise {first}"


def _devices(stage: stages.Stage) -> str:
    """Where the networks until this stage were trained; "" where the run has none."""
    later = run_record.models_after(stage.paths, stage.name)
    models = sorted(path.stem for path in stage.paths.predictions_root.glob("*.csv"))
    files = [stage.paths.metrics(f"{model}_history") for model in models if model not in later]
    records = [artifacts.load_json(file) for file in files if file.is_file()]
    known = sorted({str(r["device"]) for r in records if isinstance(r, dict) and r.get("device")})
    return " and ".join(known)


def _own_device(record: Mapping[str, Any]) -> str:
    return f"{record['device']}, {record['precision']}"
