"""The browser of parts: every choice changes what is shown."""

from types import SimpleNamespace

import IPython
import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers.explain import browser
from helpers.explain.maps import part_title
from helpers.explain.selection import in_order


@pytest.fixture
def view(run_paths):
    """The browser's widgets by name, and `titles` of the parts that it shows."""
    shown = browser.browse(run_paths, "cnn")
    widgets = {widget.description: widget for widget in shown.children[:-1]}
    return SimpleNamespace(**widgets, titles=lambda: titles_of(shown.result), shown=shown)


def titles_of(figure):
    return [ax.get_title() for ax in figure.axes[: browser.PER_PAGE]]


@pytest.mark.parametrize(
    ("metadata", "expected"), [({"cellId": "a1"}, True), ({}, False), (None, False)]
)
def test_a_front_end_is_known_by_the_cells_id_in_its_request(monkeypatch, metadata, expected):
    kernel = SimpleNamespace(get_parent=lambda channel: {"metadata": metadata})
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=kernel))
    assert browser.has_front_end() is expected
    monkeypatch.setattr(IPython, "get_ipython", SimpleNamespace)  # as in a terminal
    assert browser.has_front_end() is False


@pytest.mark.parametrize(("label", "word"), [(0, "good"), (1, "bad")])
def test_maps_can_be_asked_for_one_class(subject, label, word):
    parts = in_order(subject.parts)[:3]
    figure = browser.draw_page(subject, parts, label)
    titles = [ax.get_title() for ax in figure.axes[browser.PER_PAGE :][:3]]
    assert all(title.startswith(f'map for "{word}"') for title in titles)
    heat = subject.maps(parts.id, label)[0].numpy()
    drawn = figure.axes[browser.PER_PAGE].images[0].get_array()
    np.testing.assert_allclose(drawn * heat.max(), heat, atol=1e-6)


def test_every_choice_changes_the_page_that_is_shown(view, subject):
    first = view.titles()
    for title, part in zip(first, in_order(subject.parts)[:5].itertuples(), strict=True):
        verdict = "right" if part.called == part.label else "wrong"
        assert title == f"{part_title(part)}\ncalled {('good', 'bad')[part.called]}: {verdict}"
    assert view.page.max == 8 and not plt.get_fignums()  # a notebook would show every open figure
    view.page.value = 8
    assert not set(view.titles()) & set(first)
    view.label.value = 0  # which has four pages: the last is shown
    good = in_order(subject.parts, 0)
    assert [title.split("\ncalled")[0] for title in view.titles()] == [
        part_title(part) for part in good[15:].itertuples()
    ]
    view.page.value = 1
    view.order.value = "lowest score first"
    lowest = in_order(subject.parts, 0, "lowest score first").iloc[0]
    assert view.titles()[0].startswith(part_title(lowest))
    view.map_of.value = 1
    assert view.shown.result.axes[browser.PER_PAGE].get_title().startswith('map for "bad"')


def test_the_best_model_is_first_and_each_has_its_own_scores(run_paths, capsys):
    shown = browser.browse(run_paths)
    assert shown.children[0].value == "svm"
    assert {title.split()[3] for title in titles_of(shown.result)} <= {"0.250", "0.750"}
    assert "SVM, maps of Two-layer CNN; 40 labelled" in capsys.readouterr().out
    shown.children[0].value = "cnn"
    assert not {title.split()[3] for title in titles_of(shown.result)} & {"0.250", "0.750"}
    assert "Two-layer CNN; 40 labelled" in capsys.readouterr().out
