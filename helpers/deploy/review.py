"""One page on which a person judges parts: those to look at again, and a few that passed.

The page mixes in a random share of the passed parts without a mark: only these tell how many bad
parts pass. Scores and verdicts would reveal them, so the page shows both after all parts are
judged. It shows the map of a part, which is clean if the part passes, after that part is judged.
The saved judgements are counted and become labels.
"""

import base64
import hashlib
import html
import json
import math
import os
from pathlib import Path
from string import Template
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage
from torch import Tensor
from tqdm.auto import tqdm

from helpers.core import files, metrics, seeding
from helpers.core.finding import Finding
from helpers.core.style import LABEL_NAMES, data_uri
from helpers.datasets.decoding import read_image
from helpers.datasets.named import LABEL_WORDS, resolved
from helpers.deploy.description import VERDICTS
from helpers.deploy.predictor import TrainedModel
from helpers.explain.maps import COLOURS, OVERLAY_ALPHA, Scale, share_of
from helpers.training.patchcore import PatchCoreNetwork

PASS, LOOK_AGAIN, REJECT = VERDICTS
AUDIT, SUSPECT = "audit", "suspect label"
REASONS = [LOOK_AGAIN, AUDIT, REJECT, SUSPECT]  # why a part is on the page
COLUMNS = ["file", "path", "group", "label", "remark"]  # of parts to judge
SAVED = ["path", "group", "drawn", "judgement", "before_scores", "passed"]  # columns of judgements
LABELS = [*LABEL_NAMES.values()]  # a judgement may also be "unsure", or missing
KNOWN_LABELS = [*LABEL_WORDS, np.nan]  # in a LABELS_CSV
LARGEST_PX = 1000  # of an image's longer side, about what a screen shows
TEXTURE = "PatchCore sees texture, not position, geometry or the image's edge."


def suspects_of(path: Path) -> pd.DataFrame:
    """Return the images of a `labels_to_check.csv`, with `COLUMNS`."""
    frame = files.load_csv(path, ("path", "label"), text=("label", "group", "reason"))
    label = frame.label.map(LABEL_WORDS).map(LABEL_NAMES)
    checks = {"path {path!r} or label {label!r} is unknown": frame.path.isna() | label.isna()}
    files.refuse_marked(path, frame, checks)
    frame = frame.assign(label=label, file=[str(path.parent / name) for name in frame.path])
    return frame.rename(columns={"reason": "remark"}).reindex(columns=COLUMNS)


def chosen(
    judged: pd.DataFrame, audit_share: float, seed: int, rejects: bool = False
) -> pd.DataFrame:
    """Return the parts for a person; `drawn` says why each is there, `passed` how many passed.

    The parts to look at again are mixed with a share of those that passed, at least one if the
    share is not 0, and with the `rejects`; then come the images with a `label`, which is suspect.
    """
    stream = seeding.numpy_stream(seed, "review")
    lot, suspects = judged[judged.label.isna()], judged[judged.label.notna()]
    again, passed = lot[lot.verdict == LOOK_AGAIN], lot[lot.verdict == PASS]
    count = math.ceil(round(audit_share * len(passed), 9))
    audited = passed.iloc[stream.permutation(len(passed))[:count]]
    rejected = lot[(lot.verdict == REJECT) & rejects].assign(drawn=REJECT)
    mixed = pd.concat([again.assign(drawn=LOOK_AGAIN), audited.assign(drawn=AUDIT), rejected])
    mixed = mixed.iloc[stream.permutation(len(mixed))]
    parts = pd.concat([mixed, suspects.assign(drawn=SUSPECT)], ignore_index=True)
    return parts.assign(passed=len(passed))


def page(model: TrainedModel, parts: pd.DataFrame, **about: Any) -> str:
    """Return the page of some parts, the output of `chosen`, as self-contained HTML.

    `about` has its `title`, the model in words (`described`), and the CSV's name (`saved_as`).
    """
    names = [*COLUMNS[1:], "drawn", "score", "verdict", "why", "passed"]
    known = parts[names].astype(object).where(parts[names].notna(), "").to_dict("records")
    maps = tqdm(parts.file, "maps", unit="img", disable=None)
    shown = [row | pictures(model, f, row["score"]) for row, f in zip(known, maps, strict=True)]
    content = about | {"parts": shown, "digest": files.fingerprint(shown), "scale": model.scale}
    colours = matplotlib.colormaps[COLOURS](np.linspace(0, 1, 64)[None], bytes=True)
    content["bar"] = _uri(Image.fromarray(colours), "png")
    content["caveat"] = TEXTURE if isinstance(model.network, PatchCoreNetwork) else ""
    # nothing but "<" can end a script of HTML
    data = json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")
    text = {"title": html.escape(about["title"]), "data": data}
    for kind in ("html", "js", "css"):
        text[kind] = Path(__file__).with_name(f"review.{kind}").read_text(encoding="utf-8")
    for kind in ("js", "css"):  # a Content-Security-Policy knows the script and the style by it
        digest = hashlib.sha256(text[kind].encode()).digest()
        text[f"{kind}_digest"] = base64.b64encode(digest).decode()
    return Template(text["html"]).substitute(text)


