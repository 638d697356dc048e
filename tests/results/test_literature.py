"""Published numbers stand beside this run's under the same reading of the labels."""

import pandas as pd

from helpers.results import literature
from helpers.results.label_mappings import MAPPINGS

MAPPED = pd.DataFrame({"mapping": list(MAPPINGS), "cells": [600.0, 600.0, 500.0, 600.4]})
MAPPED = MAPPED.assign(accuracy=[0.92, 0.85, 0.97, 0.9], f1=[0.85, 0.8, 0.95, 0.86])


def test_rows_of_one_mapping_are_together_and_sorted_by_accuracy():
    table = literature.beside(MAPPED, "FBP")
    assert len(table.Labels.drop_duplicates()) == (table.Labels != table.Labels.shift()).sum()
    assert table.Labels.iloc[0] == "bad = p >= 1/2" and table.Labels.iloc[-1] == "not stated"
    for _, own in table.groupby("Labels"):
        values = [float(text.split()[0]) for text in own.Accuracy]
        assert values == sorted(values, reverse=True)
    own = table[table.Work == "this run"].set_index("Labels")
    assert own.Accuracy["bad = p >= 1/2"].startswith("92.0 [89.5, 94.")
    assert "[" not in own.Accuracy["weighted: p bad, 1 - p good"]
    assert set(table.Labels[table.Work == "Song et al. 2024"]) == {"bad = p >= 1/2"}
    assert set(table.Labels[table.Work == "Deitsch et al. 2019"]) == {"not stated"}


def test_the_sentence_compares_under_one_mapping_alone():
    said = literature.against(MAPPED)
    assert said.startswith("Under p >= 1/2 this run's accuracy is 92.0 % [89.5, 94.")
    assert "89.8 ± 2.0 % (Song et al. 2024)" in said and "Deitsch" not in said
