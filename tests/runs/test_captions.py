"""A caption names data, labels, split, seeds, backbone and device."""

import pytest

from helpers.core import files
from helpers.runs import report, stages
from tests import planted

DEVICE = {"device": "CPU, 2 threads", "precision": "bf16"}


@pytest.fixture
def run(home):
    run_paths = planted.make_run()
    record = stages.load_run(run_paths)
    record["stages"]["01_data_split"] = {
        "label_mapping": "bad = broken",
        "images": {"test": 200, "train 0": 1203, "train 1": 465, "val 0": 150, "val 1": 150},
        "settings": {"seed": 4, "split": "random", "split_csv": "", "cross_fit": 0},
        "caveats": "Drawn.",
    }
    record["stages"]["03_finetuning"] = {"settings": {"seed": 2, "seeds": 3}} | DEVICE
    record["stages"]["03_finetuning"]["backbone"] = "ResNet-18"
    files.save_json(run_paths.run_json, record)
    return planted.analysis_stage(run_paths)


def test_a_caption_says_what_a_table_rests_on(run):
    assert report.caption(run) == (
        "Run toy; bad = broken; images: training 1,203 good and 465 bad, validation 150 good and "
        "150 bad, test 200 unlabelled, random split, seed 4; backbone ResNet-18; training seed 2, "
        "3 in all; CPU, 2 threads, bf16. Drawn."
    )


def test_a_caption_says_how_the_images_were_split_and_what_the_record_lacks(run):
    record = stages.load_run(run.paths)
    for changed, words in (
        ({"split": "groups", "cross_fit": 5}, "groups kept apart, seed 4, 5 folds; backbone"),
        ({"split_csv": "mine.csv", "cross_fit": 0}, "split by SPLIT_CSV, seed 4; backbone"),
    ):
        record["stages"]["01_data_split"]["settings"] |= changed
        files.save_json(run.paths.run_json, record)
        assert words in report.caption(run)
    del record["stages"]["01_data_split"]["caveats"]
    files.save_json(run.paths.run_json, record)
    with pytest.raises(files.ArtifactError, match=r"run\.json .*caveats"):
        report.caption(run)
