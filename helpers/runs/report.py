"""Prepare what the notebooks show of a run's models, and write the files behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from helpers.core import files
from helpers.core.devices import precision_name
from helpers.core.members import folds_of
from helpers.core.paths import RunPaths
from helpers.core.rules import SettingsError
from helpers.core.style import SIDES
from helpers.datasets.split_file import keeps_groups_apart, read_split
from helpers.decisions import label_audit
from helpers.models.weights import titles
from helpers.results import ensembles, out_of_fold, results_table
from helpers.results.ensembles import Stacked
from helpers.results.out_of_fold import SEEN, UNSEEN, OutOfFold
from helpers.results.predictions import Scored
from helpers.runs.record import edit_run, load_run
from helpers.runs.run import Run, check_run_name
from helpers.runs.scores import read_models as read_all_predictions
from helpers.runs.settings import ANALYSIS, FIRST

TRAINING = ("02_features_baselines", "03_finetuning", "05_genotype_retraining")
# parameters by which two compared runs may differ: those that change no model that both have
MAY_DIFFER = ["split", "split_csv", "val_per_class", "time_budget_min"]
MAY_DIFFER += ["genotypes", "random_cells", "distill"]
# columns of their splits that must agree
MUST_AGREE = {"label": "images or labels", "digest": "pixels", "group": "groups"}


def caption(run: Run) -> str:
    """Return the caption of a table: labels, images, split, backbone, seeds, device, COMPARE_RUN.

    Raises:
        SettingsError: see `refuse_unlike`.
    """
    other = getattr(run.settings, "compare_run", "")
    compared = f" Compared with run {other}." if other else ""
    if other:
        refuse_unlike(run.paths, other)
    stages = load_run(run.paths)["stages"]
    trained = [stages[name] for name in TRAINING if name in stages]
    first, last = stages[FIRST], (trained or [stages[run.name]])[-1]
    kind = "groups kept apart" if first["settings"]["split"] == "groups" else "random split"
    kind = "split by SPLIT_CSV" if first["settings"]["split_csv"] else kind
    kind += f", seed {first['settings']['seed']}"
    if folds := folds_of(run.split):
        kind += f", {len(folds)} folds"
    facts = [
        f"Run {run.paths.name}",
        first["label_mapping"],
        f"{_images_text(first['images'], bool(folds))}, {kind}",
        # a notebook that runs has noted its own, which run.json will hold at its end
        f"backbone {titles(run.notes.get('backbone') or backbone_of(run.paths) or 'none')}",
    ]
    if trained:
        seeds = max((stage["settings"] for stage in trained), key=lambda s: s.get("seeds", 1))
        facts += [f"training seed {seeds['seed']}, {seeds.get('seeds', 1)} in all"]
    facts += [f"{last['device']}, {precision_name(last['precision'])}"]
    return f"{'; '.join(facts)}. {first['caveats']}{compared}"


def _images_text(counts: Mapping[str, int], has_folds: bool) -> str:
    """Return the images of each side; `counts` has keys such as "train 0", "val 1" and "test 1"."""
    if has_folds and not any(key.startswith("test") for key in counts):
        good, bad = (counts.get(f"train {n}", 0) + counts.get(f"val {n}", 0) for n in (0, 1))
        return f"images: {good:,} good and {bad:,} bad, each judged out of fold"
    texts = []
    for side, name in SIDES.items():
        good, bad, hidden = (counts.get(f"{side} {n}", 0) for n in (0, 1, "hidden"))
        texts += [f"{name} {good:,} good and {bad:,} bad"] if good + bad else []
        texts += [f"{name} {hidden:,} unlabelled"] if hidden else []
    return "images: " + ", ".join(texts)


def backbone_of(run_paths: RunPaths) -> str | None:
    """Return the pretrained backbone of 03, or else of 02; None if neither has been run."""
    stages = load_run(run_paths).get("stages", {})
    names = (stages.get(name, {}).get("backbone") for name in TRAINING[1::-1])
    return next(filter(None, names), None)


def whole_results(run: Run) -> tuple[pd.DataFrame, dict[str, Scored]]:
    """Return the results table of the run's models with costs and tests, and the models.

    A model's parameters are the trained ones of one network, its seconds the sum over its
    trainings. The cost of its inputs (features, the members of an ensemble) is not included.
    """
    scored, known = run.models(), load_run(run.paths).get("models", {})
    costs = {name: about.get("costs", {}) for name, about in known.items()}
    table = results_table.results_table(scored, run.split)
    return results_table.with_tests(table, scored, costs), scored


def write_ensemble(run: Run) -> Stacked | None:
    """Fit the ensemble of the run's models, and make it a model too if it is to be kept.

    An older ensemble is removed if it is no longer kept.

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


