"""A damaged file of a run is made again, or refused by its name."""

import pytest

from helpers.core import files, paths
from helpers.runs import stages
from helpers.runs.parts import open_subject
from tests.small_run import FINETUNING, OPTIONS, change_a_byte, run_file, run_split


def test_a_damaged_split_is_refused_by_hand_and_made_again_by_the_series(run_copy, finished_run):
    path = run_file(run_copy, "split.csv")
    before, scores = path.read_bytes(), run_file(run_copy, "predictions/cnn.csv").read_bytes()
    change_a_byte(path)
    with pytest.raises(files.ArtifactError, match=f"{path} is not as it was written"):
        stages.begin(FINETUNING, OPTIONS)
    assert run_split(finished_run / "parts") == 0
    assert path.read_bytes() == before
    assert run_file(run_copy, "predictions/cnn.csv").read_bytes() == scores  # nothing else is lost


def test_a_damaged_checkpoint_is_refused(run_copy):
    path = run_file(run_copy, "cnn/seed0.safetensors")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(files.ArtifactError, match=f"{path} is not a checkpoint"):
        open_subject(paths.RunPaths("t"))
