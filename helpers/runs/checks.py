"""Checks of single settings: the type that a field wants, and the values that make sense."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import json
import math
import textwrap
import types
import typing
from typing import Any


class SettingsError(ValueError):
    """A parameter that does not exist, or a value that it cannot take."""


# the smallest value that makes sense, by the end of a field's name
_AT_LEAST = {
    "epochs": 1,
    "batch_size": 2,
    "folds": 2,
    "trees": 1,
    "per_class": 1,
    "size_px": 16,
    "channels": 2,
    "layers": 3,  # one normal cell and both reductions
    "partial": 1,
    "alpha_warmup": 0,
    "max_skips": -1,
    "stop_when_stable": 0,
    "eigenvalue_every": 0,
    "rollback_growth": 0,
    "weight_decay": 0,
    "lr_min": 0,
    "random_cells": 0,
    "map_images": 4,
    "seeds": 1,
    "epoch_images": 0,
    "time_budget_min": 0,
    "search_images": 0,
    "cv_images": 0,
    "drop_path": 0,
    "ema_decay": 0,
    "label_smoothing": 0,
    "grad_clip": 0,
    "seed": 0,
    "max_images": 1,
    "momentum": 0,
}
_BELOW = {
    "drop_path": 1,
    "ema_decay": 1,
    "label_smoothing": 1,
    "momentum": 1,  # from 1 on the steps add up without end
    "seed": 2**32,  # what NumPy's and scikit-learn's generators take
}
# what else may be written instead of a value that is too small
_INSTEAD = {"max_images": ", or be left out for the preset's own number (all, but in smoke)"}
_CHOICES = {
    "precision": ("auto", "bf16", "fp16", "no"),
    "backbone": ("auto", "resnet18", "efficientnet_lite0"),
    "augment": ("none", "flips", "full"),
    "retrain_augment": ("none", "flips", "full"),
    "optimizer": ("sgd", "adamw"),
    "schedule": ("one_cycle", "cosine", "exponential", "constant"),
    "order": (1, 2),
}


def check_range(name: str, value: Any) -> None:
    """Refuse a value that makes no sense, by the field's name."""
    for ending, least in _AT_LEAST.items():
        if name.endswith(ending) and value < least:
            instead = _INSTEAD.get(name, "")
            raise SettingsError(f"{name.upper()}={value} must be {least} or more{instead}")
    if name in _CHOICES and value not in _CHOICES[name]:
        choices = ", ".join(map(str, _CHOICES[name]))
        raise SettingsError(f"{name.upper()}={value!r} is not one of {choices}")
    if name in _BELOW and value >= _BELOW[name]:
        raise SettingsError(f"{name.upper()}={value} must be below {_BELOW[name]}")
    if name == "test_fraction" and not 0 < value < 1:
        raise SettingsError(f"TEST_FRACTION={value} must lie between 0 and 1")
    if name == "max_escape_rate" and not 0 <= value <= 1:
        raise SettingsError(f"MAX_ESCAPE_RATE={value} must be a fraction from 0 to 1")
    if name.endswith("_cost") and value < 0:
        raise SettingsError(f"{name.upper()}={value} must not be negative")
    if name == "rollback_growth" and 0 < value <= 1:
        raise SettingsError(f"ROLLBACK_GROWTH={value} must be above 1, or 0 for no rolling back")
    if name == "epoch_images" and value == 1:  # a batch of one is dropped: nothing would be trained
        raise SettingsError("EPOCH_IMAGES=1 must be 2 or more, or 0 for all")
    if name == "gamma" and not 0 < value <= 1:
        raise SettingsError(f"GAMMA={value} must be above 0 and at most 1")
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingsError(f"{name.upper()}={value} must be a finite number")
    if name.endswith("lr") and value <= 0:
        raise SettingsError(f"{name.upper()}={value} must be above 0")


def checked(name: str, value: Any, hint: Any) -> Any:
    """The value in the field's type; a list from the command line becomes a tuple."""
    origin = typing.get_origin(hint)
    if isinstance(value, int | float) and not isinstance(value, bool):
        # a folder may be called 2024, which a command line reads as a number
        value = str(value) if hint is str or origin is tuple else value
    if origin is tuple:
        if isinstance(value, str) and value.lstrip().startswith("["):  # papermill's -p gives text
            value = _json_list(name, value)
        elif isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, list | tuple):
            inner = typing.get_args(hint)[0]
            return tuple(checked(name, item, inner) for item in value)
    elif origin is types.UnionType:
        return checked(name, value, typing.get_args(hint)[0])
    elif hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    elif isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    kind = hint.__name__ if isinstance(hint, type) else str(hint)
    raise SettingsError(f"{name.upper()}={value!r} is not of the type {kind}")


def _json_list(name: str, text: str) -> list[Any]:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{name.upper()}={text!r} is not a list in JSON ({error})") from None


def parse_parameter(text: str) -> tuple[str, Any]:
    """The name and the value of a command line's NAME=VALUE; the value as JSON, Python or text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(f"-p {text}: write -p NAME=VALUE")
    for read in (json.loads, ast.literal_eval):
        try:
            return name, read(value)
        except (ValueError, SyntaxError):
            continue
    return name, value


def in_words(settings: Any, width: int = 110) -> str:
    """All settings of a stage as its notebook's parameters, in lines of at most `width`."""
    words = [f"{n.upper()}={v!r}" for n, v in dataclasses.asdict(settings).items()]
    return textwrap.fill(", ".join(words), width, break_long_words=False, break_on_hyphens=False)


def unknown_parameter(name: str, known: list[str], where: str) -> SettingsError:
    """The error for a parameter that does not exist, with the nearest name that does."""
    close = difflib.get_close_matches(name.upper(), known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    names = "" if close else f" (known: {', '.join(known)})"
    return SettingsError(f"{where} has the parameter {name}{hint}{names}")
