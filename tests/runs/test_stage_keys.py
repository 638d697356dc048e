"""The key of a stage changes with its settings, with earlier stages, and with files it names."""

import os

import pytest

from helpers import datasets
from helpers.core.rules import SettingsError
from helpers.datasets.settings import SplitSettings
from helpers.runs import settings
from helpers.runs.stages import stage_key


def key_of(name, **given):
    return stage_key(name, settings.resolve(name, "quick", given), {"stages": {}})


def _run_with(**changes):
    first = {
        "settings": {"seed": 0, "time_budget_min": 0.0},
        "outputs": {"split.csv": "1", "figures/01_samples.png": "2", "metrics/01.json": "3"},
    }
    step = {"stage": "01_data_split", "outputs": {"features/resnet18.npz": "4"}}
    first["settings"] |= changes.pop("settings", {})
    first["outputs"] |= changes.pop("outputs", {})
    step["outputs"] |= changes.pop("made", {})
    return {"stages": {"01_data_split": first}, "steps": {"features": step}}


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"settings": {"seed": 1}}, False),
        ({"outputs": {"split.csv": "9"}}, False),
        ({"made": {"features/resnet18.npz": "9"}}, False),
        ({"settings": {"time_budget_min": 3.0}}, True),
        ({"outputs": {"figures/01_samples.png": "9", "metrics/01.json": "9"}}, True),
    ],
)
def test_the_key_changes_with_settings_and_data_of_earlier_stages_and_not_with_their_pictures(
    changes, same
):
    resolved = settings.resolve("02_features_baselines", "quick", {})
    first = stage_key("02_features_baselines", resolved, _run_with())
    assert (stage_key("02_features_baselines", resolved, _run_with(**changes)) == first) is same


def test_the_key_of_the_first_stage_changes_with_images_and_labels_and_not_with_their_times(
    home, parts_folder
):
    resolved = settings.resolve("01_data_split", "quick", {"dataset": f"folder:{parts_folder}"})
    first = stage_key("01_data_split", resolved, {})
    file, before = parts_folder / "good" / "good01.bmp", os.stat(parts_folder / "good/good01.bmp")
    os.utime(file)
    assert stage_key("01_data_split", resolved, {}) == first
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = stage_key("01_data_split", resolved, {})
    assert second != first
    file.rename(parts_folder / "bad" / file.name)
    assert stage_key("01_data_split", resolved, {}) not in (first, second)


def test_a_folder_with_a_name_that_is_not_in_utf8_is_refused(tmp_path):
    (tmp_path / b"caf\xe9.png".decode("utf-8", "surrogateescape")).write_bytes(b"")
    with pytest.raises(datasets.DataError, match="the name is not in UTF-8; rename it"):
        key_of("07_your_part", folder=str(tmp_path))


@pytest.mark.parametrize("name", ["02_features_baselines", "03_finetuning"])
def test_the_key_changes_with_the_content_of_the_weights_file(tmp_path, name):
    file = tmp_path / "w.pth"
    file.write_bytes(b"first")
    first = key_of(name, weights=str(file))
    assert key_of(name, weights=str(file)) == first
    file.write_bytes(b"other")
    assert key_of(name, weights=str(file)) != first
    assert key_of(name, weights="random") != key_of(name)


def test_a_file_of_a_parameter_that_is_missing_is_named(home):
    with pytest.raises(SettingsError, match=r"^WEIGHTS='/no/such.pth' is not a file$"):
        key_of("02_features_baselines", weights="/no/such.pth")
    with pytest.raises(SettingsError, match=r"^SPLIT_CSV='/no/such.csv' is not a file$"):
        stage_key("01_data_split", SplitSettings(split_csv="/no/such.csv"), {})


def test_the_key_changes_with_the_content_of_a_genotype_file_but_not_of_one_named_as_a_cell(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    names = ["DARTS_V2", "random", "searched", "mine.json"]
    (tmp_path / "mine.json").write_text("first")
    first = key_of("05_genotype_retraining", genotypes=names)
    (tmp_path / "DARTS_V2").write_text("a file of the user's")
    assert key_of("05_genotype_retraining", genotypes=names) == first
    (tmp_path / "mine.json").write_text("other")
    assert key_of("05_genotype_retraining", genotypes=names) != first
