"""Stages and steps: what is done is not done again, and what changed is."""

import dataclasses
import os
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt

from helpers import datasets
from helpers.core import files, paths, style
from helpers.core.errors import OutOfTime
from helpers.core.members import Member
from helpers.core.rules import SettingsError
from helpers.darts.settings import SearchSettings
from helpers.datasets.settings import SplitSettings
from helpers.models.record import Model
from helpers.runs import settings as config
from helpers.runs import stages
from helpers.runs.record import edit_run, load_run
from helpers.training.settings import BaselineSettings
from tests.conftest import split_of
from tests.runs import tasks


def _run(run="r", name="02_features_baselines"):
    return stages.Run(name, paths.RunPaths(run), "quick", BaselineSettings(), "key")


def _scores(*ids):
    table = pd.DataFrame({"id": ids, "split": "val", "defect_score": 0.5})
    return table.assign(split=["val"] * (len(ids) - 1) + ["test"])


def test_predictions_that_only_an_earlier_call_made_are_removed_with_their_record(home):
    model = Model("svm", "resnet18", "fbp", members=(Member(0, 0), Member(0, 1)))
    for own in (Model("a"), model):
        run = _run()
        with edit_run(run.paths) as record:
            record.setdefault("stages", {})[run.name] = {}
        run.add_model(own, _scores("x", "y"))
        run.finish()
    assert not run.paths.predictions("a").exists() and run.paths.predictions(model.slug).exists()
    ((slug, about),) = load_run(run.paths)["models"].items()
    assert slug == model.slug and Model.from_json(about["model"]) == model


@pytest.mark.parametrize("name", ["a/b", "../up", ".hidden"])
def test_a_run_that_is_no_plain_folder_is_refused(home, name):
    with pytest.raises(SettingsError, match=f"RUN='{name}'"):
        stages.begin("01_data_split", {"PRESET": "smoke", "RUN": name})


def test_a_module_with_a_short_name_is_not_a_parameter(home):
    given = {"RUN": "t", "F": torch.nn.functional}
    assert stages.open_stage("01_data_split", given).paths.name == "t"


def test_a_new_split_takes_predictions_and_cells_of_the_old_one_away_but_not_a_user_s(home):
    run = _run()
    written, user_s = run.paths.predictions("svm"), run.paths.predictions("mine")
    cell, other = run.paths.genotype("searched"), run.paths.genotype("other")
    first = pd.DataFrame({"id": ["a", "b"], "split": ["val", "test"]})
    run.save_split(first)
    run.add_model(Model("svm"), _scores("a", "b"))
    for file in (cell, other):
        run.once(f"genotypes/{file.stem}", tasks.same, {"a": 1})
    files.save_json(other, {"mine": 1})  # in the place of the run's
    files.save_csv(user_s, first)
    run.save_split(first)
    assert written.is_file() and cell.is_file()
    run.save_split(first.iloc[::-1])
    assert not written.is_file() and not cell.is_file() and user_s.is_file() and other.is_file()
    assert load_run(run.paths)["models"] == {}


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_later_stages_read_images_as_the_split_did(home, parts_folder, fit):
    run = _run()
    files.save_csv(run.paths.split_csv, split_of(parts_folder))
    record = {"run": "r", "stages": {"01_data_split": {"fit": fit}}}
    files.save_json(run.paths.run_json, record)
    assert run.images(16).fit == fit
    record["stages"]["01_data_split"]["fit"] = "other"
    files.save_json(run.paths.run_json, record)
    with pytest.raises(files.ArtifactError, match=r"stages\.01_data_split\.fit"):
        run.images(16)


def test_a_later_notebook_refuses_images_that_were_overwritten_since_the_split(home, parts_folder):
    table, given = split_of(parts_folder), {"RUN": "r"}
    done = {"status": "done", "settings": {"image_size_px": 16}}
    run_paths = paths.RunPaths("r")
    files.save_json(run_paths.run_json, {"stages": {"01_data_split": done}})
    digests = stages.images_of(run_paths, table, 16).table.set_index("id").digest
    files.save_csv(run_paths.split_csv, table.assign(digest=table.id.map(digests)))
    stages.open_stage("02_features_baselines", given)
    first, other = (Path(table.path.iloc[n]) for n in (0, -1))
    first.write_bytes(other.read_bytes())
    with pytest.raises(stages.StageError, match=f"1 image.*{table.id.iloc[0]}.*01"):
        stages.open_stage("02_features_baselines", given)


