"""Settings of every stage: resolved from given values, the preset and the defaults."""

import ast
import contextlib
import dataclasses
import difflib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

import pandas as pd
from pydantic import ValidationError

from helpers.core.rules import SettingsError, problem
from helpers.darts.settings import RetrainSettings, SearchSettings
from helpers.datasets.settings import SplitSettings
from helpers.decisions.settings import AnalysisSettings, DecisionSettings, YourPartSettings
from helpers.models import RANDOM
from helpers.runs.presets import PRESET_VALUES, PRESETS
from helpers.training.settings import BaselineSettings, FinetuneSettings

STEERING = ("time_budget_min",)  # no result depends on these settings
PLACES = ("split_csv", "labels_csv", "mask", "weights", "folder")  # they name a file or a folder
STAGES: dict[str, type] = {
    "01_data_split": SplitSettings,
    "02_features_baselines": BaselineSettings,
    "03_finetuning": FinetuneSettings,
    "04_darts_search": SearchSettings,
    "05_genotype_retraining": RetrainSettings,
    "06_analysis": AnalysisSettings,
    "07_decision": DecisionSettings,
    "08_your_part": YourPartSettings,
}
FIRST = "01_data_split"
# stages that can do nothing without bad images in training
BOTH_CLASSES = ("03_finetuning", "04_darts_search", "05_genotype_retraining")
# parameters that take text or a list of texts
_TEXTS = {
    field.upper()
    for stage in STAGES.values()
    for field, kind in get_type_hints(stage).items()
    if kind in (str, tuple[str, ...])
}
# what `json.loads` and `ast.literal_eval` raise for a text that is neither
_NOT_READ = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


def resolve(stage: str, preset: str, given: Mapping[str, Any]) -> Any:
    """Return the settings of a stage: given values over the preset's over the defaults.

    `given` maps field names to values; None means the preset's value.
    """
    if preset not in PRESETS:
        raise SettingsError(f"PRESET={preset!r} is not one of {', '.join(PRESETS)}")
    known = sorted(field.name.upper() for field in dataclasses.fields(STAGES[stage]))
    for name in given:
        if name.upper() not in known:
            raise unknown_parameter(name.upper(), known, f"no cell of {stage}")
    values = PRESET_VALUES[preset].get(stage, {})
    values = values | {name: value for name, value in given.items() if value is not None}
    try:
        return STAGES[stage](**values)
    except ValidationError as error:
        raise SettingsError(problem(error)) from None


def check_places(resolved: Any) -> None:
    """Raise SettingsError if a file or folder that settings name does not exist."""
    for name in PLACES:
        given = getattr(resolved, name, "")
        kind, exists = ("folder", os.path.isdir) if name == "folder" else ("file", os.path.isfile)
        if given and (name, given) != ("weights", RANDOM) and not exists(os.path.expanduser(given)):
            raise SettingsError(f"{name.upper()}={given!r} is not a {kind}")


def parameter_names(stage: str) -> set[str]:
    """Return the parameters that a notebook takes."""
    fields = {field.name.upper() for field in dataclasses.fields(STAGES[stage])}
    return fields | ({"RUN", "PRESET"} if stage == FIRST else {"RUN"})


def stage_name(number: str) -> str:
    """Return the whole name of a stage from its number: "03" or "3" -> "03_finetuning"."""
    for name in STAGES:
        if name == number or name[:2] == number.zfill(2):
            return name
    raise SettingsError(f"no stage {number!r}; there are {', '.join(STAGES)}")


def parse_parameters(texts: Sequence[str]) -> dict[str, Any]:
    """Return the values of a command line's NAME=VALUE by name: each as JSON, Python or text.

    If a parameter takes text, only what is in brackets or quotes is read: a folder may be called
    2024_11, which Python reads as 202411.
    """
    given: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"-p {text}: write -p NAME=VALUE")
        if name in given:
            as_list = f'-p \'{name}=["A", "B"]\''
            raise SettingsError(f"-p {name} is given twice: give it once, a list as {as_list}")
        given[name] = value
        is_text = name in _TEXTS and not value.startswith(("[", "(", "'", '"', "None", "null"))
        for read in () if is_text else (json.loads, ast.literal_eval):
            with contextlib.suppress(*_NOT_READ):
                given[name] = read(value)
                break
    return given


def settings_table(settings: Any, preset: str) -> pd.DataFrame:
    """Return a row for each setting of a stage: its name, its value, and what it is for.

    Values that neither the defaults nor the preset have are marked with "(given)".
    """
    stage = next(name for name, kind in STAGES.items() if isinstance(settings, kind))
    usual = resolve(stage, preset, {})
    rows = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        words = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        words = (words or "-") + ("" if value == getattr(usual, field.name) else " (given)")
        why = type(settings).__pydantic_fields__[field.name].description
        rows.append((field.name.upper(), words, why))
    return pd.DataFrame(rows, columns=["Setting", "Value", "Meaning"])


def unknown_parameter(name: str, known: list[str], where: str) -> SettingsError:
    """Return the error for a parameter that does not exist, with the nearest known name."""
    close = difflib.get_close_matches(name.upper(), known, n=1)
    hint = f"; did you mean {close[0]}?" if close else f" (known: {', '.join(known)})"
    return SettingsError(f"{where} has the parameter {name}{hint}")
