"""A registry refuses unknown names and takes those of a cell, also in another process."""

import pytest

from helpers.core import rules


def test_an_unknown_name_is_refused_with_the_known_ones():
    toys = rules.Registry("toy", {"ball": 1, "kite": 2})
    toys["drum"] = 3
    assert toys["drum"] == 3
    with pytest.raises(
        rules.SettingsError, match=r"toy 'kit' is not one of ball, kite, drum; .*kite"
    ):
        toys["kit"]


def test_another_process_gets_what_a_cell_has_added_and_not_what_it_has_removed():
    toys = rules.Registry("toy", {"ball": 1})
    held = rules.contents()
    assert held["toy"] == {"ball": 1}
    rules.restore({"toy": {"ball": 1, "drum": 3}, "unknown": {"a": 1}})
    assert toys == {"ball": 1, "drum": 3}
    rules.restore(held)
    assert toys == {"ball": 1}
