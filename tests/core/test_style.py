"""The look of figures, tables and sliders in the notebooks, and the templates of tables."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.core import style

FRAMES = ["<p>first &lt;frame&gt;</p>", "<p>second</script></p>", "<p>third</p>"]
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
    styled = style.styled(table, HOSTILE).to_html()
    assert styled.count("&lt;img src=x") == 3 and "row_heading" not in styled
    assert "&lt;b&gt;" in style.paragraph("<b>").data


def test_an_image_of_fractions_is_refused_because_it_would_be_black():
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="largest pixel"):
        style.draw_image(ax, np.full((2, 2), 0.9))


def test_a_promised_rate_is_rounded_up_to_two_digits():
    rates = {0.01: "1", 0.0097: "0.97", 1 / 96: "1.1", 1 / 151: "0.67", 2 / 101: "2", 0.996: "100"}
    assert [style.percent_up(rate) for rate in rates] == [*rates.values()]
    assert (style.percent_up(1), style.percent_up(0)) == ("100", "0")
    assert (style.duration(0.04), style.duration(7500)) == ("<1 s", "2 h 5 min")


def test_an_axis_of_fractions_has_per_cent_without_zeros_at_the_end():
    figure, ax = plt.subplots()
    style.percent_axis(ax.xaxis)
    assert [ax.xaxis.get_major_formatter()(x, 0) for x in (0.7, 0.725)] == ["70", "72.5"]
    plt.close(figure)


def test_numbers_get_the_digits_that_tell_them_apart():
    assert style.told_apart(0.49912, 0.49938) == ["0.4991", "0.4994"]
    assert style.told_apart(0.5, 0.5) == ["0.5", "0.5"]
    assert style.told_apart(0.12345, 0.6) == ["0.123", "0.6"]


def test_moving_it_shows_another_frame(browser, tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    place = tmp_path / "page.html"
    two = [style.slider(frames, 1, 'what "moves"').data for frames in (FRAMES, FRAMES[::-1])]
    place.write_text(f"<!DOCTYPE html><meta charset='utf-8'>{''.join(two)}", encoding="utf-8")
    browser.get(place.as_uri())
    first, second = browser.find_elements(By.CSS_SELECTOR, "input[type=range]")
    first.send_keys(Keys.LEFT)
    second.send_keys(Keys.LEFT)
    shown = [element.text for element in browser.find_elements(By.TAG_NAME, "p")]
    assert shown == ["first <frame>", "third"]
    assert 'what "moves"' in browser.find_element(By.TAG_NAME, "label").text
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_a_picture_says_its_words_and_is_closed():
    figure, _ = plt.subplots()
    image = style.picture(figure, 'a "quoted" <word>')
    assert 'alt="a &quot;quoted&quot; &lt;word&gt;"' in image and "base64,UklGR" in image  # RIFF
    assert not plt.fignum_exists(figure.number)


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
        *[(template, style.MISSING) for template in ("{name} {nan:%}", "{unknown}")],
    ],
)
def test_a_template_is_filled_from_a_row(template, text):
    assert style.fill(template, ROW) == text
