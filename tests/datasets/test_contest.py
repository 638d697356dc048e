"""Contests: Nexperia's layouts, and one of another layout that a notebook's cell adds."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from helpers import runs
from helpers.commands import cli
from helpers.commands.run import make_plan
from helpers.core import paths
from helpers.datasets import DataError, sources
from helpers.datasets.settings import SplitSettings
from helpers.datasets.sources import SOURCES
from helpers.models.record import Model
from helpers.results.submission import submission_table
from tests.datasets.test_cache import noise, save
from tests.datasets.test_folder import fill

FIRST = ("train/good_0", "train/bad_1", "test/all_tests")
NESTED = ("train/train/good_0/good_0", "train/train/bad_1/bad_1", "test/all_tests/all_tests")
SECOND = ("train/train_contest/good_all", "train/train_contest/defect", "test/test_contest/test")

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01_data_split.ipynb"
CELLS = {c["id"]: "".join(c["source"]) for c in json.loads(NOTEBOOK.read_text())["cells"]}
(CELL,) = re.findall(r"```python\n(.*?)```", CELLS["01-exercise"], re.DOTALL)


def write(root, layout=FIRST, suffix="bmp"):
    for side, folder in zip(("g", "b", "t"), layout, strict=True):
        fill(root / folder, *(f"{side}{i}.{suffix}" for i in range(4)))


def load(root):
    return sources.load(SplitSettings(dataset=f"nexperia:{root}"))


@pytest.mark.parametrize(("layout", "suffix"), [(FIRST, "bmp"), (NESTED, "png"), (SECOND, "jpg")])
def test_both_stages_of_nexperia_are_read_nested_or_not_without_hidden_folders(
    tmp_path, layout, suffix
):
    write(tmp_path, layout, suffix)
    for name in ("train/.old/good_all", f"{layout[1]}/.thumbnails", "train/other"):
        fill(tmp_path / name, "x.bmp")
    source = load(tmp_path)
    assert source.left_out == ("images in no class folder: 1 (other)",)
    table = source.table.set_index("id")
    assert table.label.sort_index().fillna(-1).tolist() == [1] * 4 + [0] * 4 + [-1] * 4
    assert sorted(table.index[table.official_split == "test"]) == ["t0", "t1", "t2", "t3"]


def test_images_that_are_not_there_name_the_command_that_fetches_them(home, tmp_path):
    for place in ("", f":{tmp_path}"):
        with pytest.raises(DataError, match="kaggle competitions download"):
            sources.load(SplitSettings(dataset=f"nexperia{place}"))
    write(tmp_path)
    for file in (tmp_path / "train/good_0").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="good_0 holds no image"):
        load(tmp_path)


@pytest.mark.parametrize(
    "mount",
    [
        "competitions/semi-conductor-image-classification-first",
        "datasets/somebody/semi-conductor-image-classification-second-stage/data",
        "semi-conductor-image-classification-first/semi-conductor-image-classification-first",
    ],
)
def test_downloads_and_kaggle_s_mounts_are_found_by_themselves(home, monkeypatch, mount):
    monkeypatch.setattr(paths, "KAGGLE_INPUT", home / "data/raw")  # as a download is, or a mount
    write(home / "data/raw" / mount)
    table = sources.load(SplitSettings(dataset="nexperia")).table
    assert len(table) == 12 and all(str(home / "data/raw" / mount) in p for p in table.path)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("file,p_defective", "{}.png"),
        ("Image Id,score", "test/all_tests/week1/{}.png"),
        ("path,score", "week1/{}"),
        ("id,y", "{}"),
    ],
)
def test_a_submission_has_the_columns_ids_and_images_of_the_sample(tmp_path, header, name):
    write(tmp_path, (*FIRST[:2], "test/all_tests/week1"), "png")
    names = [name.format(f"t{i}") for i in range(2)]  # of four test images
    lines = [header, *(f"{each},0.5" for each in names)]
    (tmp_path / "sample_submission.csv").write_text("\n".join(lines))
    scores = pd.DataFrame({"id": [f"t{i}" for i in range(4)], "defect_score": 0.25})
    frame = submission_table(scores, load(tmp_path).submission)
    assert ",".join(frame) == header and frame.iloc[:, 0].tolist() == names


def test_a_sample_that_does_not_fit_the_test_images_is_refused(tmp_path):
    write(tmp_path)
    assert load(tmp_path).submission == {}
    (tmp_path / "submission_sample.csv").write_text("id,defect_score\nt0,0\nelsewhere,0\n")
    with pytest.raises(DataError, match="'elsewhere' is not the name of a test image"):
        load(tmp_path)
    (tmp_path / "submission_sample.csv").write_text("id,a,b\nt0,0,0\n")
    with pytest.raises(DataError, match="must have two columns"):
        load(tmp_path)


def test_the_exercise_of_notebook_01_leads_to_a_submission_that_kaggle_check_takes(
    tmp_path, home, monkeypatch
):
    assert len(CELL.split("\n\n")[1].splitlines()) <= 5
    root, numbers = tmp_path / "contest", iter(range(50))
    for folder, count in (("images/ok", 20), ("images/def", 20), ("unlabelled", 3)):
        (root / folder).mkdir(parents=True)
        for number in (next(numbers) for _ in range(count)):
            save(root / folder / f"{number}.png", noise(number, 16, 16))
    sample = root / "sample_submission.csv"
    sample.write_text("file,p_bad\n" + "".join(f"{n}.png,0.5\n" for n in (41, 40, 42)))
    monkeypatch.setitem(SOURCES, "castings", None)
    cell = {"RUN": "c", "PRESET": "smoke", "DATASET": f"castings:{root}", "SEED": 0}
    cell |= {"VAL_PER_CLASS": 5, "IMAGE_SIZE_PX": 16}
    for source in (CELL, *(CELLS[f"01-{name}"] for name in ("02a", "02", "04", "06"))):
        exec(source, cell)
    exec(CELLS["01-20"].splitlines()[0], cell)
    cell["run"].finish()
    monkeypatch.delitem(SOURCES, "castings")  # another kernel
    assert make_plan(["--name", "c", "--from", "02"]).run == "c"
    later = runs.open("03_finetuning", {"RUN": "c"})
    scores = later.split.loc[later.split.split.isin(["val", "test"]), ["id", "split"]]
    later.add(Model("cnn"), scores.assign(defect_score=0.25), seconds=1.0)
    path = later.write_submission(later.models()["cnn"])
    assert cli.main(["kaggle", "check", "-f", str(path), "--sample", str(sample)]) == 0
    assert path.read_text() == "file,p_bad\n40.png,0.25\n41.png,0.25\n42.png,0.25\n"