def out_of_fold_scores(run_paths: RunPaths, other: str = "") -> OutOfFold:
    """Return the scores of all images by the models of a run without a test set.

    If an `other` run is named (`refuse_unlike` must accept it), return those of both.

    Raises:
        SettingsError: a run has a test set.
    """
    runs = {}
    for one in map(RunPaths, filter(None, (run_paths.name, other))):
        split = split_without_test(one)
        protocol = UNSEEN if keeps_groups_apart(split) else SEEN
        runs[protocol] = split, read_all_predictions(one)
    return out_of_fold.of_runs(runs)


def refuse_unlike(run_paths: RunPaths, other: str) -> None:
    """Refuse another run (COMPARE_RUN) that differs from a run in more than the kind of its folds.

    Raises:
        SettingsError: their comparison would be wrong: a run has a test set, or the other one has
            no split, folds of the same kind, other images, labels, pixels or groups, or other
            settings, backbones or weights; the message says what to do.
    """
    problem = f"COMPARE_RUN={other!r}"
    both = run_paths, RunPaths(other)
    first, second = (split_without_test(one).set_index("id").sort_index() for one in both)
    if keeps_groups_apart(first) == keeps_groups_apart(second):
        wanted = SEEN if keeps_groups_apart(first) else UNSEEN
        raise SettingsError(f"{problem}: name a run by the other kind of folds, SPLIT={wanted}")
    for column, words in MUST_AGREE.items():
        if not first.get(column, pd.Series()).equals(second.get(column, pd.Series())):
            raise SettingsError(
                f"{problem} has other {words} than run {run_paths.name}: give both the same "
                "DATASET, LABELS_CSV, GROUP_LEVEL, MASK and MAX_IMAGES, and the same files"
            )
    here, there = map(_settings, both)
    if differ := [name for name in here if name in there and here[name] != there[name]]:
        said = ", ".join(f"{name} (here {here[name]!r}, there {there[name]!r})" for name in differ)
        raise SettingsError(f"{problem} was made with other settings: {said}")


def split_without_test(run_paths: RunPaths) -> pd.DataFrame:
    """Return the images of a run that are in folds; raise SettingsError if it has a test set."""
    check_run_name(run_paths.name)
    if not run_paths.split_csv.is_file():
        raise SettingsError(
            f"COMPARE_RUN: run {run_paths.name!r} has no split; run its notebook 01"
        )
    split = read_split(run_paths.split_csv)
    if "fold" not in split or (split.split == "test").any():
        why = "a test set" if (split.split == "test").any() else "no folds"
        raise SettingsError(
            f"COMPARE_RUN: run {run_paths.name!r} has {why}, so not all of its images are "
            "judged out of fold: start another --name with -p TEST_FRACTION=0 -p CROSS_FIT=5 (a "
            "source with a test set of its own has no such run)"
        )
    return split[split.fold.notna()]


def _settings(run_paths: RunPaths) -> dict[str, Any]:
    """Return the parameters of a run that its models depend on, except the kind of split.

    Backbone and weights are those that were used, since "auto" depends on the machine.
    """
    decisive = {}
    for stage, entry in load_run(run_paths).get("stages", {}).items():
        taken = {name: entry[name] for name in ("backbone", "weights") if name in entry}
        for name, value in (entry.get("settings", {}) | taken).items():
            off = (name, value) == ("halving_epochs", 0)  # no model of it
            if stage < ANALYSIS and name not in MAY_DIFFER and not off:
                decisive[f"{stage[:2]} {name.upper()}"] = value
    return decisive


def write_labels_to_check(run: Run, audited: pd.DataFrame) -> str:
    """Write the suspect labels as a CSV to edit, and say what to do with it.

    A list that a person has edited since it was written is kept.
    """
    path, rows = run.paths.labels_to_check, label_audit.to_check(audited)
    if path.exists() and files.file_digest(path) != load_run(run.paths).get(path.name):
        return f"{path} is not as this run wrote it and is kept; delete it for a new one"
    files.save_csv(path, rows)
    with edit_run(run.paths) as content:
        content[path.name] = files.file_digest(path)
    given = run.source.get("settings", {}).get("labels_csv", "")
    where = f"Correct them in {given}" if given else "Correct its column `label`"
    return (
        f"{len(rows)} labels to check: {path}\n{where}, then start a run with another --name and "
        f"-p LABELS_CSV={given or path}"
    )
