"""Lines that `helpers.run` shows while it works: the training inside a cell, the time to come."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.core import files, paths, status
from helpers.core.devices import default_device, device_name
from helpers.core.style import duration
from helpers.runs import record, stages
from helpers.runs.settings import STEERING

ENGINE = "good-bad"
WITHOUT_EFFECT = (*STEERING, "seed")  # on the time that a notebook takes
# without tqdm's guess of the time left: it takes all cells for equally long
BAR = "{desc}: {n_fmt}/{total_fmt} cells, {elapsed}{bar:1}{postfix}"


def bar_options(stage: str) -> dict[str, Any]:
    """Return the options of papermill's progress bar; a log gets a line each half minute."""
    every_s = 1 if sys.stderr.isatty() else 30
    return {"desc": stage, "bar_format": BAR, "mininterval": every_s, "miniters": 0}


def register_engine(told: Path) -> str:
    """Teach papermill an engine that shows the line in the file `told`; return its name.

    Papermill asks at each message of the kernel whether to save the notebook. A training sends
    one each second, for its own bar; that is when the line is looked at.
    """
    from papermill.engines import NBClientEngine, papermill_engines  # slow to import

    class Engine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
            save = nb_man.autosave_cell

            def show_and_save() -> None:
                if nb_man.pbar:
                    nb_man.pbar.set_postfix_str(status.heard(told), refresh=False)
                    nb_man.pbar.update(0)  # draws the bar if it is time
                save()

            nb_man.autosave_cell = show_and_save
            return super().execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register(ENGINE, Engine)
    return ENGINE


def expected(left: Sequence[str], settings: Mapping[str, Any]) -> str:
    """Say how long the first of the stages `left` took before, and all of them; "" if unknown.

    Only a stage that was done with the same settings (but for the seed), on the same images and the
    same device counts. The sum is left out if one of the stages has no such record.
    """
    known = [earlier_seconds(stage, settings) for stage in left]
    if not known or known[0] is None:
        return ""
    own_s, run = known[0]
    text = f"{duration(own_s)} in run {run}"
    if len(known) > 1 and all(known):
        total_s = sum(one[0] for one in known if one)
        text += f", {duration(total_s)} with the {len(known) - 1} notebook(s) after it"
    return text


def earlier_seconds(stage: str, settings: Mapping[str, Any]) -> tuple[float, str] | None:
    """Return the seconds of the latest equal execution of a stage, and its run; None if none."""
    found: list[tuple[str, float, str]] = []
    for path in paths.runs_root().glob("[!.]*/run.json"):
        try:
            done = record.load_run(paths.RunPaths(path.parent.name)).get("stages", {})
        except files.ArtifactError:  # another run's damaged file does not stop this one
            continue
        own = done.get(stage, {})
        same = (_costs(done.get(s, {}).get("settings")) for s in (stages.FIRST, stage))
        wanted = (_costs(dataclasses.asdict(settings[s])) for s in (stages.FIRST, stage))
        done_so = own.get("status") == "done" and all(map(dict.__eq__, same, wanted))
        if done_so and own.get("device") == device_name(default_device()):
            spent_s = own.get("seconds", 0.0) + own.get("reused_seconds", 0.0)
            found.append((own.get("started", ""), spent_s, path.parent.name))
    return max(found)[1:] if found else None


def _costs(given: Mapping[str, Any] | None) -> dict[str, Any]:
    return {k: v for k, v in files.plain(given or {}).items() if k not in WITHOUT_EFFECT}
