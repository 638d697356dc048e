"""Names that select code: a dict that refuses unknown names, and that a notebook's cell can extend.

    OPS = Registry("operation", {"skip_connect": skip})
    OPS["conv_3x3"] = builder  # from now on a name like any other
    OPS["conv_3x4"]  # SettingsError: operation 'conv_3x4' is not one of skip_connect, conv_3x3

What a cell adds reaches other processes by `contents` and `restore`.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from typing import Any

from helpers.core.rules import SettingsError


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
