"""Findings are shown where they are found, and together at the head of the notebook."""

import base64
import io
import re

import nbformat
from nbclient import NotebookClient
from PIL import Image

from helpers.runs.findings import Findings

CELLS = (
    "from helpers.runs.findings import Findings\nfound = Findings()\nfound.open()",
    "found.add('', 'a < b', 'c'), found.add('detail', head=False);",
)


def test_the_head_of_a_notebook_lists_what_its_cells_say_beside_a_picture(tmp_path):
    picture = tmp_path / "07_price.png"
    Image.new("L", (1440, 700)).save(picture)
    cells = (*CELLS, f"from pathlib import Path\nfound.close(Path({str(picture)!r}))")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    NotebookClient(notebook, kernel_name="python3").execute()
    head, below, last = (cell.outputs for cell in notebook.cells)
    shown = head[0].data["text/html"]
    assert "<li>a &lt; b</li><li>c</li>" in shown and "What this notebook found" in shown
    alt, data = re.search('<img alt="(.*?)" src="data:image/webp;base64,(.*?)">', shown).groups()
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert alt == "07_price" and image.size == (720, 350)
    assert below[0].data["text/html"] == "<p>a &lt; b</p><p>c</p>"
    assert below[1].data["text/html"] == "<p>detail</p>" and not last


def test_a_program_prints_them(capsys):
    findings = Findings()
    findings.open()
    findings.add("", "a")
    findings.close()
    assert capsys.readouterr().out == "a\n" and findings.sentences == ["a"]
