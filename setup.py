"""Put the notebooks into the wheel as `helpers/_notebooks`; the rest is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithNotebooks(build_py):
    """Copy `notebooks/*.ipynb` into the built package; an editable install reads them in place."""

    def run(self) -> None:
        package = Path(self.build_lib) / "helpers"
        shutil.rmtree(package, ignore_errors=True)  # files of an earlier build
        super().run()
        if not self.editable_mode:
            (package / "_notebooks").mkdir()
            for notebook in Path("notebooks").glob("*.ipynb"):
                shutil.copy(notebook, package / "_notebooks")


setup(cmdclass={"build_py": BuildWithNotebooks})
