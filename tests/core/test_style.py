"""The look of figures and tables in the notebooks."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.core import style

HOSTILE = "a$_$b_{c <img src=x onerror=alert(1)>"


def test_a_name_with_dollar_signs_is_drawn_as_it_is():
    style.use_style()
    figure, ax = plt.subplots()
    ax.set(title=HOSTILE, xlabel=HOSTILE)
    ax.set_xticks([0, 1], [HOSTILE, "$"])
    ax.plot([0, 1], [0, 1], label=HOSTILE)
    ax.legend()
    figure.suptitle(HOSTILE)
    figure.canvas.draw()  # raises if one of them is read as a formula
    width = {text: ax.set_title(text).get_window_extent().width for text in ("$x$", "x")}
    assert width["$x$"] > 2 * width["x"]


def test_the_texts_of_a_table_are_escaped_and_no_formulas():
    style.use_style()
    table = pd.DataFrame({HOSTILE: [HOSTILE]})
    for html in (style.styled(table, HOSTILE).to_html(), table._repr_html_()):
        assert "<img" not in html and "&lt;img src=x" in html
        assert "mathjax_ignore" in html
    assert style.styled(table, HOSTILE).to_html().count("&lt;img src=x") == 3
    assert "&lt;b&gt;" in style.paragraph("<b>").data


def test_an_image_of_fractions_is_refused_because_it_would_be_black():
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="largest pixel"):
        style.draw_image(ax, np.full((2, 2), 0.9))


@pytest.mark.parametrize(
    ("write", "given", "texts"),
    [
        (style.p_value, [0.0009, 0.0134], ["p < .001", "p = .013"]),
        (style.percent, [0.5, 0.8765], ["50.0", "87.6"]),
        (style.percent_up, [0.01, 0.0097, 1 / 96, 1 / 151], ["1", "0.97", "1.1", "0.67"]),
        (style.percent_up, [2 / 101, 0.996, 1, 0], ["2", "100", "100", "0"]),
        (style.duration, [0.04, 1.04, 42, 960], ["<1 s", "1.0 s", "42 s", "16 min"]),
        (style.duration, [7500], ["2 h 5 min"]),
    ],
)
def test_a_number_is_written_as_a_reader_wants_it(write, given, texts):
    assert [write(number) for number in given] == texts


def test_numbers_get_the_digits_that_tell_them_apart_and_their_interval_if_there_is_one():
    assert style.told_apart(0.49912, 0.49938) == ["0.4991", "0.4994"]
    assert style.told_apart(0.5, 0.5) == ["0.5", "0.5"]
    assert style.told_apart(0.12345, 0.6) == ["0.123", "0.6"]
    assert style.with_interval(0.1, 0.05, 0.2) == "10.0 [5.0, 20.0]"
    assert style.with_interval(-0.1, -0.2, 0.01, " %", "+") == "-10.0 % [-20.0, +1.0]"
    assert style.with_interval(0.1, float("nan"), float("nan"), " %") == "10.0 %"


@pytest.mark.parametrize(
    ("n", "most", "places"), [(0, 3, []), (2, 3, [0, 1]), (9, 3, [0, 4, 8]), (9, 1, [0])]
)
def test_places_go_from_the_first_to_the_last_and_none_comes_twice(n, most, places):
    assert style.evenly(n, most).tolist() == places
