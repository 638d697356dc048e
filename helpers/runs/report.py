"""What notebooks 02, 03, 05 and 08 show of a run until they use `results.facts`."""

from __future__ import annotations

from helpers.core.paths import RunPaths
from helpers.results import facts
from helpers.runs.record import load_run
from helpers.runs.run import Run


def caption(run: Run) -> str:
    """Return the facts of a run as a text."""
    table = facts.facts(load_run(run.paths)["stages"], run.split)
    return "; ".join(f"{row.Fact}: {row.Value}" for row in table.itertuples())


def backbone_of(run_paths: RunPaths) -> str | None:
    """Return the pretrained backbone of 03, or else of 02; None if neither has been run."""
    return facts.backbone(load_run(run_paths).get("stages", {})) or None
