"""Executed notebooks: what papermill and progress bars add is removed, what a cell says stays."""

import pytest
from nbformat import v4

from helpers.commands import executed
from helpers.core import files, paths
from tests.executed_fixtures import *  # noqa: F403 - the fixture, which pytest finds by name
from tests.executed_fixtures import bar, said, shown


def test_bars_warnings_and_addresses_are_removed_and_the_text_around_them_is_joined():
    printed = [said("one\n"), bar(), said("a warning\n", "stderr"), said(" 10%\r100%\ntwo\n")]
    table = shown(html="<table></table>", plain="<pandas.Styler at 0x7f107ff44290>")
    cell = v4.new_code_cell("x", outputs=[*printed, table], execution_count=7)
    text, table = executed.tidy(v4.new_notebook(cells=[cell])).cells[0].outputs
    assert (text.name, text.text) == ("stdout", "one\n100%\ntwo\n")
    assert table.data == {"text/html": "<table></table>", "text/plain": "<pandas.Styler>"}
    assert cell.execution_count == table.execution_count == 1


def test_the_injected_cell_and_papermill_s_metadata_go_and_the_parameters_tag_stays(finished_run):
    tidied = executed.tidy(executed.read(finished_run.notebook("03_finetuning")))
    source = executed.read(paths.notebooks_root() / "03_finetuning.ipynb")
    assert [(c.source, dict(c.metadata)) for c in tidied.cells] == [
        (c.source, dict(c.metadata)) for c in source.cells
    ]
    assert "papermill" not in tidied.metadata


@pytest.mark.parametrize(("content", "message"), [(None, "is missing"), ("{", "is not a notebook")])
def test_a_notebook_that_is_missing_or_damaged_is_named(tmp_path, content, message):
    path = tmp_path / "x.ipynb"
    if content is not None:
        path.write_text(content)
    with pytest.raises(files.ArtifactError, match=f"x.ipynb {message}"):
        executed.read(path)
