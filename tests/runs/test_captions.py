"""A caption names data, labels, split, seeds, backbone, and where the networks were trained."""

import pytest

from helpers.core import files
from helpers.runs import captions, stages
from tests import planted

DEVICE = {"device": "CPU, 2 threads", "precision": "bf16"}


@pytest.fixture
def stage(home):
    run_paths = planted.make_run()
    record = stages.load_run(run_paths)
    record["stages"]["01_data_split"] = {
        "label_mapping": "bad = broken",
        "images": {"test": 200, "train 0": 1203, "train 1": 465, "val 0": 150, "val 1": 150},
        "settings": {"seed": 4, "split": "random", "split_csv": "", "cross_fit": 0},
        "caveats": "Drawn.",
    }
    record["stages"]["03_finetuning"] = {"settings": {"seed": 2, "seeds": 3}} | DEVICE
    files.save_json(run_paths.run_json, record)
    stage = planted.analysis_stage(run_paths)
    stage.notes["backbone"] = "ResNet-18"
    return stage


def _train(stage, name, device):
    planted.plant(stage.paths, name, 1.0, 0)
    files.save_json(stage.paths.metrics(f"{name}_history"), {"seeds": [{"device": device}]})


def test_a_caption_says_what_a_table_rests_on(stage):
    assert captions.caption(stage) == (
        "Run toy; bad = broken; images: training 1,203 good and 465 bad, validation 150 good and "
        "150 bad, test 200 unlabelled, random split, seed 4; backbone ResNet-18; training seeds 2 "
        "to 4 where a row says so, otherwise 2; CPU, 2 threads, bf16. Drawn."
    )


def test_a_caption_says_how_the_images_were_split(stage):
    record = stages.load_run(stage.paths)
    settings = record["stages"]["01_data_split"]["settings"]
    for changed, words in (
        ({"split": "groups", "cross_fit": 5}, "groups kept apart, seed 4, 5 folds; backbone"),
        ({"split_csv": "own.csv"}, "split by SPLIT_CSV, seed 4, 5 folds; backbone"),
    ):
        settings |= changed
        files.save_json(stage.paths.run_json, record)
        assert words in captions.caption(stage)


def test_two_backbones_of_one_run_are_both_said(stage):
    record = stages.load_run(stage.paths)
    record["stages"]["02_features_baselines"] = {"settings": {"seed": 2}, "backbone": "a"} | DEVICE
    record["stages"]["03_finetuning"]["backbone"] = "b"
    files.save_json(stage.paths.run_json, record)
    assert "; backbone a in 02, b in 03; " in captions.caption(stage)


def test_seeds_that_differ_between_the_notebooks_are_all_said(stage):
    record = stages.load_run(stage.paths)
    record["stages"]["05_genotype_retraining"] = {"settings": {"seed": 0}} | DEVICE
    files.save_json(stage.paths.run_json, record)
    assert (
        "; training seeds 2 to 4 where a row says so, otherwise 2 in 03, seed 0 in 05; "
        in captions.caption(stage)
    )


def test_an_earlier_notebook_says_nothing_of_later_trainings(stage):
    record = stages.load_run(stage.paths)
    record["stages"]["02_features_baselines"] = {"settings": {"seed": 0}} | DEVICE
    outputs = {"predictions/fbp.csv": "digest"}
    record["steps"] = {"fbp": {"stage": "03_finetuning", "key": "k", "outputs": outputs}}
    files.save_json(stage.paths.run_json, record)
    _train(stage, "fbp", "an H100")
    stage.name = "02_features_baselines"
    assert "; training seed 0; CPU, 2 threads, bf16. Drawn." in captions.caption(stage)


def test_a_caption_names_every_device_that_networks_were_trained_on(stage):
    for name, device in {"fbp": "2 x (CPU, 1 thread)", "cnn": "an H100", "ll": "an H100"}.items():
        _train(stage, name, device)
    assert "; 2 x (CPU, 1 thread) and an H100. Drawn." in captions.caption(stage)
    for name, precision in {"fbp": "bf16", "cnn": "bf16", "ll": "float32"}.items():
        _train(stage, name, f"CPU, 1 thread, {precision}")
    assert "; CPU, 1 thread, bf16 and float32. Drawn." in captions.caption(stage)
    for name in ("fbp", "cnn", "ll"):  # without predictions, a model is not in the table
        stage.paths.predictions(name).unlink()
    assert "; CPU, 2 threads, bf16. Drawn." in captions.caption(stage)


def test_a_record_that_lacks_what_a_caption_needs_is_named(stage):
    record = stages.load_run(stage.paths)
    del record["stages"]["01_data_split"]["caveats"]
    files.save_json(stage.paths.run_json, record)
    with pytest.raises(files.ArtifactError, match=r"run\.json .*caveats"):
        captions.caption(stage)
