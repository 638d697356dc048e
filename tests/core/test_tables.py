"""Templates of tables become text: per cent, intervals, points, large numbers, missing values."""

import numpy as np
import pandas as pd
import pytest

from helpers.core import tables

ROW = {"auc": 0.8661, "auc_low": 0.831, "auc_high": 0.8972, "gain": -0.0004, "n": 3_373_570}
ROW |= {"few": 940, "p": 0.0004, "rate": 0.01041, "seconds": 964.3, "name": "FBP", "nan": np.nan}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{name}: {auc:%} %", "FBP: 86.6 %"),
        ("{auc:%[]}", "86.6 [83.1, 89.7]"),
        ("{gain:+%}", "+0.0"),  # never -0.0
        ("{n:n}, {few:n}", "3.4 M, 940"),
        ("{p:p}, {rate:up}, {seconds:time}", "<.001, 1.1, 16 min"),
        ("{auc:.3f} and {n:,}", "0.866 and 3,373,570"),
        *[(template, tables.MISSING) for template in ("{name} {nan:%}", "{unknown}")],
    ],
)
def test_a_template_is_filled_from_a_row(template, text):
    assert tables.fill(template, ROW) == text


def test_a_table_is_filled_row_by_row_and_its_text_is_escaped():
    table = pd.DataFrame({"title": ["<b>", "FBP"], "test_auc": [0.5, np.nan]})
    columns = {"Model": "{title}", "Test AUC": "{test_auc:%[]}"}
    assert tables.filled(table, columns).values.tolist() == [["<b>", "50.0"], ["FBP", "-"]]
    assert tables.filled(table[:0], columns).columns.tolist() == ["Model", "Test AUC"]
    assert "&lt;b&gt;" in tables.shown(table, columns, "caption").to_html()
