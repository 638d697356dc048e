"""A folder of good parts alone, and with a few bad ones: what runs, what waits, what is said."""

import shutil

import pytest

import helpers
from helpers.commands import cli, predict, run
from helpers.core import paths
from helpers.core.errors import UserError
from helpers.datasets.split_file import read_split, waits_for
from helpers.runs.start import open_run
from tests import small_run
from tests.conftest import write_parts

OPTIONS = ["--preset", "smoke", "--name", "t", "-p", "BACKBONE=efficientnet_lite2"]
WAITING = ("03_finetuning", "04_darts_search", "05_genotype_retraining")


def test_few_bad_parts_leave_patchcore_with_a_promise_until_more_of_them_come(
    home, tmp_path, capsys
):
    parts = write_parts(tmp_path / "parts")
    for bad in sorted((parts / "bad").iterdir())[3:]:
        bad.unlink()
    command = ["--dataset", f"folder:{parts}", *OPTIONS]
    with small_run.in_this_process():
        assert run.main(command) == 0
    said = " ".join(capsys.readouterr().out.split())
    waits = "waits for 10 bad parts (near duplicates count as one); there are 3"
    assert all(f"{stage}: {waits}" in said for stage in WAITING)
    assert "good parts that do not pass: promised 4.8 %" in said
    assert "bad parts that PatchCore stopped 100.0 [29.2, 100.0] %" in said
    assert "bad parts that a promised escape rate needs 99" in said
    run_paths = paths.RunPaths("t")
    split = read_split(run_paths.split_csv)
    counts = split.groupby(["split", "label"]).size().to_dict()
    assert counts == {("train", 0): 40, ("val", 0): 20, ("val", 1): 3}
    model = helpers.load_model("t")
    bad = model.predict(sorted((parts / "bad").iterdir()))
    assert bad.verdict.tolist() == ["look again"] * 3 and bad.probability.isna().all()
    promise = model.description.promise
    assert "4.8 % of the good parts do not pass" in promise and "reject" not in promise
    assert predict.main([str(parts / "bad"), "--model", "t"]) == predict.NOT_PASSED
    with pytest.raises(UserError, match="waits for 10 bad parts"):
        open_run(WAITING[0], {"RUN": "t"})
    shutil.copytree(write_parts(tmp_path / "more") / "bad", parts / "bad", dirs_exist_ok=True)
    with small_run.in_this_process():
        for number in ("01", "02"):
            assert cli.start("run", [*command, "--only", number]) == 0
    assert "07  " not in capsys.readouterr().out  # its findings are of the split before
    split = read_split(paths.RunPaths("t").split_csv)
    assert waits_for(split) == "" and split.label.sum() == 60
    assert paths.RunPaths("t").predictions("rf").is_file()
