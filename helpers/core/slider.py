"""A slider for saved pages: a small script in the output shows one frame at a time."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.display import HTML
    from matplotlib.figure import Figure

DPI = 72  # of a frame's picture: a slider holds many
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

    image = tag(lambda file: figure.savefig(file, format="webp", dpi=DPI), words)
    plt.close(figure)
    return image


def tag(save: Callable[[IO[bytes]], None], words: str) -> str:
    """Return a picture, which `save` writes as webp, as an HTML image with these `words`."""
    buffer = io.BytesIO()
    save(buffer)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(words)}" src="data:image/webp;base64,{data}">'
