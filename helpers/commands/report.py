"""Write a run as one HTML file: `python -m helpers.run --html`.

nbconvert converts one notebook that holds all executed notebooks below a summary of the run.
Pictures and styles are inside the file, formulas are shown as TeX; it needs no network and runs no
script.
"""

from __future__ import annotations

import html
from pathlib import Path

from helpers.commands import executed
from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.runs import record as run_record
from helpers.runs import settings as config

# nbconvert's "lab" page without its scripts, and with the code folded away. The policy forbids a
# browser to run or load anything, whatever the outputs of the notebooks hold.
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


def write(run_paths: RunPaths) -> Path:
    """Write `report.html` into the run's folder and return its path."""
    from nbconvert import HTMLExporter
    from nbformat import v4

    notebook = v4.new_notebook(cells=[v4.new_markdown_cell(_summary(run_paths))])
    notebook.metadata.title = f"Good or bad: run {run_paths.name}"
    for stage in config.STAGES:
        head = f'---\n\n<a id="{stage}"></a>\n\n'  # the target of the contents' link
        copy = run_paths.notebook(stage)
        if not copy.is_file():
            missing = f"{head}# {stage}\n\n*This notebook was not run.*"
            notebook.cells.append(v4.new_markdown_cell(missing))
            continue
        cells = executed.tidy(executed.read(copy)).cells
        cells[0].source = head + cells[0].source
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
    """Return the first cell: contents, and where the time went."""
    record = run_record.load_run(run_paths)
    smoke = "Smoke preset: wiring only, the numbers mean nothing."
    return "\n\n".join(
        [
            # in HTML, as a name may hold Markdown
            f"<h1>Good or bad: run {html.escape(run_paths.name)}</h1>",
            f'<p class="warning">{smoke}</p>' if record.get("preset") == "smoke" else "",
            "\n".join(f"- [{stage}](#{stage})" for stage in config.STAGES),
            "## Where the time goes",
            run_record.time_table(run_paths).to_html(index=False, na_rep=""),
        ]
    )