def pictures(model: TrainedModel, file: str, score: float) -> dict[str, Any]:
    """Return data URIs of a part's `image` and `map` ("": clean), if it is `reduced`, and the
    `mean` of its pixels from .05 to .95, which the page's contrast keeps."""
    facts = model.facts
    image = Image.fromarray(read_image(Path(file), facts.full_scale_bits or 8, facts.mask).pixels)
    width, height = image.size
    image.thumbnail((LARGEST_PX, LARGEST_PX), Image.Resampling.LANCZOS)
    square, *_ = model.read(file)
    assert square is not None  # what has a score can be read
    heat = model.bad_map(square, score)
    overlay = overlay_of(heat, image.size if facts.fit == "pad" else (1, 1), model.scale)
    reduced = "" if image.size == (width, height) else f"reduced from {width} x {height} pixels"
    drawn = {"image": _uri(image, "jpeg", quality=92), "reduced": reduced}
    drawn["map"] = _uri(overlay, "png") if heat.any() else ""
    return drawn | {"mean": float(np.clip(np.asarray(image).mean() / 255, 0.05, 0.95))}


def overlay_of(heat: Tensor, sides: tuple[int, int], scale: Scale) -> Image.Image:
    """Return a map (S, S) as `maps.draw_overlay` draws it, without the padding of an image.

    `sides` are proportional to width and height of the image.
    """
    share = share_of(heat, scale)
    width, height = (max(1, round(len(share) * side / max(sides))) for side in sides)
    left, top = (len(share) - width) // 2, (len(share) - height) // 2
    share = share[top : top + height, left : left + width]
    colours = matplotlib.colormaps[COLOURS](share, alpha=OVERLAY_ALPHA * np.sqrt(share), bytes=True)
    above = share > 0
    colours[above & ~ndimage.binary_erosion(above, border_value=1)] = 255  # white
    return Image.fromarray(colours).quantize(method=Image.Quantize.FASTOCTREE)


def _uri(picture: Image.Image, form: str, **options: Any) -> str:
    return data_uri(lambda file: picture.save(file, form, **options), form)


def read_judgements(path: Path) -> pd.DataFrame:
    """Load the CSV that a page has saved; ArtifactError names a line that no page has saved."""
    words = [*LABELS, "unsure", np.nan]
    frame = files.load_csv(path, SAVED, text=SAVED)
    known = {"judgement": words, "before_scores": words, "drawn": REASONS}
    checks = {f"{name} {{{name}!r}} is unknown": ~frame[name].isin(known[name]) for name in known}
    checks["passed {passed!r} is not a number"] = ~frame.passed.astype(str).str.isdecimal()
    again = frame.path.isna() | frame.duplicated(["path", "drawn"])
    checks["path {path!r} is missing or named again"] = again
    files.refuse_marked(path, frame, checks, "; give the CSV as the page saved it")
    if frame.empty:
        raise files.ArtifactError(f"{path} names no part")
    return frame


def escapes(judged: pd.DataFrame) -> Finding:
    """Return the share of bad parts among the passed ones, by judgements of the audited parts
    before any score was shown. The exact 95 % interval counts undecided parts as good at its lower
    end, and as bad at its upper end."""
    said = judged.before_scores[judged.drawn == AUDIT]
    n, n_bad, undecided = len(said), int((said == "bad").sum()), int((~said.isin(LABELS)).sum())
    what = f"bad share of what passed ({n} audited, {n_bad} bad, {undecided} undecided)"
    if n == 0:
        return Finding(what, np.nan)
    rate, low, _ = metrics.exact_interval(n_bad, n)
    return Finding(what, rate, low, metrics.exact_interval(n_bad + undecided, n).high)


def with_reviews(judged: pd.DataFrame, labels_csv: Path | None = None) -> pd.DataFrame:
    """Return a LABELS_CSV with the judgements as its column `review`; "unsure" gives no label.

    The rows and labels of an older `labels_csv` are kept: a label of a review is used for training
    only, not for evaluation (`members.sides`).
    """
    decided = judged[judged.judgement.isin(LABELS)].drop_duplicates("path")
    new = decided[["path", "group"]].assign(review=decided.judgement)
    if labels_csv is None:
        return new.drop(columns="group")
    old = files.load_csv(labels_csv, ("path",), ("label", "review", "group"))
    said = old.filter(["label", "review"])
    checks = {f"{name} {{{name}!r}} is unknown": ~said[name].isin(KNOWN_LABELS) for name in said}
    checks["path {path!r} is missing or named again"] = old.path.isna() | old.path.duplicated()
    files.refuse_marked(labels_csv, old, checks)
    old = old.drop(columns="id", errors="ignore")  # that of a new image is not known here
    is_whole = new.path.map(os.path.isabs)
    new["path"] = new.path.mask(is_whole, new.path.map(os.path.realpath))
    known = old.path  # as the new ones are written, so that no image is named twice
    if is_whole.any():
        known = resolved(known, new.path[is_whole], labels_csv.parent)
    slashed = ~known.isin(new.path) & known.str.replace("\\", "/").isin(new.path)
    files.refuse_marked(labels_csv, old, {"path {path!r}: write / instead of \\": slashed})
    review = known.map(new.set_index("path").review).astype(object)
    old["review"] = review.fillna(old.review) if "review" in old else review
    added = new[~new.path.isin(known)].reindex(columns=old.columns)
    return pd.concat([old, added], ignore_index=True)
