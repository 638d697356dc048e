"""Digest the code of a function or class, and of everything in this package that it reaches.

    digest_of(fit.fit)

The digest covers the syntax trees of definitions, through all levels. Docstrings, comments, line
breaks, libraries and unused functions do not count. A definition reaches the names that it uses:
those of its module, those that the module imports from `helpers`, and strings that name a
definition, such as "helpers.darts.network.build_derived".
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from helpers.core import files

PACKAGE = "helpers"
Reference = tuple[str, str]  # module and name; the name "" is the module itself
_Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class _Module(NamedTuple):
    """The definitions and imports of a module."""

    definitions: dict[str, list[ast.stmt]]  # name -> statements that bind it
    imports: dict[str, Reference]  # local name -> what it stands for, in this package
    effects: list[ast.stmt]  # statements that bind no name, such as a registration


def digest_of(target: Callable[..., Any] | type) -> str:
    """Return the digest of a function's or class's code.

    A function from outside of the package, such as one that is defined in a notebook, is digested
    by its own source alone.
    """
    module, name = target.__module__, target.__qualname__.partition(".")[0]
    if name in _module(module).definitions:
        return _digest(((module, name),))
    try:
        source = textwrap.dedent(inspect.getsource(target))
    except (OSError, TypeError):  # typed into an interpreter, or built in
        return f"{module}.{target.__qualname__}"
    try:
        return files.fingerprint(_text(ast.parse(source)))
    except SyntaxError:  # a lambda within an expression of several lines
        return files.fingerprint(source)


def digest_of_source(source: str) -> str:
    """Return the digest of a program, such as a notebook's code cells, and of what it reaches."""
    tree = ast.parse(source)
    reached = _names_in(tree, _imports(tree))
    return files.fingerprint([_text(tree), _digest(tuple(sorted(reached)))])


@functools.cache
def _digest(start: tuple[Reference, ...]) -> str:
    seen: dict[Reference, list[str]] = {}
    waiting = list(start)
    while waiting:
        reference = waiting.pop()
        if reference in seen:
            continue
        name, module = reference[1], _module(reference[0])
        statements = module.effects if name == "" else module.definitions.get(name, [])
        seen[reference] = [_text(statement) for statement in statements]
        waiting.append((reference[0], ""))
        if name in module.imports and name not in module.definitions:
            waiting.append(module.imports[name])  # the module re-exports it
        known = module.imports | {local: (reference[0], local) for local in module.definitions}
        for statement in statements:
            waiting += _names_in(statement, known)
    return files.fingerprint(sorted((*place, *texts) for place, texts in seen.items()))


@functools.cache
def _module(name: str) -> _Module:
    path = _path_of(name)
    tree = ast.parse(path.read_bytes()) if path else ast.Module([], [])
    definitions: dict[str, list[ast.stmt]] = {}
    effects = []
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            continue
        bound = [*_bound_by(statement)]
        for local in bound:
            definitions.setdefault(local, []).append(statement)
        is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if not bound and not is_text:
            effects.append(statement)
    return _Module(definitions, _imports(tree), effects)


@functools.cache
def _path_of(name: str) -> Path | None:
    """Return the source file of a module of this package; None for other modules."""
    if name.partition(".")[0] != PACKAGE:
        return None
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement of a module binds, also those inside `if` and `try`."""
    if isinstance(statement, _Named):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, _Named):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _imports(tree: ast.AST) -> dict[str, Reference]:
    """Map the names that a program imports from this package, anywhere, to their references."""
    found: dict[str, Reference] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = _path_of(whole) is not None
                to = (whole, "") if is_module else (str(node.module), alias.name)
                found[alias.asname or alias.name] = to
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == PACKAGE:
                    found[alias.asname or PACKAGE] = (alias.name if alias.asname else PACKAGE, "")
    return found


def _names_in(tree: ast.AST, known: dict[str, Reference]) -> list[Reference]:
    """Return the references in a piece of code; `known` maps its names to references."""
    references = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in known:
            references.append(known[node.id])
        elif isinstance(node, ast.Attribute) and (place := _dotted(node, known)):
            references.append(place)
        elif isinstance(node, ast.Constant) and str(node.value).startswith(f"{PACKAGE}."):
            module, _, name = str(node.value).rpartition(".")
            if name.isidentifier() and _path_of(module):
                references.append((module, name))
    return references


def _dotted(node: ast.Attribute, known: dict[str, Reference]) -> Reference | None:
    """Return what `module.name` or `package.module.name` refers to, None for other attributes."""
    value = node.value
    place = known.get(value.id) if isinstance(value, ast.Name) else None
    if isinstance(value, ast.Attribute):
        place = _dotted(value, known)
    if place is None or place[1]:
        return None
    inner = f"{place[0]}.{node.attr}"
    return (inner, "") if _path_of(inner) else (place[0], node.attr)


def _text(tree: ast.AST) -> str:
    """Return a program's text without comments, docstrings and its own line breaks."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, _Named | ast.Module) and body and ast.get_docstring(node) is not None:
            node.body = body[1:] or [ast.Pass()]
    return ast.unparse(tree)
