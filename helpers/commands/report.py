"""One HTML file that shows a whole run: `python -m helpers.run --html`.

The executed notebooks in their order below a table of what they cost. Pictures, styles and formulas
are inside the file; it needs no network and runs no script.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.commands import executed, formulas
from helpers.commands.report_page import CELLS, PAGE, STYLE
from helpers.core import files, paths
from helpers.core.paths import RunPaths
from helpers.runs import names, settings, stages

if TYPE_CHECKING:
    from nbconvert import HTMLExporter
    from nbformat import NotebookNode


@dataclass(frozen=True)
class Section:
    """One notebook of the report."""

    stage: str
    title: str
    body: str  # HTML; says so where there is no executed copy
    is_current: bool  # False: the stage was executed by hand after this copy


def write(run_paths: RunPaths) -> Path:
    """Write `report.html` into the run's folder and return its path."""
    from jinja2 import Environment

    record = stages.load_run(run_paths)
    exporter = _exporter()
    page = Environment(autoescape=True).from_string(PAGE)
    text = page.render(
        run=run_paths.name,
        smoke=record.get("preset") == "smoke",
        style=STYLE + _code_style(),
        facts=facts(record),
        costs=costs(record),
        settings=_settings(record),
        sections=[_section(stage, run_paths, exporter) for stage in settings.STAGES],
    )
    target = run_paths.root / "report.html"
    files.write_bytes(target, text.encode())
    return target


def facts(record: dict[str, Any]) -> dict[str, str]:
    """What must be known of a run, in words; from its run.json."""
    done = list(record.get("stages", {}).values())
    first = done[0] if done else {}
    backbones = _different(stage.get("backbone") for stage in done)
    submitted = [stage["submitted"] for stage in done if stage.get("submitted")]
    versions = [f"{name} {number}" for name, number in first.get("versions", {}).items()]
    found = {
        "preset": record.get("preset", ""),
        "data set": record.get("dataset", ""),
        "labels": first.get("label_mapping", ""),
        "images": _counts(first.get("images", {})),
        "backbone": ", ".join(backbones),
        "machine": "; ".join(_different(f"{s['device']}, {s['precision']}" for s in done)),
        "submission": names.display_name(submitted[-1]) if submitted else "",
        "begun": first.get("started", ""),
        "commit": ", ".join(_different(stage.get("commit") for stage in done)),
        "versions": ", ".join(versions),
        "credit": first.get("attribution", ""),
        "caveats": first.get("caveats", ""),
    }
    return {name: text for name, text in found.items() if text}


def costs(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Where the time went: one row per stage that is done, the last one for all of them.

    `share` is the stage's part of all seconds; `work` names its steps with seconds and images per
    second. A step kept from an earlier execution took none of the seconds.
    """
    done = {n: s for n, s in record.get("stages", {}).items() if s.get("status") == "done"}
    total = sum(stage["seconds"] for stage in done.values())
    rows = []
    for name, stage in done.items():
        rows.append(
            {
                "stage": name,
                "time": _duration(stage["seconds"]),
                "share": stage["seconds"] / total if total else 0.0,
                "memory": f"{stage['peak_memory_mb'] / 1000:.1f} GB",
                "work": _work(record, stage),
            }
        )
    if rows:
        peak = max(stage["peak_memory_mb"] for stage in done.values())
        summary = {"time": _duration(total), "share": 1.0, "memory": f"{peak / 1000:.1f} GB"}
        rows.append({"stage": "", "work": []} | summary)
    return rows


def _work(record: dict[str, Any], stage: dict[str, Any]) -> list[str]:
    lines, rates = [], dict(stage.get("images_per_s", {}))
    reused = stage.get("reused", [])
    for name, step in record.get("steps", {}).items():
        if not set(step["outputs"]) <= set(stage.get("outputs", {})):
            continue
        speed = [f"{rates.pop(name):,.0f} images/s"] if name in rates else []
        took = "kept from before" if name in reused else _duration(step["seconds"])
        lines.append(f"{name}: {', '.join([took, *speed])}")
    return lines + [f"{work}: {rate:,.0f} images/s" for work, rate in rates.items()]


def _settings(record: dict[str, Any]) -> dict[str, dict[str, str]]:
    shown = {}
    for name, stage in record.get("stages", {}).items():
        shown[name] = {field.upper(): repr(value) for field, value in stage["settings"].items()}
    return shown


def _section(stage: str, run_paths: RunPaths, exporter: HTMLExporter) -> Section:
    current = executed.has_copy(run_paths, stage)
    copy = run_paths.notebook(stage)
    source = executed.read(copy if copy.is_file() else paths.notebooks_root() / f"{stage}.ipynb")
    heading, _, story = source.cells[0].source.partition("\n")
    if not copy.is_file():
        missing = "<p><em>There is no executed copy: this notebook was not run.</em></p>"
        return Section(stage, heading.lstrip("# "), missing, True)
    source.cells[0].source = story
    return Section(stage, heading.lstrip("# "), _body(executed.tidy(source), exporter), current)


def _exporter() -> HTMLExporter:
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    return HTMLExporter(
        template_name="basic",
        template_file="report_cells.html.j2",
        extra_loaders=[DictLoader({"report_cells.html.j2": CELLS})],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )


def _body(notebook: NotebookNode, exporter: HTMLExporter) -> str:
    """A tidied notebook as HTML: its code folded away, nothing that runs or is loaded."""
    from bs4 import BeautifulSoup

    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            titles = [line for line in cell.source.splitlines() if line.startswith("#")]
            heading = titles[-1].lstrip("# ") if titles else heading
            cell.source = formulas.as_pictures(cell.source)
        else:
            cell.metadata["alt"] = f"Figure: {heading or 'of this notebook'}"
    html, _ = exporter.from_notebook_node(notebook)
    soup = BeautifulSoup(html, "html.parser")
    for tag in soup(["script", "link", "iframe"]):  # of outputs; the templates have none
        tag.decompose()
    return str(soup)


def _code_style() -> str:
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter(style="default").get_style_defs(".highlight")


def _counts(images: dict[str, int]) -> str:
    """The numbers of images in words, from run.json's `{"train 0": 104, "train 1": 36, ...}`."""
    words = {"0": "good", "1": "bad"}
    sides: dict[str, list[str]] = {side: [] for side in ("train", "val", "test")}
    for name, number in images.items():
        side, _, label = name.partition(" ")
        sides.setdefault(side, []).append(f"{number:,} {words.get(label, 'unlabelled')}")
    return "; ".join(f"{side} {' and '.join(counts)}" for side, counts in sides.items() if counts)


def _different(values: Any) -> list[str]:
    """The values in their order, each once, without what is missing."""
    return list(dict.fromkeys(value for value in values if value))


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else _longer(seconds)


def _longer(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
