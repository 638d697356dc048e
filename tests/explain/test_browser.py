"""The browser of parts: every choice changes what is shown."""

from types import SimpleNamespace

import IPython
import matplotlib.pyplot as plt
import pytest

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


def test_every_choice_changes_the_page_that_is_shown(subject):
    shown = browser.browse(subject)
    widgets = {widget.description: widget for widget in shown.children[:-1]}

    def titles():
        return [ax.get_title() for ax in shown.result.axes[: browser.PER_PAGE]]

    def expected(parts):
        return [part_title(part) for part in parts.itertuples()]

    assert titles() == expected(in_order(subject.parts)[:6])
    assert widgets["page"].max == 7 and not plt.get_fignums()  # a notebook would show every one
    widgets["page"].value = 7
    widgets["label"].value = 0  # which has four pages: the last is shown
    assert titles() == [*expected(in_order(subject.parts, 0)[18:]), *4 * [""]]
    widgets["page"].value = 1
    widgets["order"].value = "lowest score first"
    assert titles() == expected(in_order(subject.parts, 0, "lowest score first")[:6])
