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
        ({"stages": {"01": {"outputs": {"split.csv": 3}}}}, "stages.01.outputs.split.csv"),
        ({"stages": {"01": {"fit": "other"}}}, "stages.01.fit"),
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
    def made(*written):
        return {"outputs": record.digests_of(run_paths, written)}

    def check(before="04"):
        record.refuse_changed_files(run, before, run_paths.root)

    first, second = run_paths.predictions("svm"), run_paths.genotype("searched")
    for path in (first, second):
        files.write_bytes(path, b"scores")
    run = {"steps": {"svm": made(first)}, "stages": {"03": made(second)}}
    check()
    for path, before in ((second, "04"), (first, "03")):
        files.write_bytes(path, b"others")
        if path == second:
            check("03")  # which writes it again
        with pytest.raises(files.ArtifactError, match=f"{path.name} is not as it was written"):
            check(before)
        path.unlink()  # a reader will say that it is missing
        check()
    files.write_bytes(first, b"later")  # a later stage wrote it again
    run["steps"]["again"] = made(first)
    check()
