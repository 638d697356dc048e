"""The browser of parts: widgets if there is a front end, else a figure of the first page."""

import io
from types import SimpleNamespace

import IPython
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from helpers.explain import browser
from helpers.explain.maps import part_title
from helpers.explain.selection import in_order


@pytest.mark.parametrize(
    ("metadata", "expected"), [({"cellId": "a1"}, True), ({}, False), (None, False)]
)
def test_a_front_end_is_known_by_the_cells_id_in_its_request(monkeypatch, metadata, expected):
    kernel = SimpleNamespace(get_parent=lambda channel: {"metadata": metadata})
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=kernel))
    assert browser.has_front_end() is expected
    monkeypatch.setattr(IPython, "get_ipython", SimpleNamespace)  # as in a terminal
    assert browser.has_front_end() is False


def test_headlessly_the_first_page_is_a_closed_figure_of_the_worst_mistakes(run_paths, subject):
    figure = browser.browse(run_paths, "cnn")
    assert isinstance(figure, Figure) and not plt.get_fignums()
    first = in_order(subject.parts)[: browser.PER_PAGE]
    titles = [ax.get_title() for ax in figure.axes[: browser.PER_PAGE]]
    for title, part in zip(titles, first.itertuples(), strict=True):
        verdict = "right" if part.called == part.label else "wrong"
        assert title == f"{part_title(part)}\ncalled {('good', 'bad')[part.called]}: {verdict}"
    assert figure.get_suptitle() == "two-layer CNN: worst mistakes first"
    without = browser.browse(run_paths)  # a model without a network keeps its own scores
    assert without.get_suptitle() == "SVM, maps of two-layer CNN: worst mistakes first"
    scores = {ax.get_title().split()[3] for ax in without.axes[: browser.PER_PAGE]}
    assert scores <= {"0.250", "0.750"}


def test_the_choice_of_widgets_can_be_forced(run_paths, monkeypatch):
    monkeypatch.setattr(browser, "has_front_end", lambda: True)
    assert isinstance(browser.browse(run_paths, "cnn", widgets=False), Figure)
    box = browser.browse(run_paths, "cnn")
    assert "application/vnd.jupyter.widget-view+json" in box._repr_mimebundle_()
    assert not plt.get_fignums()  # a notebook would show every open figure


@pytest.mark.parametrize(("label", "word"), [(0, "good"), (1, "bad")])
def test_maps_can_be_asked_for_one_class(subject, label, word):
    parts = in_order(subject.parts)[:3]
    figure = browser.page(subject, parts, label)
    titles = [ax.get_title() for ax in figure.axes[browser.PER_PAGE :][:3]]
    assert all(title.startswith(f'map for "{word}"') for title in titles)
    heat = subject.maps(parts.id, label)[0].numpy()
    drawn = figure.axes[browser.PER_PAGE].images[0].get_array()
    np.testing.assert_allclose(drawn * heat.max(), heat, atol=1e-6)


def test_every_choice_shows_other_parts_from_the_first_page_on(run_paths):
    view = browser.Browser(run_paths, "cnn")
    first, picture = view.on_page.id.tolist(), view.image.value
    assert Image.open(io.BytesIO(picture)).format == "PNG"
    assert view.page.max == 8 and len(view.parts) == 40
    assert first == view.parts.id.tolist()[: browser.PER_PAGE]
    view.page.value = 8
    assert view.image.value != picture and not set(view.on_page.id) & set(first)
    view.label.value = 1
    assert view.page.value == 1 and view.page.max == 4 and set(view.on_page.label) == {1}
    view.order.value = "lowest score first"
    assert view.on_page.defect_score.is_monotonic_increasing
    before = view.image.value
    view.map_of.value = 0
    assert view.image.value != before


def test_the_chosen_model_is_opened_with_its_own_scores(run_paths):
    view = browser.Browser(run_paths)
    assert view.model.value == "svm" and set(view.parts.defect_score) == {0.25, 0.75}
    assert view.text.value.startswith("SVM, maps of two-layer CNN; 40 labelled")
    view.model.value = "cnn"
    assert view.text.value.startswith("two-layer CNN; 40 labelled")
    assert not set(view.parts.defect_score) & {0.25, 0.75}


def test_a_label_without_parts_is_said_and_not_an_error(run_paths, monkeypatch):
    view = browser.Browser(run_paths, "cnn")
    monkeypatch.setattr(browser, "in_order", lambda parts, *_: parts[:0])
    view.label.value = 1
    assert "No part has this label." in view.text.value and view.image.value == b""
