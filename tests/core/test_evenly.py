"""Places that are spread over a list."""

import pytest

from helpers.core.evenly import evenly


@pytest.mark.parametrize(
    ("n", "most", "places"), [(0, 3, []), (2, 3, [0, 1]), (9, 3, [0, 4, 8]), (9, 1, [0])]
)
def test_places_go_from_the_first_to_the_last_and_none_comes_twice(n, most, places):
    assert evenly(n, most).tolist() == places
