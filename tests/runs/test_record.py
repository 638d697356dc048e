"""run.json: what it may lack, and what is refused."""

import pytest

from helpers.core import files, paths
from helpers.runs import record


@pytest.fixture
def run_paths(home):
    return paths.RunPaths("r")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ([], "all of it"),
        ({"stages": 3}, "stages"),
        ({"stages": {"01": {"seconds": "long"}}}, "stages.01.seconds"),
        ({"stages": {"01": {"outputs": {"split.csv": 3}}}}, "stages.01.outputs.split.csv"),
        ({"steps": {"cnn": {"key": "k", "stage": "03"}}}, "steps.cnn.outputs"),
    ],
)
def test_a_record_with_facts_of_another_kind_is_refused(run_paths, content, place):
    files.save_json(run_paths.run_json, content)
    with pytest.raises(files.ArtifactError) as error:
        record.load_run(run_paths)
    assert str(error.value).startswith(f"{run_paths.run_json} is damaged ({place}: ")


def test_an_edit_that_fails_changes_nothing(run_paths):
    with record.edit_run(run_paths) as run:
        run["split"] = "a"
    with pytest.raises(KeyError), record.edit_run(run_paths) as run:
        run["split"] = "b"
        raise KeyError
    assert record.load_run(run_paths) == {"split": "a", "run": "r"}


def test_files_of_earlier_stages_and_of_their_steps_must_be_as_they_were_written(run_paths):
    first, second = run_paths.predictions("svm"), run_paths.genotype("searched")
    for path in (first, second):
        files.write_bytes(path, b"scores")
    steps = {"svm": {"stage": "02", "key": "k", "outputs": record.digests_of(run_paths, [first])}}
    stages_done = {"03": {"outputs": record.digests_of(run_paths, [second])}}
    run = {"steps": steps, "stages": stages_done}
    record.refuse_changed_files(run, ["02", "03"], run_paths.root)
    for path, earlier in ((first, ["02"]), (second, ["02", "03"])):
        files.write_bytes(path, b"others")
        with pytest.raises(files.ArtifactError) as error:
            record.refuse_changed_files(run, earlier, run_paths.root)
        assert str(error.value).startswith(f"{path} is not as it was written: damaged, or changed")
        path.unlink()  # a reader will say that it is missing
        record.refuse_changed_files(run, ["02", "03"], run_paths.root)
    steps["again"] = {"stage": "05", "key": "k"}
    files.write_bytes(first, b"later")  # a later stage wrote it again
    steps["again"]["outputs"] = record.digests_of(run_paths, [first])
    record.refuse_changed_files(run, ["02", "03"], run_paths.root)
