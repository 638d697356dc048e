"""Keep the results of a program as rows of a table that continues after a kill."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.core import files, paths
from helpers.runs import workers


def completed(
    path: Path, names: Sequence[str], keys: Iterable[tuple], row: Callable[..., dict[str, Any]]
) -> pd.DataFrame:
    """Return the table of a file with a row for each key, computing side by side those it lacks."""
    rows = pd.read_csv(path).to_dict("records") if path.is_file() else []
    done = {tuple(one[name] for name in names) for one in rows}
    missing = {"/".join(map(str, key)): key for key in keys if key not in done}
    calls = {name: partial(row, *key) for name, key in missing.items()}
    for name, one in workers.side_by_side(calls, path.stem, paths.cache_root()):
        rows.append(dict(zip(names, missing[name], strict=True)) | one)
        files.save_csv(path, pd.DataFrame(rows))
    return pd.DataFrame(rows)
