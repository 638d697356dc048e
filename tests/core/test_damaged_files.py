"""A damaged file of a run is made again, or refused by its name."""

import pytest

from helpers.core import files, paths
from helpers.runs import stages
from helpers.runs.parts import open_subject
from tests.small_run import (
    FINETUNING,
    OPTIONS,
    change_a_byte,
    cut,
    make_files,
    run_file,
    run_split,
)


def test_a_damaged_split_is_refused_by_hand_and_made_again_by_the_series(run_copy, finished_run):
    path = run_file(run_copy, "split.csv")
    before, scores = path.read_bytes(), run_file(run_copy, "predictions/cnn.csv").read_bytes()
    change_a_byte(path)
    with pytest.raises(files.ArtifactError) as error:
        stages.begin(FINETUNING, OPTIONS)
    assert str(error.value).startswith(f"{path} is not as it was written: damaged, or changed by")
    assert run_split(finished_run / "parts") == 0
    assert path.read_bytes() == before
    assert run_file(run_copy, "predictions/cnn.csv").read_bytes() == scores  # nothing else is lost


def test_a_damaged_checkpoint_is_refused(run_copy):
    path = run_file(run_copy, "cnn/seed0.safetensors")
    cut(path)
    with pytest.raises(files.ArtifactError) as error:
        open_subject(paths.RunPaths("t"))
    assert str(error.value).startswith(f"{path} is not a checkpoint of this series, ")


@pytest.mark.parametrize(
    "name",
    ["cnn/seed0.csv", "cnn/seed0.safetensors", "cnn/seed0.json", "net.npz", "searched.json"],
)
def test_a_damaged_file_of_a_step_is_made_again(run_copy, name):
    path = run_file(run_copy, name)
    before = path.read_bytes()
    change_a_byte(path)
    make_files(stages.begin(FINETUNING, OPTIONS))
    if path.suffix != ".json":  # the learning curve holds seconds
        assert path.read_bytes() == before
    steps = stages.load_run(paths.RunPaths("t"))["stages"][FINETUNING]["reused"]
    assert len(steps) == 2  # of three
