"""The slider of saved pages, in a browser; without a script the first frame stays."""

import matplotlib.pyplot as plt

from helpers.core import slider

FRAMES = ["<p>first &lt;frame&gt;</p>", "<p>second</script></p>", "<p>third</p>"]


def test_without_a_script_the_frame_to_start_with_is_shown_alone():
    page = slider.slider(FRAMES, 1, "step").data
    before, script = page.split("<script>", 1)
    assert FRAMES[1] in before and "third" not in before and "range" not in before
    assert script.count("</script>") == 1  # no frame ends it


def test_moving_it_shows_another_frame(browser, tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    place = tmp_path / "page.html"
    two = [slider.slider(frames, 1, 'what "moves"').data for frames in (FRAMES, FRAMES[::-1])]
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
    image = slider.picture(figure, 'a "quoted" <word>')
    assert 'alt="a &quot;quoted&quot; &lt;word&gt;"' in image and "base64,UklGR" in image  # RIFF
    assert not plt.fignum_exists(figure.number)
