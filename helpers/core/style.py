"""One style for what notebooks show: figures, numbers, tables, pages with a slider.

It can be read in gray and by colour-blind people. Each column of a table is a template, filled with
the values of a row:

    style.filled(results, {"Model": "{title}", "Test AUC": "{test_auc:%[]}"})

A template is one of `str.format`, with these formats besides Python's own:

    {auc:%}    a fraction in per cent: 91.3
    {auc:%[]}  with its interval, from the columns auc_low and auc_high: 91.3 [89.0, 93.2]
    {gain:+%[]} a difference in points: +0.8 [+0.1, +1.5]; {gain:+%} without its interval
    {rate:up}  a promised rate in per cent, rounded up: 1.1
    {p:p}      a p-value: <.001, .013
    {n:n}      a large number: 3.4 M, 120 k, 56
    {s:time}   a duration in seconds: 42 s, 2 h 5 min
"""

from __future__ import annotations

import base64
import decimal
import hashlib
import html
import io
import json
import math
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from IPython.display import HTML
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from pandas.io.formats.style import Styler

LABEL_NAMES = {0: "good", 1: "bad"}
SIDES = {"train": "training", "val": "validation", "test": "test"}  # of a split
OUT_OF_FOLD = "out-of-fold"  # scores of all images, in a run without a test set
PALETTE = {"good": "#0173b2", "bad": "#de8f05"}  # seaborn's "colorblind" blue and orange
MISSING = "-"  # shown in a cell if one of its values is missing
SIGNIFICANT = 0.05  # p-values below it are called significant
SMOKE_NOTE = "smoke preset: wiring only, the numbers mean nothing"
FRAME_DPI = 72  # of a frame's picture: a slider holds many
# Only the script holds all frames: a page that runs none (GitHub's) shows the start frame alone.
_PAGE = """<div id="{key}"><div>{shown}</div></div>
<script>
(() => {{
  const place = document.getElementById("{key}"), frames = {frames};
  const range = document.createElement("input"), word = document.createElement("label");
  Object.assign(range, {{type: "range", min: 0, max: frames.length - 1, value: {start}}});
  range.style.width = "60%";
  word.append({what} + " ", range);
  range.oninput = () => {{ place.lastElementChild.innerHTML = frames[range.value]; }};
  place.prepend(word);
}})();
</script>"""


def use_style() -> None:
    """Set the look of all figures and tables; call it once in a notebook."""
    import matplotlib.pyplot as plt  # these take a second: only if pictures are drawn
    import seaborn as sns

    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind")
    plt.rcParams |= {"figure.dpi": 100, "savefig.dpi": 150, "figure.constrained_layout.use": True}
    plt.rcParams["text.parse_math"] = False  # a name may hold dollar signs
    pd.set_option("display.html.use_mathjax", False, "styler.html.mathjax", False)


def folded(title: str, content: pd.DataFrame | str) -> HTML:
    """Return a table or a text that opens with a click on its title; all text is escaped."""
    from IPython.display import HTML  # slow to import: only notebooks need it

    if isinstance(content, str):
        body = paragraph(content).data
    else:
        body = content.to_html(index=False, border=0, justify="left")
    return HTML(f"<details><summary>{html.escape(title)}</summary>{body}</details>")


def paragraph(*texts: str) -> HTML:
    """Return each text as a paragraph, escaped; it wraps, unlike a printed line."""
    from IPython.display import HTML

    return HTML("".join(f"<p>{html.escape(text, quote=False)}</p>" for text in texts))


