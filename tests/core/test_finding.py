import base64
import dataclasses
import io
import json
import re

import nbformat
from nbclient import NotebookClient
from PIL import Image

from helpers.core import files, finding


def test_findings_of_run_json_show_what_they_did_and_missing_numbers_stay_missing():
    found = [finding.Finding("a", 0.5), finding.Finding("b", 0.1, -0.2, 0.3, "ahead", "points")]
    found += [finding.Finding("c", 12.5, 10, 15, unit="ms"), finding.Finding("d", float("nan"))]
    found += [finding.Finding("promise", 0.00631, unit="up to %")]
    text = json.dumps(files.plain([dataclasses.asdict(each) for each in found]), allow_nan=False)
    again = finding.of_json(json.loads(text))
    assert finding.rows(again).equals(finding.rows(found))
    shown = ["50.0 %", "+10.0 [-20.0, +30.0] points", "12.5 [10, 15] ms", "-", "0.64 %"]
    assert finding.rows(again).iloc[:, 1].tolist() == shown


def test_findings_move_to_the_head_of_the_notebook_beside_a_picture(tmp_path):
    picture = tmp_path / "07_price.png"
    Image.new("L", (1440, 700)).save(picture)
    cells = (
        "from helpers.core.finding import Finding, Head\nfound = Head()\nfound.open()",
        "found.add(Finding('a < b', 0.5)); found.add(Finding('detail', 0.1), head=False)",
        f"from pathlib import Path\nfound.close(Path({str(picture)!r}))",
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    NotebookClient(notebook, kernel_name="python3").execute()
    head, below, last = (cell.outputs for cell in notebook.cells)
    shown = head[0].data["text/html"]
    assert "<td>a &lt; b</td>" in shown and "50.0 %" in shown and finding.TITLE in shown
    assert "detail" not in shown and not last
    alt, data = re.search('<img alt="(.*?)" src="data:image/webp;base64,(.*?)">', shown).groups()
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert alt == "07_price" and image.size == (720, 350)
    assert below[0].data["text/html"] == "<p>(At the head of this notebook.)</p>"
    assert "detail" in below[1].data["text/html"]