def test_after_the_deadline_nothing_is_started_but_what_is_done_is_found(home):
    limited = SearchSettings(time_budget_min=1.0)
    run = stages.Run("04_darts_search", paths.RunPaths("r"), "quick", limited, "key")
    assert run.deadline_s == pytest.approx(time.time() + 60, abs=30)  # the same on all machines
    assert run.once("work", tasks.same, {"a": 1}) == {"a": 1}
    run.started_s -= 61
    assert run.once("work", tasks.same, {"a": 1}) == {"a": 1}
    with pytest.raises(OutOfTime, match="work"):
        run.once("work", tasks.same, {"a": 2})


@pytest.mark.parametrize("preset", ["smoke", "quick"])
def test_a_saved_figure_names_run_backbone_and_images_and_warns_of_smoke(home, preset):
    run = stages.Run("01_data_split", paths.RunPaths("r"), preset, SplitSettings(), "key")
    figure, _ = plt.subplots()
    run.note(backbone="resnet18")
    run.save_figure(figure, "f", credit="Images: mine")
    assert run.paths.figure("f").is_file()
    note = [style.SMOKE_NOTE] if preset == "smoke" else []
    texts = [t.get_text() for t in figure.texts]
    assert texts == ["run r; backbone ResNet-18; Images: mine", *note]


def test_images_are_found_where_this_machine_has_them(home):
    table = datasets.load(SplitSettings()).table[["id", "path"]].sample(frac=1, random_state=0)
    older = table.path.str.replace(".*/elpv_dataset/", "/python3.10/elpv_dataset/", regex=True)
    lost = pd.DataFrame({"id": ["gone"], "path": ["/python3.10/gone.png"]})
    moved = pd.concat([lost, table.assign(path=older)], ignore_index=True)
    here = paths.RunPaths("r")
    files.save_csv(here.split_csv, moved.assign(label=0, split="train"))
    settings = dataclasses.asdict(SplitSettings())
    for dataset, found in (("elpv", ["/python3.10/gone.png", *table.path]), ("folder:/no", None)):
        given = settings | {"dataset": dataset, "good": ["fine"]}
        files.save_json(here.run_json, {"stages": {"01_data_split": {"settings": given}}})
        # without the data set the images may still be in the cache
        assert stages.split_of(here).path.tolist() == (found or moved.path.tolist())


def key_of(name, **given):
    return stages.stage_key(name, config.resolve(name, "quick", given), {"stages": {}})


def _run_with(settings=(), outputs=(), made=()):
    settings = {"seed": 0, "time_budget_min": 0.0} | dict(settings)
    written = {"split.csv": "1", "figures/01_samples.png": "2", "metrics/01.json": "3"}
    first = {"settings": settings, "outputs": written | dict(outputs)}
    step = {"stage": "01_data_split", "outputs": {"features/resnet18.npz": "4"} | dict(made)}
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
    resolved = config.resolve("02_features_baselines", "quick", {})
    first = stages.stage_key("02_features_baselines", resolved, _run_with())
    again = stages.stage_key("02_features_baselines", resolved, _run_with(**changes))
    assert (again == first) is same
    assert key_of("04_darts_search", time_budget_min=5.0) == key_of("04_darts_search")


def test_the_key_of_the_first_stage_changes_with_images_and_labels_and_not_with_their_times(
    home, parts_folder
):
    resolved = config.resolve("01_data_split", "quick", {"dataset": f"folder:{parts_folder}"})
    first = stages.stage_key("01_data_split", resolved, {})
    file, before = parts_folder / "good" / "good01.bmp", os.stat(parts_folder / "good/good01.bmp")
    os.utime(file)
    assert stages.stage_key("01_data_split", resolved, {}) == first
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = stages.stage_key("01_data_split", resolved, {})
    assert second != first
    file.rename(parts_folder / "bad" / file.name)
    assert stages.stage_key("01_data_split", resolved, {}) not in (first, second)


@pytest.mark.parametrize("name", ["02_features_baselines", "03_finetuning"])
def test_the_key_changes_with_the_content_of_the_weights_file_which_must_be_there(tmp_path, name):
    file = tmp_path / "w.pth"
    file.write_bytes(b"first")
    first = key_of(name, weights=str(file))
    assert key_of(name, weights=str(file)) == first
    file.write_bytes(b"other")
    assert key_of(name, weights=str(file)) != first
    assert key_of(name, weights="random") != key_of(name)
    file.unlink()
    with pytest.raises(SettingsError, match=f"WEIGHTS='{file}"):
        key_of(name, weights=str(file))


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


def test_06_draws_the_published_scores_anew_once_they_have_changed(home, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "published_scores", lambda: tmp_path)
    resolved, keys = config.resolve("06_analysis", "quick", {}), []
    for content in (None, b"id,seed0\na,.5\n", b"id,seed0\na,.6\n"):
        if content:
            files.write_bytes(tmp_path / "groups" / "fbp.csv", content)
        keys.append(stages.stage_key("06_analysis", resolved, {"run": "r"}))
    assert len({*keys}) == 3
