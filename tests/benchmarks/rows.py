"""Keep the results of a program as rows of a table that continues after a kill."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.core import files, paths
from helpers.runs import workers

Row = dict[str, Any]


def completed(
    path: Path,
    names: Sequence[str],
    keys: Iterable[tuple],
    row: Callable[..., Row | list[Row]],
) -> pd.DataFrame:
    """Return the table of a file with a row (or rows) for each key, sorted by these.

    Those that it lacks are computed side by side; several processes may do so.
    """

    def there() -> list[Row]:
        return pd.read_csv(path).to_dict("records") if path.is_file() else []

    done = {tuple(one[name] for name in names) for one in there()}
    missing = {"/".join(map(str, key)): key for key in keys if key not in done}
    calls = {name: partial(row, *key) for name, key in missing.items()}
    for name, found in workers.side_by_side(calls, path.stem, paths.cache_root()):
        key = dict(zip(names, missing[name], strict=True))
        new = [key | one for one in (found if isinstance(found, list) else [found])]
        with files.held(path.with_name(f".{path.stem}.lock")):
            table = pd.DataFrame(there() + new).sort_values([*names], kind="stable")
            files.save_csv(path, table)
    return pd.DataFrame(there())
