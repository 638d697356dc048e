"""Notebooks pushed to the stand-in: what is sent, and what Kaggle does not accept."""

import json
from pathlib import Path

import pytest

from helpers.commands import kaggle
from helpers.commands.kaggle import Push
from helpers.commands.kaggle.command import main
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


def test_a_pushed_notebook_has_no_internet_two_t4_and_its_sources(server, notebook, capfd):
    before = notebook.read_bytes()
    model = "google/efficientnet/pyTorch/lite0/1"
    sources = ["--dataset", "me/more-weights", "--kernel", "tester/good-bad-00", "--model", model]
    assert main(["push", str(notebook), "--no-bundle", *sources]) == 0
    assert "Pushed tester/good-bad-01-data-split, version 1. It runs at https://www.kag" in (
        capfd.readouterr().out
    )
    sent = server.bodies("SaveKernel")[0]
    assert sent["slug"] == "tester/good-bad-01-data-split"
    assert sent["newTitle"] == "Good Bad 01 Data Split"
    assert sent.get("enableInternet", False) is False
    assert sent["enableGpu"] is True and sent["machineShape"] == "NvidiaTeslaT4"
    assert sent["isPrivate"] is True
    assert sent["datasetDataSources"] == ["tester/good-bad-helpers", "me/more-weights"]
    assert sent["competitionDataSources"] == [SLUG]
    assert sent["kernelDataSources"] == ["tester/good-bad-00"]
    assert sent["modelDataSources"] == [model]
    first, second = json.loads(sent["text"])["cells"]
    assert "--no-index" in first["source"] and second["source"] == "1\n2"
    compile(first["source"], "first cell", "exec")
    assert notebook.read_bytes() == before

    options = ["--cpu", "--public", "--title", "Another", "--owner", "us", "-c", ""]
    assert main(["push", str(notebook), "--no-bundle", *options]) == 0
    sent = server.bodies("SaveKernel")[1]
    assert sent["slug"] == "us/another" and not sent.get("enableGpu")
    assert not sent.get("isPrivate") and not sent.get("competitionDataSources")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"invalidDatasetSources": ["who/knows"]}, "does not show you: dataset who/knows."),
        ({"error": "Maximum of 2 reached."}, "did not take 01_data_split.ipynb: Maximum of 2"),
    ],
)
def test_an_error_in_the_answer_to_a_push_is_a_failure(server, notebook, capfd, answer, words):
    server.kernel_answer = answer
    assert main(["push", str(notebook), "--no-bundle"]) == 1
    assert words in capfd.readouterr().err


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"models": ["google/bert"]}, "as owner/model/framework/variation/version"),
        ({"datasets": ["weights"]}, "'weights' cannot be attached: write it as owner/name"),
        ({"title": "abc"}, "must have 5 to 50 characters"),
        ({"attach": [Path("nothing.whl")]}, "nothing.whl is not a file"),
        ({"attach": [Path("a.pth")], "bundle": False}, "--no-bundle uploads none: leave one out"),
        ({"packages": ["no-such-thing"]}, "no-such-thing is not installed here: `pip install no-"),
        ({"packages": ["numpy"]}, "numpy is not installed as a wheel of pure Python"),
    ],
)
def test_a_push_that_cannot_work_sends_nothing(server, notebook, settings, words):
    assert words in message_of(lambda: kaggle.push(notebook, Push(**settings)))
    assert server.requests == []


def test_a_file_that_is_not_a_notebook_is_refused(server, tmp_path):
    (tmp_path / "x.ipynb").write_text("{}")
    assert "is not a notebook" in message_of(lambda: kaggle.push(tmp_path / "x.ipynb"))


def test_the_gpu_hours_left_are_shown_before_a_push_and_one_without_any_is_refused(
    server, notebook, capfd
):
    assert main(["push", str(notebook), "--no-bundle"]) == 0
    assert "28.0 of 30 GPU hours left, renewed on 2026-12-05\nPushed" in capfd.readouterr().out
    server.gpu_quota = {"timeUsed": "108000s", "totalTimeAllowed": "108000s"}
    text = message_of(lambda: kaggle.push(notebook, Push(bundle=False)))
    assert text == ("0.0 of 30 GPU hours left, renewed on 2026-12-05: push with --cpu, or wait.")
    assert server.names().count("SaveKernel") == 1
    asked = server.names().count("GetAcceleratorQuotaStatistics")
    kaggle.push(notebook, Push(bundle=False, gpu=False))
    assert server.names().count("GetAcceleratorQuotaStatistics") == asked
    server.gpu_quota = None  # Kaggle does not answer: the push says what is wrong, if anything is
    kaggle.push(notebook, Push(bundle=False))
    assert server.names().count("SaveKernel") == 3
    assert "GPU hours" not in capfd.readouterr().out


def test_a_push_that_gets_no_answer_is_not_repeated(server, notebook):
    server.faults["SaveKernel"] = [Fault(502)]
    text = message_of(lambda: kaggle.push(notebook, Push(bundle=False)))
    assert "While pushing 01_data_split.ipynb: HTTP 502" in text
    assert server.names().count("SaveKernel") == 1
