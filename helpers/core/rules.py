"""Rules of settings: which values a field takes, and errors in the user's spelling.

Settings are pydantic dataclasses; each rule is written at its field:

    @dataclass(frozen=True, config=STRICT)
    class Toy:
        epochs: int = setting(8, "passes over the training images", gt=0)

    Toy(epochs=0)  # a ValidationError: `problem` says EPOCHS=0 must be greater than 0
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError

from helpers.core.errors import UserError

# strict: an integer is a float, but True is not an integer, and "3" is not a number
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class SettingsError(UserError):
    """A parameter does not exist, or cannot take this value."""


def _text(value: Any) -> Any:
    """Turn a number into text: a folder may be called 2024."""
    return str(value) if type(value) in (int, float) else value


def _names(value: Any) -> Any:
    """Turn JSON text (papermill's -p), text with commas, a list or one number into a tuple."""
    value = _text(value)
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f"is not a list in JSON ({error})") from None
    elif isinstance(value, str):
        value = [name.strip() for name in value.split(",") if name.strip()]
    return tuple(value) if isinstance(value, list) else value


def _none_or_several(value: int) -> int:
    if value < 0 or value == 1:
        raise ValueError("must be 2 or more, or 0")
    return value


Text = Annotated[str, BeforeValidator(_text)]
Names = Annotated[tuple[Text, ...], BeforeValidator(_names)]
NoneOrSeveral = Annotated[int, AfterValidator(_none_or_several)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # the seeds that NumPy's and scikit-learn's take


def setting(default: Any, why: str, **rule: Any) -> Any:
    """Return a field: its default, what it is for in the table of a notebook, and its rule."""
    return Field(default=default, description=why, **rule)


def problem(error: ValidationError) -> str:
    """Return pydantic's first problem in one line, with the parameter's name in capitals."""
    first = error.errors(include_url=False)[0]
    said = first.get("ctx", {}).get("error")  # of a validator in this package
    reason = said or first["msg"].replace("Input should be", "must be")
    return f"{str(first['loc'][0]).upper()}={first['input']!r} {reason}"
