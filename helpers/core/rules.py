"""What users may give: values by rules, and names of registries; errors in the user's spelling.

Settings are pydantic dataclasses; each rule is written at its field:

    @dataclass(frozen=True, config=STRICT)
    class Toy:
        epochs: int = setting(8, "passes over the training images", gt=0)

    Toy(epochs=0)  # a ValidationError: `problem` says EPOCHS=0 must be greater than 0

A registry is a dict of names that select code, which a notebook's cell can extend:

    OPS = Registry("operation", {"skip_connect": skip})
    OPS["conv_3x3"] = builder  # from now on a name like any other
    OPS["conv_3x4"]  # SettingsError: operation 'conv_3x4' is not one of skip_connect, conv_3x3
"""

import difflib
import functools
import json
from collections.abc import Mapping
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


class Registry(dict[str, Any]):
    """A dict of objects by name; an unknown name raises `SettingsError` with the known ones.

    Without `keyed` its content is in no key of finished work: for names that no result depends on.
    """

    def __init__(self, what: str, known: Mapping[str, Any], keyed: bool = True) -> None:
        super().__init__(known)
        self.what, self.keyed = what, keyed
        _all()[what] = self

    def __missing__(self, name: Any) -> Any:
        close = difflib.get_close_matches(str(name), self, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise SettingsError(f"{self.what} {name!r} is not one of {', '.join(self)}{hint}")


@functools.cache
def _all() -> dict[str, Registry]:
    """Return the registries by what they hold; a constant would be in the keys of all work."""
    return {}


def contents() -> dict[str, dict[str, Any]]:
    """Return what all registries hold, for `restore` in another process."""
    return {what: dict(registry) for what, registry in _all().items()}


def restore(held: Mapping[str, Mapping[str, Any]]) -> None:
    """Give the registries of this process the content that those of another process held."""
    for what, entries in held.items():
        if what in _all():
            _all()[what].clear()  # a reused worker may hold names that were removed since
            _all()[what].update(entries)
