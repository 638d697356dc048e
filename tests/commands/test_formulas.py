"""Formulas become pictures in the text; what is no formula stays."""

import base64
import re

from helpers.commands import formulas


def test_formulas_become_svg_images_that_keep_their_tex_as_description():
    text = formulas.as_pictures("the weights $w$, and\n\n$$\\frac{a'}{b}$$\n")
    images = re.findall(r'<img class="formula" alt="([^"]+)" style="([^"]+)" src="([^"]+)">', text)
    assert [alt for alt, _, _ in images] == ["w", "\\frac{a&#x27;}{b}"]
    assert "vertical-align" in images[0][1] and "display:block" in images[1][1]
    for _, _, source in images:
        kind, _, content = source.partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert b"<svg" in base64.b64decode(content)


def test_code_prices_and_unknown_commands_stay_as_they_are():
    text = "`$x$` costs 5 $ or 6 $, and $\\nosuchcommand{3}$"
    assert formulas.as_pictures(text) == text


def test_equal_formulas_give_equal_files():
    assert formulas.as_pictures("$w$") == formulas.as_pictures("$w$")
