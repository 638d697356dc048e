"""The look of tables in the notebooks."""

import pandas as pd

from helpers.core import style


def test_a_wrapped_table_breaks_no_number_from_its_interval():
    table = pd.DataFrame({"Test AUC": ["86.6 [83.1, 89.7] (90.9 [88.2, 93.6])"], "n": [3]})
    html = style.styled(table, "c", wrap=True).to_html()
    space = "\N{NO-BREAK SPACE}"
    assert f"86.6{space}[83.1,{space}89.7] (90.9{space}[88.2,{space}93.6])" in html
    assert "white-space: nowrap" in style.styled(table, "c").to_html()
