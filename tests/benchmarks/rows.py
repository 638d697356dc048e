"""Keep the results of a program as rows of a table that continues after a kill."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.core import files


def completed(
    path: Path, names: Sequence[str], keys: Iterable[tuple], row: Callable[..., dict[str, Any]]
) -> pd.DataFrame:
    """Return the table of a file with a row for each key, after computing those that it lacks."""
    rows = pd.read_csv(path).to_dict("records") if path.is_file() else []
    done = {tuple(one[name] for name in names) for one in rows}
    for key in keys:
        if key not in done:
            rows.append(dict(zip(names, key, strict=True)) | row(*key))
            files.save_csv(path, pd.DataFrame(rows))
    return pd.DataFrame(rows)
