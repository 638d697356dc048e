"""TeX formulas of a Markdown text as pictures inside it: no script and no network to read them."""

from __future__ import annotations

import base64
import html
import io
import re

# a code span stays as it is; then a formula of its own, then one within a line, which no space
# parts from its dollars (prices are parted)
_PIECES = re.compile(
    r"(?P<code>`+[^`]*`+)|\$\$(?P<block>.+?)\$\$|\$(?P<line>[^\s$](?:[^$\n]*[^\s$])?)\$(?!\d)", re.S
)
_DATED = re.compile(rb"<metadata>.*?</metadata>", re.DOTALL)  # equal formulas, equal files
SIZE_PX = 16  # of the letters, as the text around them


def as_pictures(markdown: str) -> str:
    """Replace `$$...$$` and `$...$` by SVG images drawn by matplotlib's mathtext.

    The TeX stays as the image's description. What mathtext does not know stays as it is.
    """
    return _PIECES.sub(_replacement, markdown)


def _replacement(found: re.Match[str]) -> str:
    if found["code"]:
        return found[0]
    tex = " ".join((found["block"] or found["line"]).split())
    try:
        picture, depth_px = _draw(tex.replace(r"\frac", r"\dfrac") if found["block"] else tex)
    except ValueError:  # mathtext knows a part of TeX
        return found[0]
    described = html.escape(tex, quote=True)
    style = f"vertical-align:-{depth_px:.1f}px" if found["line"] else "display:block;margin:1em 0"
    return f'<img class="formula" alt="{described}" style="{style}" src="{picture}">'


def _draw(tex: str) -> tuple[str, float]:
    """An SVG as a data URI, and how far it reaches below the line, in px."""
    import matplotlib
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import math_to_image

    buffer = io.BytesIO()
    with matplotlib.rc_context({"mathtext.fontset": "cm", "svg.hashsalt": tex}):
        points = SIZE_PX * 0.75  # CSS: 96 px are 72 points
        depth = math_to_image(
            f"${tex}$", buffer, prop=FontProperties(size=points), dpi=72, format="svg"
        )
    drawing = _DATED.sub(b"", buffer.getvalue())
    content = base64.b64encode(drawing).decode()
    return f"data:image/svg+xml;base64,{content}", depth / 0.75
