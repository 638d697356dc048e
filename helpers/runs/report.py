"""What the notebooks show of a run's models, and the files behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.core.rules import SettingsError
from helpers.core.style import SIDES
from helpers.datasets.split_file import keeps_groups_apart, read_split
from helpers.models.weights import titles
from helpers.results import ensembles, label_audit, results_table
from helpers.results.ensembles import Stacked
from helpers.results.predictions import Scored
from helpers.runs.memo import Run, read_all_predictions
from helpers.runs.record import load_run
from helpers.runs.settings import ANALYSIS, FIRST
from helpers.runs.stages import check_run_name

TRAINING = ("02_features_baselines", "03_finetuning", "05_genotype_retraining")
# parameters by which two compared runs may differ: those that change no model that both have
MAY_DIFFER = ["split", "split_csv", "val_per_class", "time_budget_min"]
MAY_DIFFER += ["genotypes", "random_cells", "distill"]


def caption(run: Run) -> str:
    """Return the caption of a table: labels, images, split, backbone, seeds, device.

    Raises:
        ArtifactError: run.json lacks an entry that the caption needs.
    """
    stages = load_run(run.paths)["stages"]
    trained = [stages[name] for name in TRAINING if name in stages]
    try:
        first, last = stages[FIRST], (trained or [stages[run.name]])[-1]
        kind = "groups kept apart" if first["settings"]["split"] == "groups" else "random split"
        kind = "split by SPLIT_CSV" if first["settings"]["split_csv"] else kind
        kind += f", seed {first['settings']['seed']}"
        if folds := first["settings"]["cross_fit"]:
            kind += f", {folds} folds"
        facts = [
            f"Run {run.paths.name}",
            first["label_mapping"],
            f"{_images_text(first['images'])}, {kind}",
            f"backbone {titles(backbone_of(run.paths) or 'none')}",
        ]
        if trained:
            seeds = max((stage["settings"] for stage in trained), key=lambda s: s.get("seeds", 1))
            facts += [f"training seed {seeds['seed']}, {seeds.get('seeds', 1)} in all"]
        facts += [f"{last['device']}, {last['precision']}"]
        return f"{'; '.join(facts)}. {first['caveats']}"
    except (AttributeError, KeyError, TypeError) as error:
        raise files.damaged(run.paths.run_json, f"it lacks {error}") from None


def _images_text(counts: Mapping[str, int]) -> str:
    """Return the images of each side; `counts` has keys such as "train 0", "val 1" and "test"."""
    texts = []
    for side, name in SIDES.items():
        good, bad, hidden = (counts.get(key, 0) for key in (f"{side} 0", f"{side} 1", side))
        texts += [f"{name} {good:,} good and {bad:,} bad"] if good + bad else []
        texts += [f"{name} {hidden:,} unlabelled"] if hidden else []
    return "images: " + ", ".join(texts)


def backbone_of(run_paths: RunPaths) -> str | None:
    """Return the pretrained backbone of 03, or else of 02; None if neither has been run."""
    stages = load_run(run_paths).get("stages", {})
    names = (stages.get(name, {}).get("backbone") for name in TRAINING[1::-1])
    return next(filter(None, names), None)


def whole_results(run: Run) -> tuple[pd.DataFrame, dict[str, Scored]]:
    """Return the results table of all models with ensembles, costs and tests, and the models.

    A model's parameters are the trained ones of one network, its seconds the sum over its
    trainings. What it builds on, such as features or the members of an ensemble, does not count
    again.
    """
    scored, known = run.models(), load_run(run.paths).get("models", {})
    rows = [{"model": name, **known.get(name, {}).get("costs", {})} for name in scored]
    costs = pd.DataFrame(rows, columns=["model", "parameters", "seconds", "device"])
    table = results_table.results_table(scored, run.split)
    return results_table.with_tests(table, scored, costs), scored


def write_ensemble(run: Run) -> Stacked | None:
    """Fit the ensemble of the run's models, and make it a model too if it is to be kept.

    One that is no longer kept is removed.

    Raises:
        ArtifactError: a file has the name of the ensemble, but this run did not write it.
    """
    stacked = ensembles.stack(run.models(), run.split, run.settings.seed)
    path = run.paths.predictions(ensembles.STACKING.slug)
    ours = load_run(run.paths).get("models", {}).get(path.stem, {}).get("digest")
    if path.exists() and files.file_digest(path) != ours:
        raise files.ArtifactError(
            f"{path} has the name of an ensemble but was not made here, or changed since; "
            "rename it to keep it as a model of your own, or delete it"
        )
    if stacked and stacked.kept:
        run.add_model(ensembles.STACKING, stacked.predictions)
    else:
        path.unlink(missing_ok=True)
    return stacked


def other_run(run: Run, other: str) -> dict[str, dict[str, Scored]]:
    """Return the models of the run with the random split and of the one by groups.

    The keys are those of `comparison.SPLITS`.

    Raises:
        SettingsError: the other run has no split, one of the same kind, or other labels.
    """
    problem = f"COMPARE_RUN={other!r}"
    check_run_name(other)
    paths = (run.paths, RunPaths(other))
    if not paths[1].split_csv.is_file():
        raise SettingsError(f"{problem} has no split; run notebook 01 of that run")
    tables = [read_split(run_paths.split_csv) for run_paths in paths]
    kinds = ["groups" if keeps_groups_apart(table) else "random" for table in tables]
    if kinds[0] == kinds[1]:
        kind = "keeps groups apart" if kinds[0] == "groups" else "is random"
        raise SettingsError(f"{problem}: the split of both runs {kind}; name one of the other kind")
    first, second = (table.set_index("id").label.sort_index() for table in tables)
    if not first.equals(second):
        raise SettingsError(f"{problem} has other images or other labels than run {run.paths.name}")
    here, there = map(_settings, paths)
    if unlike := sorted(
        f"{name} (here {here[name]!r}, there {there[name]!r})"
        for name in here.keys() & there.keys()
        if here[name] != there[name]
    ):
        raise SettingsError(f"{problem} was made with other settings: {', '.join(unlike)}")
    scored = [read_all_predictions(run_paths) for run_paths in paths]
    return dict(zip(kinds, scored, strict=True))


def _settings(run_paths: RunPaths) -> dict[str, Any]:
    """Return the parameters of a run that its models depend on, the kind of split aside."""
    return {
        f"{stage[:2]} {name.upper()}": value
        for stage, entry in load_run(run_paths).get("stages", {}).items()
        if stage < ANALYSIS
        for name, value in entry.get("settings", {}).items()
        if name not in MAY_DIFFER and (name, value) != ("halving_epochs", 0)  # off: no model of it
    }


def write_labels_to_check(run: Run, audited: pd.DataFrame) -> str:
    """Write the suspect labels as a CSV to edit, and say what to do with it.

    An older list is kept: a person may have edited it.
    """
    path, rows = run.paths.labels_to_check, label_audit.to_check(audited)
    if path.exists():
        return f"{path} is an older list and was kept; delete it for a new one"
    files.save_csv(path, rows)
    given = run.source.get("settings", {}).get("labels_csv", "")
    where = f"Correct them in {given}" if given else "Correct its column `label`"
    return (
        f"{len(rows)} labels to check: {path}\n{where}, then start a run with another --name and "
        f"-p LABELS_CSV={given or path}"
    )
