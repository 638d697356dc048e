"""The keys of finished work: digests of the code behind a call, and of its arguments.

    key_of(partial(fit.fit, build, images, table, settings, seed=0))

Arguments have to be digestible: plain values, arrays, tables, networks, dataclasses, functions,
`functools.partial` of these, and objects whose attribute `digest` stands for their content. The
code of their classes counts too.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from helpers.core import code, files

PLACES = ("path",)  # columns of tables that say where an image is on this machine


def key_of(call: functools.partial[Any]) -> str:
    """Return the digest of a call: of its function's code and of its arguments.

    Raises:
        TypeError: an argument cannot be digested.
    """
    return files.fingerprint([digestible(call.func), digestible([call.args, call.keywords])])


def digestible(value: Any) -> Any:
    """Return a value that JSON can express and that is equal for equal content."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): digestible(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [digestible(item) for item in value]
    if isinstance(value, functools.partial):
        return ["partial", *map(digestible, (value.func, value.args, value.keywords))]
    if isinstance(value, types.FunctionType | type):
        return ["code", code.digest_of(value)]
    if isinstance(value, types.MethodType):
        return ["method", value.__name__, digestible(value.__self__)]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, pd.DataFrame):
        kept = value.drop(columns=[name for name in PLACES if name in value])
        return ["table", {str(name): _array(column.to_numpy()) for name, column in kept.items()}]
    kind = ["code", code.digest_of(type(value))]
    if hasattr(value, "digest"):
        return [kind, value.digest]
    if isinstance(value, nn.Module):
        facts = [digestible(getattr(value, name, None)) for name in ("spec", "facts")]
        return [kind, digestible(value.state_dict()), facts]
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return [kind, {name: digestible(getattr(value, name)) for name in names}]
    if hasattr(value, "get_params"):  # an estimator of scikit-learn
        return [type(value).__name__, digestible(value.get_params())]
    raise TypeError(f"{type(value).__name__} has no digest: give it an attribute `digest`")


def _array(values: np.ndarray) -> list[Any]:
    if values.dtype == object:  # texts and missing values
        return ["texts", files.fingerprint([str(value) for value in values.tolist()])]
    digest = hashlib.blake2b(np.ascontiguousarray(values).data, digest_size=10).hexdigest()
    return [str(values.dtype), list(values.shape), digest]
