"""A caption names data, labels, split, seeds, backbone, and where the networks were trained."""

import pytest

from helpers import artifacts, captions, stages
from tests import planted


@pytest.fixture
def stage(home):
    run_paths = planted.make_run()
    record = stages.load_run(run_paths)
    record["stages"]["01_data_split"] = {
        "label_mapping": "bad = broken",
        "images": {"train": 200, "val": 200, "test": 200},
        "settings": {"seed": 4},
        "caveats": "Drawn.",
    }
    record["stages"]["03_finetuning"] = {
        "settings": {"seed": 2, "seeds": 3},
        "device": "CPU, 2 threads",
        "precision": "bf16",
    }
    artifacts.save_json(run_paths.run_json, record)
    stage = planted.analysis_stage(run_paths)
    stage.notes["backbone"] = "ResNet-18"
    return stage


def _train(stage, name, device):
    planted.plant(stage.paths, name, 1.0, 0)
    artifacts.save_json(stage.paths.metrics(f"{name}_history"), {"device": device})


def test_a_caption_says_what_a_table_rests_on(stage):
    assert captions.caption(stage) == (
        "Run toy; bad = broken; images (train 200, val 200, test 200; 0 good, 1 bad), split seed "
        "4; backbone ResNet-18; training seeds 2 to 4 where a row says so, otherwise 2; "
        "CPU, 2 threads, bf16. Drawn."
    )


def test_a_caption_names_every_device_that_networks_were_trained_on(stage):
    for name, device in {"fbp": "2 x (CPU, 1 thread)", "cnn": "an H100", "ll": "an H100"}.items():
        _train(stage, name, device)
    assert "; 2 x (CPU, 1 thread) and an H100. Drawn." in captions.caption(stage)


def test_a_model_without_predictions_does_not_name_its_device(stage):
    _train(stage, "fbp", "an H100")
    stage.paths.predictions("fbp").unlink()
    assert "; CPU, 2 threads, bf16. Drawn." in captions.caption(stage)


def test_a_record_that_lacks_what_a_caption_needs_is_named(stage):
    record = stages.load_run(stage.paths)
    del record["stages"]["01_data_split"]["caveats"]
    artifacts.save_json(stage.paths.run_json, record)
    with pytest.raises(artifacts.ArtifactError, match=r"run\.json .*caveats"):
        captions.caption(stage)
