"""The browser of parts: widgets where there is a front end, a still page where there is none."""

import io
from types import SimpleNamespace

import IPython
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from helpers.explain import browser
from helpers.explain import shown as explain
from tests.explain_run import write_run

PARTS = pd.DataFrame(
    [
        ("g1", 0, 0.1),
        ("g2", 0, 0.9),
        ("g3", 0, 0.7),
        ("b1", 1, 0.95),
        ("b2", 1, 0.05),
        ("b3", 1, 0.6),
    ],
    columns=["id", "label", "defect_score"],
)


@pytest.fixture(autouse=True)
def _closed():
    yield
    assert not plt.get_fignums()  # a notebook would show every open figure


@pytest.fixture
def run_paths(home, parts_folder):
    return write_run(parts_folder)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("worst mistakes first", ["b2", "g2", "g3", "b3", "g1", "b1"]),
        ("highest score first", ["b1", "g2", "g3", "b3", "g1", "b2"]),
        ("lowest score first", ["b2", "g1", "b3", "g3", "g2", "b1"]),
        ("least certain first", ["b3", "g3", "g1", "g2", "b1", "b2"]),
    ],
)
def test_orders_by_hand(order, expected):
    # Called bad from 0.5 on: b2 (0.95 off), g2 (0.9) and g3 (0.7) are wrong; of the right ones b3
    # is 0.4 off. 0.9 and 0.1 are equally far from 0.5 and stay in the table's order.
    assert browser.in_order(PARTS, 0.5, order=order).id.tolist() == expected
    bad = browser.in_order(PARTS, 0.5, 1, order)
    assert bad.id.tolist() == [name for name in expected if name.startswith("b")]
    assert bad.called.tolist() == [int(name != "b2") for name in bad.id]


def test_mistakes_come_before_right_calls_that_are_farther_from_their_label():
    parts = pd.DataFrame({"id": ["b", "g"], "label": [1, 0], "defect_score": [0.35, 0.4]})
    assert browser.in_order(parts, 0.3).id.tolist() == ["g", "b"]


def test_an_unknown_order_is_named():
    with pytest.raises(ValueError, match="order 'best' is not one of: worst mistakes first, high"):
        browser.in_order(PARTS, 0.5, order="best")


@pytest.mark.parametrize(
    ("metadata", "expected"), [({"cellId": "a1"}, True), ({}, False), (None, False)]
)
def test_a_front_end_is_known_by_the_cells_id_in_its_request(monkeypatch, metadata, expected):
    kernel = SimpleNamespace(get_parent=lambda channel: {"metadata": metadata})
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=kernel))
    assert browser.has_front_end() is expected


def test_a_script_and_a_terminal_have_no_front_end(monkeypatch):
    assert browser.has_front_end() is False
    monkeypatch.setattr(IPython, "get_ipython", SimpleNamespace)
    assert browser.has_front_end() is False


def test_headlessly_the_first_page_is_a_closed_figure_of_the_worst_mistakes(run_paths):
    figure = browser.browse(run_paths, "cnn")
    assert isinstance(figure, Figure)
    shown = explain.open_model(run_paths, "cnn")
    first = browser.in_order(shown.parts, shown.threshold)[: browser.PER_PAGE]
    titles = [ax.get_title() for ax in figure.axes[: browser.PER_PAGE]]
    for title, part in zip(titles, first.itertuples(), strict=True):
        verdict = "right" if part.called == part.label else "wrong"
        word = ("good", "bad")[part.called]
        assert title == f"{explain.part_title(part)}\ncalled {word}: {verdict}"
    assert figure.get_suptitle() == "two-layer CNN: worst mistakes first"


def test_the_still_page_of_a_model_without_a_network_shows_its_own_scores(run_paths):
    figure = browser.browse(run_paths)
    assert figure.get_suptitle() == "SVM, maps of two-layer CNN: worst mistakes first"
    scores = {ax.get_title().split()[3] for ax in figure.axes[: browser.PER_PAGE]}
    assert scores <= {"0.250", "0.750"}


def test_the_choice_of_widgets_can_be_forced(run_paths, monkeypatch):
    monkeypatch.setattr(browser, "has_front_end", lambda: True)
    assert isinstance(browser.browse(run_paths, "cnn", widgets=False), Figure)
    box = browser.browse(run_paths, "cnn")
    assert "application/vnd.jupyter.widget-view+json" in box._repr_mimebundle_()


def test_maps_can_be_asked_for_one_class(run_paths):
    shown = explain.open_model(run_paths, "cnn")
    parts = browser.in_order(shown.parts, shown.threshold)[:3]
    for map_of, word in (("good", "good"), ("bad", "bad")):
        figure = browser.page(shown, parts, map_of)
        titles = [ax.get_title() for ax in figure.axes[browser.PER_PAGE :][:3]]
        assert all(title.startswith(f'map for "{word}"') for title in titles)
        heat = shown.maps(parts.id, ("good", "bad").index(word))[0].numpy()
        drawn = figure.axes[browser.PER_PAGE].images[0].get_array()
        np.testing.assert_allclose(drawn * heat.max(), heat, atol=1e-6)
        plt.close(figure)


def test_every_choice_shows_other_parts_from_the_first_page_on(run_paths):
    view = browser.Browser(run_paths, "cnn")
    first, picture = view.on_page.id.tolist(), view.image.value
    assert Image.open(io.BytesIO(picture)).format == "PNG"
    assert view.page.max == 8 and len(view.parts) == 40
    assert first == view.parts.id.tolist()[: browser.PER_PAGE]
    view.page.value = 8
    assert view.image.value != picture and not set(view.on_page.id) & set(first)
    view.label.value = "bad"
    assert view.page.value == 1 and view.page.max == 4 and set(view.on_page.label) == {1}
    view.order.value = "lowest score first"
    assert view.on_page.defect_score.is_monotonic_increasing
    before = view.image.value
    view.map_of.value = "good"
    assert view.image.value != before


def test_a_model_without_a_network_keeps_its_own_scores(run_paths):
    view = browser.Browser(run_paths)
    assert view.model.value == "svm" and set(view.parts.defect_score) == {0.25, 0.75}
    assert "the maps are those of two-layer CNN" in view.text.value
    view.model.value = "cnn"
    assert "the maps are those of" not in view.text.value
    assert not set(view.parts.defect_score) & {0.25, 0.75}


def test_a_label_without_parts_is_said_and_not_an_error(run_paths):
    view = browser.Browser(run_paths, "cnn")
    shown = view._open("cnn")
    only_good = shown.parts[shown.parts.label == 0]
    object.__setattr__(shown, "parts", only_good)
    view.label.value = "bad"
    assert "No part of this label." in view.text.value and view.image.value == b""
