"""Paths of all folders and files of the project and of a run. Importing creates nothing."""

import os
from dataclasses import dataclass
from pathlib import Path

HOME_VARIABLE = "GOOD_BAD_HOME"
KAGGLE_INPUT = Path("/kaggle/input")
KAGGLE_WORKING = Path("/kaggle/working")  # becomes the output of the notebook
KAGGLE_TEMP = Path("/kaggle/temp")  # is not saved
LONGEST_NAME = 200  # bytes of a model's name; a file system takes 255 with what is added


def project_root() -> Path:
    """Return the folder that holds `helpers/`; in a clone it holds `notebooks/` too."""
    return Path(__file__).resolve().parents[2]


def is_clone() -> bool:
    """Return True if the package is used from its repository, not from an installed wheel."""
    return all((project_root() / name).exists() for name in ("pyproject.toml", "notebooks"))


def working_folder() -> Path:
    """Return the folder in which the notebooks run: the clone's root, or the current folder."""
    return project_root() if is_clone() else Path.cwd()


def home() -> Path:
    """Return the folder under which `data/` and `submissions/` are written.

    It is `GOOD_BAD_HOME` if that is set, Kaggle's working folder there, or `working_folder()`.
    """
    if os.environ.get(HOME_VARIABLE):
        return Path(os.environ[HOME_VARIABLE]).expanduser().resolve()
    on_kaggle = os.environ.get("KAGGLE_KERNEL_RUN_TYPE") and KAGGLE_WORKING.is_dir()
    return KAGGLE_WORKING if on_kaggle else working_folder()


def raw_root() -> Path:
    """Return the folder of downloaded or generated data sets, read-only once written."""
    return home() / "data" / "raw"


def cache_root() -> Path:
    """Return the folder of decoded images, shared by all runs; safe to delete.

    On Kaggle it is outside the home folder, all of which would become output.
    """
    if home() == KAGGLE_WORKING:
        scratch = KAGGLE_TEMP if KAGGLE_TEMP.exists() else KAGGLE_TEMP.parent
        if os.access(scratch, os.W_OK):
            return KAGGLE_TEMP / "good-bad" / "cache"
    return home() / "data" / "cache"


def runs_root() -> Path:
    """Return the folder that holds one folder per run."""
    return home() / "data" / "runs"


def notebooks_root() -> Path:
    """Return the folder of notebooks: inside the package if it came as a wheel, else beside it."""
    packed = Path(__file__).resolve().parents[1] / "_notebooks"
    return packed if packed.is_dir() else project_root() / "notebooks"


def published_scores() -> Path:
    """Return the folder of ELPV's out-of-fold scores, see `results.out_of_fold`."""
    return notebooks_root() / "results" / "out_of_fold"


def training_name(seed: int, fold: int | None = None) -> str:
    """Return the name of one training's files in its model's folder, without a suffix."""
    return f"seed{seed}" if fold is None else f"seed{seed}_fold{fold}"


@dataclass(frozen=True)
class RunPaths:
    """All files of one run; data/README.md says what each of them holds."""

    name: str

    @property
    def root(self) -> Path:
        """Return the folder of the run, which need not exist."""
        return runs_root() / self.name

    @property
    def run_json(self) -> Path:
        """Return the record of the run, see `runs.record`."""
        return self.root / "run.json"

    @property
    def split_csv(self) -> Path:
        """Return the table of images and their sides, see `datasets.split_file`."""
        return self.root / "split.csv"

    def trainings(self, model: str) -> Path:
        """Return the folder of a model's trainings: checkpoint, curve and scores of each."""
        return self.root / "checkpoints" / model

    def genotype(self, name: str) -> Path:
        """Return the file of a cell that the run has found."""
        return self.root / "genotypes" / f"{name}.json"

    @property
    def predictions_root(self) -> Path:
        """Return the folder of the predictions files of all models."""
        return self.root / "predictions"

    def predictions(self, model: str) -> Path:
        """Return a model's scores, see `results.predictions`."""
        return self.predictions_root / f"{model}.csv"

    def figure(self, name: str) -> Path:
        """Return the picture that a notebook has saved by this name."""
        return self.root / "figures" / f"{name}.png"

    def table(self, name: str) -> Path:
        """Return the table of numbers that a notebook has saved by this name."""
        return self.root / "metrics" / f"{name}.csv"

    @property
    def labels_to_check(self) -> Path:
        """Return the list of suspect labels, which a person edits."""
        return self.root / "labels_to_check.csv"

    def notebook(self, name: str) -> Path:
        """Return the executed copy of a notebook."""
        return self.root / "notebooks" / f"{name}.ipynb"

    @property
    def submission(self) -> Path:
        """Return the checked CSV file for the contest."""
        return home() / "submissions" / f"{self.name}.csv"
