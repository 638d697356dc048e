"""The heads of the published notebooks show the numbers of the published tables."""

import json
import re

import pandas as pd
import pytest

from helpers.core import paths
from helpers.core.finding import TITLE
from helpers.core.tables import fill
from helpers.results.out_of_fold import read_folder, three_columns

RESULTS = paths.project_root() / "notebooks" / "results" / "elpv-quick"
NAMES = ("06_results", "06_comparison", "07_operating_points")


def head(number):
    """Return the numbers with intervals at the head of a published notebook, if it has any."""
    (path,) = paths.notebooks_root().glob(f"{number}_*.ipynb")
    outputs = [
        one for cell in json.loads(path.read_text())["cells"] for one in cell.get("outputs", ())
    ]
    pages = ["".join(one.get("data", {}).get("text/html", "")) for one in outputs]
    shown = "".join(page for page in pages if TITLE in page)
    return re.findall(r"<td>([^<]* \[[^<]*\])[^<]*</td>", shown)


@pytest.mark.parametrize("number", ["06", "07"])
def test_a_number_at_a_notebook_s_head_is_one_of_the_published_tables(number):
    tables = [pd.read_csv(RESULTS / f"{name}.csv") for name in NAMES]
    tables.append(three_columns(read_folder(paths.published_scores())))
    known = {
        fill(f"{{{name.removesuffix('_low')}:{look}}}", row)
        for table in tables
        for row in table.to_dict("records")
        for name in row
        if name.endswith("_low")
        for look in ("%[]", "+%[]")
    }
    assert {*head(number)} <= known and len(known) > 100
