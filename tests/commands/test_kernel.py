"""One notebook in a kernel: what is shown meanwhile, and what is said if it stops."""

import signal
import sys
from unittest.mock import Mock

import nbformat
import papermill
import pytest
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import DeadKernelError

from helpers.commands import kernel
from helpers.core import paths
from helpers.runs.record import RunError

STAGE = "05_genotype_retraining"


@pytest.fixture
def run_cell(tmp_path, monkeypatch):
    """Return a function that runs a notebook of one cell and returns the executed copy."""

    def run(source=""):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        path, copy = tmp_path / f"{STAGE}.ipynb", tmp_path / "copy" / f"{STAGE}.ipynb"
        nbformat.write(notebook, path)
        kernel.run_notebook(path, copy, {}, "the same command")
        return nbformat.read(copy, as_version=4)

    monkeypatch.setattr(paths, "working_folder", paths.project_root)
    return run


TRAINING = """
from helpers.core import work
import sys, time
work.tell("FBP: epoch 2 of 8")
time.sleep(1.1)
print("a message of the kernel", file=sys.stderr, flush=True)
time.sleep(1.1)
print("another", flush=True)
"""


def test_the_line_of_a_training_is_shown_while_its_cell_runs_and_not_in_the_copy(
    run_cell, monkeypatch, capsys
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    copy = run_cell(TRAINING)
    shown = capsys.readouterr().err
    assert f"{STAGE}: 0/1 cells, 00:0" in shown and ", FBP: epoch 2 of 8" in shown
    assert "epoch 2 of 8" not in str([cell.outputs for cell in copy.cells])


def test_a_kernel_that_dies_while_it_starts_is_one_error(run_cell, tmp_path, monkeypatch, capfd):
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RunError, match=f"(?s){STAGE}.*ipykernel install.*the same command$"):
        run_cell()
    assert "Traceback" not in capfd.readouterr().err


INTERRUPTED = """
import os, signal, time
os.kill(os.getppid(), signal.SIGINT)
for i in range(100):
    time.sleep(0.1)
    print(i, flush=True)
"""


def test_ctrl_c_in_a_cell_is_one_error_without_a_traceback_of_the_kernel(run_cell, capfd):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(kernel.RunInterrupted, match="the same command"):
            run_cell(INTERRUPTED)
    finally:
        signal.signal(signal.SIGINT, before)
    said = capfd.readouterr().err
    assert "Traceback" not in said and "ZMQError" not in said


@pytest.mark.parametrize(
    ("error", "culprit"),
    [
        (FileNotFoundError(2, "No such file or directory", "/tmp/k.json"), "/tmp/k.json"),
        (DeadKernelError(), "RETRAIN_IMAGE_SIZE_PX or RETRAIN_BATCH_SIZE"),
        (RuntimeError("Kernel didn't respond in 600 seconds"), "600 seconds"),
        (NoSuchKernel("python3"), "python3"),
        (KeyboardInterrupt(), f"^{STAGE}.ipynb: interrupted\n"),
    ],
)
def test_a_notebook_that_cannot_be_executed_names_what_is_to_blame(
    run_cell, monkeypatch, error, culprit
):
    execute = Mock(side_effect=error)
    monkeypatch.setattr(papermill, "execute_notebook", execute)
    with pytest.raises(RunError, match=culprit):
        run_cell()
    assert execute.call_args.kwargs["start_timeout"] >= 600  # after 60 s it was given up


def test_braces_in_a_run_s_name_are_taken_as_they_are(monkeypatch, tmp_path):
    read = Mock(side_effect=OSError("stopped here"))
    monkeypatch.setattr(papermill.execute, "load_notebook_node", read)
    source, copy = tmp_path / "a{b}{" / f"{STAGE}.ipynb", tmp_path / "b{0}" / "copy.ipynb"
    with pytest.raises(RunError, match="stopped here"):
        kernel.run_notebook(source, copy, {}, "the same command")
    read.assert_called_once_with(str(source))
