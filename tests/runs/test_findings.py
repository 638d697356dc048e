"""Findings are shown where they are found, and together at the head of the notebook."""

import nbformat
from nbclient import NotebookClient

from helpers.runs.findings import Findings

CELLS = (
    "from helpers.runs.findings import Findings\nfound = Findings()\nfound.open()",
    "found.add('', 'a < b', 'c'), found.add('detail', head=False);",
    "found.close()",
)


def test_the_head_of_a_notebook_lists_what_its_cells_say():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    NotebookClient(notebook, kernel_name="python3").execute()
    head, below, last = (cell.outputs for cell in notebook.cells)
    shown = head[0].data["text/html"]
    assert "<li>a &lt; b</li><li>c</li>" in shown and "What this notebook found" in shown
    assert below[0].data["text/html"] == "<p>a &lt; b</p><p>c</p>"
    assert below[1].data["text/html"] == "<p>detail</p>" and not last


def test_a_program_prints_them(capsys):
    findings = Findings()
    findings.open()
    findings.add("", "a")
    findings.close()
    assert capsys.readouterr().out == "a\n" and findings.sentences == ["a"]
