"""Write a run as one HTML file: `python -m helpers.run --html`.

nbconvert converts one notebook that holds all executed notebooks below a summary of the run.
Pictures and styles are inside the file, formulas are shown as TeX; it needs no network and runs no
script.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.commands import executed
from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.runs import record as run_record
from helpers.runs import settings as config

# nbconvert's "lab" page without its scripts, and with the code folded away. The policy forbids a
# browser to run or load anything, whatever the texts on the page say.
TEMPLATE = """\
{%- extends 'lab/index.html.j2' -%}
{% block html_head_js %}<meta http-equiv="Content-Security-Policy" content="default-src 'none';
 img-src data:; font-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}<style>
main { max-width: 1180px; margin: 0 auto; } summary { color: #57606a; cursor: pointer; }
td { vertical-align: top; } .warning { color: #b62324; font-weight: 600; }
</style>{% endblock %}
{% block input_group %}<details><summary>code</summary>{{ super() }}</details>{% endblock %}
"""
# what a table or a text in the output of a cell may hold; everything else is removed
TAGS = (
    "a b br caption code details em i li ol p pre strong sub summary sup table tbody td tfoot th "
)
TAGS += "thead tr ul"
ATTRIBUTES = {"a": ["href"], "td": ["colspan", "rowspan"], "th": ["colspan", "rowspan"]}
SAFE = {"metadata", "text/plain", "image/png", "image/jpeg"}  # these are escaped, or no text
_STYLE = re.compile(r"<(style|script)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)


def write(run_paths: RunPaths) -> Path:
    """Write `report.html` into the run's folder and return its path."""
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors.sanitize import SanitizeHTML
    from nbformat import v4

    sanitizer = SanitizeHTML(
        tags=TAGS.split(), attributes=ATTRIBUTES, strip=True, safe_output_keys=SAFE
    )
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell(_summary(run_paths))])
    notebook.metadata.title = f"Good or bad: run {run_paths.name}"
    for stage in config.STAGES:
        head = f'---\n\n<a id="{stage}"></a>\n\n'  # the target of the contents' link
        copy = run_paths.notebook(stage)
        if not copy.is_file():
            head += f"# {stage}\n\n*This notebook was not run.*"
            notebook.cells.append(v4.new_markdown_cell(head))
            continue
        if not executed.has_copy(run_paths, stage):
            older = "This copy is older than the stage's last execution."
            head += f'<p class="warning">{older}</p>\n\n'
        cells = executed.tidy(executed.read(copy)).cells
        cells[0].source = head + cells[0].source
        for cell in (cell for cell in cells if cell.cell_type == "code"):
            for output in cell.outputs:
                if "text/html" in output.get("data", {}):
                    output.data["text/html"] = _STYLE.sub("", output.data["text/html"])
            cell.outputs = sanitizer.sanitize_code_outputs(cell.outputs)
        notebook.cells += cells
    exporter = HTMLExporter(
        raw_template=TEMPLATE,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    page, _ = exporter.from_notebook_node(notebook)
    target = run_paths.root / "report.html"
    files.write_bytes(target, page.encode())
    return target


def _summary(run_paths: RunPaths) -> str:
    """Return the first cell: contents, facts, where the time went, all settings."""
    record = run_record.load_run(run_paths)
    stages = record.get("stages", {})
    first: dict[str, Any] = next(iter(stages.values()), {})
    facts = {
        "preset": record.get("preset"),
        "data set": record.get("dataset"),
        "labels": first.get("label_mapping"),
        "images": ", ".join(f"{n:,} {name}" for name, n in first.get("images", {}).items()),
        "backbone": ", ".join({s["backbone"]: "" for s in stages.values() if s.get("backbone")}),
        "started": first.get("started"),
        "commit": first.get("commit"),
        "versions": ", ".join(f"{name} {n}" for name, n in first.get("versions", {}).items()),
        "credit": first.get("attribution"),
        "caveats": first.get("caveats"),
    }
    steps = record.get("steps", {}).items()
    costs = [(step["stage"], name, step["seconds"]) for name, step in steps]
    settings = [
        (n, f"{k.upper()}={v!r}") for n, s in stages.items() for k, v in s["settings"].items()
    ]
    smoke = "Smoke preset: wiring only, the numbers mean nothing."
    return "\n\n".join(
        [
            # in HTML, as a name may hold Markdown
            f"<h1>Good or bad: run {html.escape(run_paths.name)}</h1>",
            f'<p class="warning">{smoke}</p>' if record.get("preset") == "smoke" else "",
            "\n".join(f"- [{stage}](#{stage})" for stage in config.STAGES),
            _table([(name, str(text)) for name, text in facts.items() if text]),
            "## Where the time goes",
            _table(run_record.time_table(run_paths), header=True),
            f"<details><summary>seconds of each step</summary>{_table(costs)}</details>",
            f"<details><summary>settings</summary>{_table(settings)}</details>",
        ]
    )


def _table(rows: pd.DataFrame | list[tuple], header: bool = False) -> str:
    with pd.option_context("display.max_colwidth", None):
        return pd.DataFrame(rows).to_html(index=False, header=header, na_rep="")
