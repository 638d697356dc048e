"""Run one notebook in a kernel, and turn any failure into one message."""

import logging
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers.core import environment, errors, files, paths, work
from helpers.runs import settings as config
from helpers.runs.record import RunError

BOTH_CLASSES = "both_classes"  # tag of the cells that need good and bad parts
START_TIMEOUT_S = 600  # on a busy machine importing the kernel alone may take minutes
# without tqdm's guess of the time left: it assumes that all cells take equally long
LINE = "{desc}: {n_fmt}/{total_fmt} cells, {elapsed}{bar:1}{postfix}"
BAR = {"bar_format": LINE, "miniters": 0}


class RunOutOfTime(RunError):
    """The time budget is used up; the same command continues."""

    exit_code = 75  # "try again later" in the convention of sysexits.h


class RunInterrupted(RunError):
    """The user has stopped a notebook by Ctrl-C; the same command continues."""

    exit_code = 130  # as `cli.start` returns it


def run_notebook(
    source: Path, target: Path, parameters: Mapping[str, Any], command: str, skipped: str = ""
) -> None:
    """Execute a notebook, without cells that have the tag `skipped`, and write the executed copy.

    A failure is a `RunError` that ends with the `command` that continues the run.
    """
    import papermill  # slow to import
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import DeadKernelError

    with files.writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    for logger in ("papermill", "asyncio"):  # the second warns of messages after Ctrl-C
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    # papermill formats paths: braces in a name are doubled
    literal = [str(path).replace("{", "{{").replace("}", "}}") for path in (source, target)]
    every_s = 1 if sys.stderr.isatty() else 30  # a log gets a line each half minute
    stop, once = RunError, " once it is fixed"
    try:
        place = tempfile.TemporaryDirectory()
        with place as folder, environment.having(work.STATUS_VARIABLE, f"{folder}/status"):
            papermill.execute_notebook(
                *literal,
                parameters=dict(parameters),
                engine_name=_engine(Path(folder, "status")),
                kernel_name="python3",
                start_timeout=START_TIMEOUT_S,
                cwd=str(paths.working_folder()),
                progress_bar=BAR | {"desc": source.stem, "mininterval": every_s},
                skip_cells_with_tag=skipped,
                # the kernel warns that it uses loopback, and after Ctrl-C that its socket is closed
                extra_arguments=["--log-level=50"],
            )
    except papermill.PapermillExecutionError as error:
        if error.ename == errors.OutOfTime.__name__:
            raise RunOutOfTime(f"{error.evalue}\nTo continue: {command}") from None
        reason = f"{source.name}, cell [{error.exec_count}]: {error.ename}: {error.evalue}"
    except DeadKernelError:
        advice = errors.advice(config.STAGES[source.stem])
        reason = f"{source.name}: the kernel died; perhaps the memory was full: {advice}"
    except (RuntimeError, NoSuchKernel) as error:
        way_out = "`python -m ipykernel install --sys-prefix` makes one for this Python"
        reason = f"{source.name}: the kernel did not start ({error}); {way_out}"
    except KeyboardInterrupt:
        once, stop, reason = "", RunInterrupted, f"{source.name}: interrupted"
    except OSError as error:
        culprit = error.filename or f"{target} cannot be written"
        reason = f"{culprit}: {error.strerror or error}"
    else:
        return
    raise stop(f"{reason}\nThe executed copy is {target}.\nTo continue{once}: {command}")


def _engine(told: Path) -> str:
    """Register a papermill engine that shows the line in the file `told`; return its name.

    At each message of the kernel papermill checks whether to save the notebook; the line is read
    then. A training sends a message each second, to update its own progress bar.
    """
    from papermill.engines import NBClientEngine, papermill_engines

    class Engine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
            save = nb_man.autosave_cell

            def show_and_save() -> None:
                if nb_man.pbar:
                    nb_man.pbar.set_postfix_str(work.heard(told), refresh=False)
                    nb_man.pbar.update(0)  # draws the bar if it is time
                save()

            nb_man.autosave_cell = show_and_save
            return super().execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register(Engine.__name__, Engine)
    return Engine.__name__
