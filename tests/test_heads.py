"""The heads of the published notebooks say what the published tables and scores say."""

import json
import re

import pandas as pd
import pytest

from helpers.core import metrics, paths
from helpers.core.tables import fill
from helpers.results.out_of_fold import PROTOCOLS, lead, read_folder, three_columns
from helpers.runs.findings import TITLE

RESULTS = paths.project_root() / "notebooks" / "results" / "elpv-quick"
TABLE = {path.stem: pd.read_csv(path) for path in RESULTS.glob("*.csv")}
RUN = TABLE["06_results"].set_index("model")
POINTS = TABLE["07_operating_points"].set_index(["model", "rule"])
CELLS = ["darts_v2", "darts_searched", "random_cell_0"]
CLASSICAL = ["lda", "rf", "lr", "svm"]
INSIDE = "test_within_auc"


def head(name):
    """Return the words at the head of a published notebook."""
    (path,) = paths.notebooks_root().glob(f"{name}_*.ipynb")
    outputs = [
        one for cell in json.loads(path.read_text())["cells"] for one in cell.get("outputs", ())
    ]
    pages = ["".join(one.get("data", {}).get("text/html", "")) for one in outputs]
    found = next(page for page in pages if TITLE in page)
    return " ".join(re.sub(r"<style.*?</style>|<[^>]+>", " ", found, flags=re.S).split())


def auc(model, column="test_auc", look="%"):
    return fill(f"{{{column}:{look}}}", RUN.loc[model])


def span(models, column="test_auc"):
    values = 100 * RUN.loc[models, column]
    return f"{values.min():.1f} to {values.max():.1f}"


SCORES = read_folder(paths.published_scores())
COLUMNS = three_columns(SCORES).set_index("model")


def ahead(protocol, model, other):
    """Return by how many points a model is ahead of another in the published scores."""
    points = [100 * end for end in lead(SCORES, protocol, model, other)[:3]]
    return "{:.1f} [{:.1f}, {:.1f}] points".format(*points)


def sentences():
    """Yield a notebook, and a part of a sentence at its head, from the published tables."""
    prior = f"the module alone, without a pixel, has {auc('module_prior')}"
    brightness = auc("lr_on_brightness")
    yield "02", f"test AUC {auc('lr')} against {brightness} ("
    others = f"{prior}; PatchCore, from good parts alone, has {auc('patchcore')}; brightness alone"
    classifiers = f"The 4 classifiers, with AUC {span(CLASSICAL)}, do not differ significantly"
    yield "02", f"{classifiers}; {others} has {brightness}."
    yield "02", f"Inside seen modules the classifiers have {span(CLASSICAL, INSIDE)}; the module"
    last = f"has {auc('patchcore', INSIDE)}; brightness alone has {auc('lr_on_brightness', INSIDE)}"
    yield "02", last
    more = ahead("groups", "lr", "lr_on_brightness")
    yield "02", f"On unseen modules it gains {more} (published scores of all 2,624 images, out of"
    yield "03", f"(LL): test AUC {auc('fbp')} against {auc('ll')} ("
    yield "03", f"(LL): test AUC {auc('cnn')} against {auc('ll')} ("
    seen, unseen = (ahead(protocol, "fbp", "ll") for protocol in PROTOCOLS)
    yield "03", f"leads one probe by {seen} on seen modules and {unseen} on unseen modules."
    more = 100 * (RUN.test_auc[CELLS].max() - RUN.test_auc["module_prior"])
    yield "05", f"test AUC {span(CELLS)}, at most {more:.1f} points more than the module alone"
    yield "05", f"modules they have {span(CELLS, INSIDE)}, fine-tuning {auc('fbp', INSIDE)}."
    more = f"{ahead('random', 'darts_v2', 'module_prior')} more than the module alone; on unseen"
    yield "05", fill("{seen_auc:%} on seen modules, " + more, COLUMNS.loc["darts_v2"])
    more = ahead("groups", "darts_v2", "lr_on_brightness").replace(" points", " more than")
    known = "ones {unseen_auc:%}, " + more + " brightness alone, and inside these {inside_auc:%} ("
    yield "05", fill(known, COLUMNS.loc["darts_v2"])
    yield "05", f"one: test AUC {auc('darts_searched')} against {auc('random_cell_0')} ("
    inside = auc("fbp", INSIDE, "%[]")
    yield "06", f"FBP has AUC {auc('fbp')}, {prior} and brightness has {brightness}; inside"
    yield "06", f"inside seen modules FBP has {inside}."
    mapped = TABLE["06_label_mappings"].AUC
    yield "06", f"the same scores of FBP have AUC {mapped[2]:.1f} instead of {mapped[0]:.1f}."
    clear, held = TABLE["06_comparison"].p_holm < 0.05, TABLE["06_claims"].verdict == "holds"
    yield "06", f"{clear.sum()} of 14 other models are significantly worse."
    yield "06", f"{held.sum()} of the report's {len(held)} claims hold"
    parts = TABLE["08_groups"].iloc[-1]
    yield "08", f"{parts.Pass} pass, {parts['Look again']} look again, {parts.Reject} reject."
    columns = "{seen_auc:%} on seen modules, {unseen_auc:%} on unseen ones, and {inside_auc:%}"
    yield "06", f"FBP has AUC {fill(columns, COLUMNS.loc['fbp'])} inside these ("
    yield "06", f"fine-tuning ({auc('fbp')}) beats the published cell ({auc('darts_v2')}) and the"
    yield "06", f"and the searched cell ({auc('darts_searched')}); "
    point = POINTS.loc[("fbp", "expected")]
    free, rejected = 100 * point.test_good_passed, 100 * point.test_overkill_rate
    looked = f"{100 - free - rejected:.1f} % after one, {rejected:.1f} % are rejected"
    passed = fill("{test_good_passed:%[]}", point)
    yield "07", f"{passed} % of the good parts pass without a look, {looked}"
    yield "07", fill("FBP promises {promised:up} % escapes on average; none of", point)
    alone = 100 * metrics.exact_interval(int(point.test_escapes), int(point.test_bad)).high
    high = 100 * point.test_escape_rate_high
    ends = f"{alone:.1f} % if parts are independent, to {high:.1f} % if"
    yield "07", f"none of {point.test_bad:.0f} bad test parts escaped (95 % interval to {ends}"


@pytest.mark.parametrize(("name", "words"), [*sentences()])
def test_a_sentence_at_a_notebook_s_head_is_computed_from_the_published_tables(name, words):
    assert words in head(name)
