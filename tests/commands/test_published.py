"""The notebooks of the repository: without outputs, or with those of their present code."""

import pytest

from helpers.commands import executed, publish
from helpers.core import paths

NOTEBOOKS = sorted(paths.notebooks_root().glob("*.ipynb"))
MAX_TOTAL_BYTES = 6_000_000  # each publication stays in git's history


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_belong_to_the_present_code_and_name_no_machine(path):
    assert publish.faults(executed.read(path), executed.code_digest(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_notebook_carries_what_papermill_or_an_editor_adds(path):
    notebook = executed.read(path)
    assert set(notebook.metadata) <= {"kernelspec", "language_info", "published"}
    for cell in notebook.cells:
        assert cell.metadata in ({}, {"tags": ["parameters"]})


def test_all_notebooks_together_are_small():
    assert sum(path.stat().st_size for path in NOTEBOOKS) < MAX_TOTAL_BYTES