def told_apart(*values: float) -> list[str]:
    """Return numbers with three significant digits, or with as many as tell them apart."""
    for digits in range(3, 18):  # 17 tell any two apart
        texts = [f"{value:.{digits}g}" for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts


def percent(fraction: float) -> str:
    """Return a fraction as the tables give it, in per cent without the sign: "91.3"."""
    return f"{100 * fraction:.1f}"


def percent_up(fraction: float) -> str:
    """Return a promised rate in per cent with two digits, rounded up: "1.1" for 1.04 %."""
    digits = decimal.Context(prec=2, rounding=decimal.ROUND_CEILING)
    return f"{float(digits.create_decimal(f'{100 * fraction:.9g}')):g}"


def with_interval(value: float, low: float, high: float, sign: str) -> str:
    """Return a fraction in per cent with its interval: "86.6 [83.1, 89.7]"; "+0.8" without."""
    text, start, end = (f"{100 * number:{sign}.1f}" for number in (value, low, high))
    return text if math.isnan(low) or low == high else f"{text} [{start}, {end}]"


def duration(seconds: float) -> str:
    """Return a time in one unit or two: "<1 s", "42 s", "2 h 5 min"."""
    if seconds < 1:
        return "<1 s"
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def evenly(n: int, most: int) -> np.ndarray:
    """Return places from 0 to n - 1 at about equal distances: `most` of them, or all n if fewer."""
    return np.linspace(0, n - 1, min(n, most)).round().astype(int)


def percent_axis(axis: Axis) -> None:
    """Number the axis of a fraction in per cent, without zeros at the end: 70, not 70.0 or 72.5."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
    axis.set_major_formatter(lambda share, _: f"{100 * share:.6g}")


def draw_image(ax: Axes, pixels: np.ndarray, title: str = "", size: float = 9) -> None:
    """Draw an image (H, W), (H, W, 1) or (H, W, 3) with values from 0 to 255, without an axis."""
    if np.asarray(pixels).dtype.kind == "f" and 0 < pixels.max() < 3:
        raise ValueError(f"the largest pixel is {pixels.max():.3g}: scale the image to 0 to 255")
    ax.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255)
    ax.set_title(title, fontsize=size)
    ax.set_axis_off()


def draw_images(
    axes: np.ndarray, images: np.ndarray, titles: Iterable[str], size: float = 9
) -> None:
    """Draw images with their titles row by row; axes that are left over stay empty."""
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, pixels, title in zip(axes.flat, images, titles, strict=False):
        draw_image(ax, pixels, title, size)


def styled(table: pd.DataFrame, caption: str, smoke: bool = False, wrap: bool = False) -> Styler:
    """Return a table with its caption above it, all text escaped; `wrap` breaks its cells."""
    caption = f"{SMOKE_NOTE.upper()}. {caption}" if smoke else caption
    space = "normal" if wrap else "nowrap"
    styles = [
        {"selector": "caption", "props": "caption-side: top; text-align: left; padding: 4px 0"},
        {"selector": "td, th", "props": f"text-align: left; white-space: {space}"},
    ]
    style = table.style.format(escape="html", thousands=",", na_rep="").hide(axis="index")
    style = style.format_index(escape="html", axis="columns").set_table_styles(styles)
    return style.set_caption(html.escape(caption))


class _Value(NamedTuple):
    value: Any
    low: float
    high: float


class _Formatter(string.Formatter):
    def get_field(self, field_name: str, args: Any, kwargs: Any) -> tuple[_Value, str]:
        """Return the value of a column with its ends; raise LookupError if it is missing."""
        value, low, high = (kwargs.get(field_name + end) for end in ("", "_low", "_high"))
        if pd.isna(value):
            raise LookupError(field_name)
        return _Value(value, *(float("nan") if v is None else v for v in (low, high))), field_name

    def format_field(self, value: _Value, format_spec: str) -> str:
        """Return a value as text, in one of the formats that the module's docstring lists."""
        kind, sign = format_spec.lstrip("+"), "+" if format_spec.startswith("+") else ""
        number = value.value
        if kind == "%[]":
            return with_interval(*value, sign=sign)
        if kind == "%":
            return f"{round(100 * number, 1) + 0.0:{sign}.1f}"  # never -0.0
        if kind == "up":
            return percent_up(number)
        if kind == "p":
            return "<.001" if number < 0.001 else f"{number:.3f}".removeprefix("0")
        if kind == "n" and number >= 1e3:
            return f"{number / 1e6:.1f} M" if number >= 1e6 else f"{number / 1e3:.0f} k"
        if kind == "n":
            return f"{number:.0f}"
        return duration(number) if kind == "time" else format(number, format_spec)


def fill(template: str, row: Mapping[str, Any]) -> str:
    """Return a template filled with the values of a row, `MISSING` if one is missing."""
    try:
        return _Formatter().vformat(template, (), row)
    except LookupError:
        return MISSING


def filled(
    table: pd.DataFrame, columns: Mapping[str, str], drop_empty: bool = False
) -> pd.DataFrame:
    """Return a table of text; `columns` maps each title to its template.

    `drop_empty` leaves out the columns without any value.
    """
    rows = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    lines = [{title: fill(text, row) for title, text in columns.items()} for row in rows]
    text = pd.DataFrame(lines, columns=list(columns))
    return text.loc[:, (text != MISSING).any()] if drop_empty else text


def shown(
    table: pd.DataFrame, columns: Mapping[str, str], caption: str = "", smoke: bool = False
) -> Styler:
    """Return `filled` for a notebook without empty columns, with a caption above it."""
    return styled(filled(table, columns, drop_empty=True), caption, smoke, wrap=True)


def slider(frames: Sequence[str], start: int, what: str) -> HTML:
    """Return a frame (HTML) with a slider above it that shows the others; all text is escaped.

    Frame `start` is shown first; where no script runs, it is the only one.
    """
    from IPython.display import HTML

    texts = {"frames": json.dumps([*frames]), "what": json.dumps(what)}
    # "</script>" inside a text would end the script
    texts = {name: text.replace("<", "\\u003c") for name, text in texts.items()}
    key = f"slider-{hashlib.blake2b(texts['frames'].encode(), digest_size=6).hexdigest()}"
    return HTML(_PAGE.format(key=key, shown=frames[start], start=start, **texts))


def picture(figure: Figure, words: str) -> str:
    """Return a figure as an HTML image that says `words` where it cannot be seen, and close it."""
    import matplotlib.pyplot as plt

    image = tag(lambda file: figure.savefig(file, format="webp", dpi=FRAME_DPI), words)
    plt.close(figure)
    return image


def tag(save: Callable[[IO[bytes]], None], words: str) -> str:
    """Return a picture, which `save` writes as webp, as an HTML image with these `words`."""
    return f'<img alt="{html.escape(words)}" src="{data_uri(save, "webp")}">'


def data_uri(save: Callable[[IO[bytes]], None], form: str) -> str:
    """Return a picture, which `save` writes in a `form` such as "png", as a data URI."""
    buffer = io.BytesIO()
    save(buffer)
    return f"data:image/{form};base64,{base64.b64encode(buffer.getvalue()).decode()}"
