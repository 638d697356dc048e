import errno
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from helpers.core import files as core_files
from helpers.core import tensors as core_tensors
from helpers.core.files import ArtifactError


def same(first, second) -> None:
    """Equal values, equal types, tensors bit by bit; a tuple may have become a list."""
    if isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype and first.shape == second.shape
        assert (
            first.contiguous()
            .flatten()
            .view(torch.uint8)
            .equal(second.contiguous().flatten().view(torch.uint8))
        )
    elif isinstance(first, dict):
        assert list(first) == list(second)
        for key in first:
            same(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            same(one, other)
    else:
        assert type(first) is type(second) and first == second


def no_leftovers(folder: Path, *names: str) -> None:
    assert sorted(p.name for p in folder.iterdir()) == sorted(names)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    core_files.save_json(path, {"run": 1})

    def failing():
        with core_files.atomic_path(path) as temporary:
            temporary.write_text("half of")
            assert temporary.parent == path.parent  # a rename works within a file system only
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match=r"^killed$"):
        failing()
    assert core_files.load_json(path) == {"run": 1}
    no_leftovers(tmp_path, "a.json")
    with pytest.raises(TypeError):
        core_files.save_json(path, {"run": object()})
    assert core_files.load_json(path) == {"run": 1}


def test_a_write_replaces_the_file_and_makes_its_folder(tmp_path):
    path = tmp_path / "new" / "a.txt"
    core_files.write_bytes(path, b"one")
    core_files.write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    no_leftovers(path.parent, "a.txt")


def test_json_takes_numpy_paths_and_tuples_and_has_null_for_nan(tmp_path):
    path = tmp_path / "a.json"
    content = {
        "n": np.int64(3),
        "x": np.float64(0.1),
        "bad": float("nan"),
        "far": np.float32("inf"),
        "array": np.arange(3),
        "path": Path("/a/b"),
        "pair": (1, "zwölf"),
    }
    core_files.save_json(path, content)
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "n": 3,
        "x": 0.1,
        "bad": None,
        "far": None,
        "array": [0, 1, 2],
        "path": "/a/b",
        "pair": [1, "zwölf"],
    }


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_a_state_of_an_optimizer_comes_back_bit_by_bit(tmp_path, kind):
    model = torch.nn.Linear(5, 3)
    groups = [{"params": [model.weight]}, {"params": [model.bias], "lr": 1e-4}]
    options = {"adamw": {}, "sgd": {"momentum": 0.9}}[kind]
    make = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[kind]
    optimizer = make(groups, lr=0.1 + 0.2, **options)
    model(torch.rand(4, 5)).square().sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 7)
    state = {
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "model": model.state_dict(),
    }
    core_tensors.save_state(tmp_path / "s.safetensors", state)
    loaded = core_tensors.load_state(tmp_path / "s.safetensors")
    same(state["optimizer"], loaded["optimizer"])
    same(dict(state["model"]), loaded["model"])
    assert list(loaded["optimizer"]["state"]) == [0, 1]  # integers, not "0" and "1"
    make(groups, lr=1.0, **options).load_state_dict(loaded["optimizer"])
    scheduler.load_state_dict(loaded["scheduler"])


def test_a_state_keeps_types_nesting_and_odd_tensors(tmp_path):
    shared = torch.rand(4, 4)
    state = {
        "half": torch.rand(3).to(torch.bfloat16),
        "steps": torch.tensor(7),
        "none": None,
        "flag": True,
        "list": [1, 0.1, "x", {"deep": {3: shared}}],
        "transposed": shared.T,
        "shared": shared,
        "empty": {},
        "odd": torch.tensor([float("nan"), float("-inf"), -0.0]),
        "rng": torch.get_rng_state(),
    }
    core_tensors.save_state(tmp_path / "s.safetensors", state)
    same(state, core_tensors.load_state(tmp_path / "s.safetensors"))


def test_an_infinite_number_in_a_state_comes_back(tmp_path):
    state = {"best": float("-inf"), "x": torch.zeros(1)}
    core_tensors.save_state(tmp_path / "s.safetensors", state)
    assert core_tensors.load_state(tmp_path / "s.safetensors")["best"] == float("-inf")


def test_tensors_whose_names_join_to_the_same_text_are_kept_apart(tmp_path):
    state = {"a/b": torch.zeros(1), "a": {"b": torch.ones(1)}, 1: torch.ones(2), "1": torch.ones(3)}
    core_tensors.save_state(tmp_path / "s.safetensors", state)
    same(state, core_tensors.load_state(tmp_path / "s.safetensors"))


def test_tensors_and_their_info_come_back(tmp_path):
    path = tmp_path / "w.safetensors"
    tensors = {"w": torch.rand(2, 3).T, "n": torch.arange(3)}
    core_tensors.save_tensors(path, tensors, {"name": "toy", "size": (2, 3)})
    loaded, info = core_tensors.load_tensors(path)
    same(dict(sorted(tensors.items())), dict(sorted(loaded.items())))
    assert info == {"name": "toy", "size": [2, 3]}


def test_arrays_come_back(tmp_path):
    path = tmp_path / "a.npz"
    x = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    core_files.save_arrays(path, x=x, names=np.array(["a", "bc"]))
    loaded = core_files.load_arrays(path, "x", "names")
    np.testing.assert_array_equal(loaded["x"], x)
    assert loaded["x"].dtype == np.float32
    assert loaded["names"].tolist() == ["a", "bc"]


def test_a_pickle_in_an_npz_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.array([{"code": 1}], dtype=object))
    with pytest.raises(ArtifactError) as caught:
        core_files.load_arrays(path, "x")
    assert str(caught.value) == (
        f"{path} is damaged (Object arrays cannot be loaded when allow_pickle=False)"
    )


READERS = {
    "a.json": core_files.load_json,
    "a.safetensors": core_tensors.load_tensors,
    "a.npz": lambda path: core_files.load_arrays(path, "x"),
    "a.csv": lambda path: core_files.load_csv(path, ("id",)),
}


def write_example(path: Path) -> bytes:
    if path.suffix == ".json":
        core_files.save_json(path, {"x": list(range(9))})
    elif path.suffix == ".safetensors":
        core_tensors.save_tensors(path, {"x": torch.arange(9)}, {"a": 1})
    elif path.suffix == ".npz":
        core_files.save_arrays(path, x=np.arange(9))
    return path.read_bytes()


@pytest.mark.parametrize("name", READERS)
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(ArtifactError) as caught:
        READERS[name](tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name} is missing"


@pytest.mark.parametrize("name", ["a.json", "a.safetensors", "a.npz"])
def test_a_file_cut_anywhere_is_named_as_damaged(tmp_path, name):
    path = tmp_path / name
    whole = write_example(path)
    for n in range(len(whole) - 2):
        path.write_bytes(whole[:n])
        with pytest.raises(ArtifactError) as caught:
            READERS[name](path)
        assert str(caught.value).startswith(f"{path} is damaged (")


@pytest.mark.parametrize("name", ["a.json", "a.safetensors", "a.npz"])
def test_a_changed_byte_never_gives_another_error_than_the_named_one(tmp_path, name):
    path = tmp_path / name
    whole = write_example(path)
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x91]) + whole[i + 1 :])
        try:
            READERS[name](path)
        except ArtifactError as error:
            assert str(error).startswith(f"{path} is damaged (")


@pytest.mark.parametrize("name", ["a.json", "a.safetensors", "a.npz"])
def test_garbage_is_named_as_damaged(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(bytes(range(256)))
    with pytest.raises(ArtifactError, match=r"a\.\w+ is damaged \(.*\)$"):
        READERS[name](path)


def test_only_a_file_that_is_made_again_is_to_be_deleted(home, tmp_path_factory):
    advice = "; delete it and run again"
    (home / "link").symlink_to(home / "data" / "runs")
    for place in ("data/runs/r", "data/cache/c", "link/r"):
        (home / place).mkdir(parents=True, exist_ok=True)
        (home / place / "a.json").write_text("{")
        with pytest.raises(ArtifactError, match=rf"a\.json is damaged \(.*\){advice}$"):
            core_files.load_json(home / place / "a.json")
    for folder in (home, home / "data", tmp_path_factory.mktemp("elsewhere")):
        (folder / "a.json").write_text("{")
        with pytest.raises(ArtifactError, match=r"a\.json is damaged \(.*\)$"):
            core_files.load_json(folder / "a.json")


def test_an_npz_that_lacks_an_array_or_is_a_single_array_is_named(tmp_path):
    path = tmp_path / "a.npz"
    core_files.save_arrays(path, y=np.arange(3))
    with pytest.raises(ArtifactError, match=r"a\.npz is damaged \(.*x.*\)"):
        core_files.load_arrays(path, "x")
    with path.open("wb") as handle:
        np.save(handle, np.arange(3))
    with pytest.raises(ArtifactError, match=r"a\.npz is damaged \("):
        core_files.load_arrays(path, "x")


def test_ids_of_a_csv_stay_text(tmp_path):
    path = tmp_path / "a.csv"
    frame = pd.DataFrame({"id": ["007", "12", "1e5"], "score": [0.1, 1 / 3, 1e-12]})
    core_files.save_csv(path, frame)
    loaded = core_files.load_csv(path, ("id", "score"))
    assert loaded.id.tolist() == ["007", "12", "1e5"]
    np.testing.assert_allclose(loaded.score, frame.score, rtol=1e-8)


def test_an_id_that_pandas_would_take_for_missing_stays_text(tmp_path):
    path = tmp_path / "a.csv"
    core_files.save_csv(path, pd.DataFrame({"id": ["NA", "null", "nan", "None"], "x": range(4)}))
    assert core_files.load_csv(path, ("id",)).id.tolist() == ["NA", "null", "nan", "None"]


def test_a_csv_without_a_needed_column_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,score\n1,2\n")
    with pytest.raises(ArtifactError) as caught:
        core_files.load_csv(path, ("id", "label", "split"))
    assert str(caught.value) == f"{path} lacks the column(s) label, split; it has id, score"


@pytest.mark.parametrize("content", [b"", b"id,x\n1,2\n1,2,3,4\n", b"id\n\xff\xfe\x00"])
def test_a_file_that_is_no_csv_is_refused(tmp_path, content):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"a\.csv(, line 3, has 4| is not a readable CSV: )"):
        core_files.load_csv(path, ("id",))


def test_fingerprints_depend_on_content_not_on_order_of_keys(tmp_path):
    one = core_files.fingerprint({"a": 1, "b": (2, np.float64(0.5))})
    assert one == core_files.fingerprint({"b": [2, 0.5], "a": 1})
    assert one != core_files.fingerprint({"a": 1, "b": [2, 0.25]})
    (tmp_path / "x").write_bytes(b"abc")
    (tmp_path / "y").write_bytes(b"abc")
    (tmp_path / "z").write_bytes(b"abd")
    x, y, z = (core_files.file_digest(tmp_path / name) for name in "xyz")
    assert x == y != z


def test_a_row_s_line_is_found_behind_blank_lines_and_line_breaks_in_quotes(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'id,x\r\n"a\r\nb",1\r\n\r\nc,2\r\n')
    assert core_files.load_csv(path, ("id",)).id.tolist() == ["a\r\nb", "c"]
    assert [core_files.line_of(path, row) for row in (0, 1, 7)] == [3, 5, 9]
    path.write_bytes(b'id,x\n \t\na,1\n  \n"  ",2\n\n,\nb,3\n')
    assert core_files.load_csv(path, ("id",)).x.tolist()[:2] == [1, 2]
    assert [core_files.line_of(path, row) for row in range(4)] == [3, 5, 7, 8]


def test_rows_longer_than_the_header_are_refused(tmp_path):
    # pandas took the ids for an index, and the split for the ids
    path = tmp_path / "a.csv"
    for text in ("id,split\n\na,train,x\nb,val,y\n", 'id,split\n"a\n",train,x\nb,val\n'):
        path.write_text(text)
        with pytest.raises(ArtifactError) as error:
            core_files.load_csv(path, ("id", "split"))
        assert str(error.value) == f"{path}, line 3, has 3 values where the header names 2"


def test_a_changed_byte_of_tensors_and_of_their_info_is_noticed(tmp_path):
    path = tmp_path / "w.safetensors"
    core_tensors.save_tensors(path, {"w": torch.ones(3)}, {"lr": 0.25})
    whole = path.read_bytes()
    for old, new in ((b"\x3f", b"\x3e"), (b"0.25", b"0.75")):
        path.write_bytes(whole.replace(old, new, 1))
        with pytest.raises(ArtifactError) as caught:
            core_tensors.load_tensors(path)
        assert str(caught.value) == (f"{path} is damaged (its bytes have changed)")


def test_tensors_of_other_programs_need_no_digest_and_equal_ones_give_equal_bytes(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"w": torch.ones(3)}, path, {"format": "pt"})
    assert core_tensors.load_tensors(path)[0]["w"].tolist() == [1, 1, 1]
    files = set()
    for _ in range(5):  # safetensors writes several entries of its header in any order
        core_tensors.save_tensors(path, {"w": torch.ones(3), "v": torch.ones(2)}, {"lr": 0.25})
        files.add(path.read_bytes())
    assert len(files) == 1


def test_a_folder_in_a_file_s_place_is_named(tmp_path):
    for name, read in READERS.items():
        (tmp_path / name).mkdir()
        with pytest.raises(ArtifactError, match=name):
            read(tmp_path / name)
        with pytest.raises(ArtifactError) as caught:
            core_files.write_bytes(tmp_path / name, b"x")
        assert str(caught.value) == f"{tmp_path / name} cannot be written: Is a directory"


def test_half_a_character_in_json_is_refused_since_no_file_can_hold_it(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": "\\ud800"}')
    with pytest.raises(ArtifactError, match=r"a\.json is damaged \(.*surrogates not allowed"):
        core_files.load_json(path)


def _refuse(error):
    def refuse(*_, **__):
        raise error

    return refuse


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.EACCES, "Permission denied"), (errno.EIO, "Input/output error")]
)
def test_what_the_system_refuses_is_not_called_damaged(tmp_path, monkeypatch, number, reason):
    # a disk that could not be read was reported as a file to delete
    for name, read in READERS.items():
        (tmp_path / name).touch()
        error = OSError(number, reason)
        with monkeypatch.context() as patch:
            for place in ("pathlib.Path.open", "pathlib.Path.read_text", "numpy.load"):
                patch.setattr(place, _refuse(error))
            patch.setattr(pd, "read_csv", _refuse(error))
            with pytest.raises(ArtifactError) as caught:
                read(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name} cannot be read: {reason}"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_full_memory_is_not_called_damage(tmp_path, monkeypatch, error):
    core_tensors.save_tensors(tmp_path / "a.safetensors", {"w": torch.ones(3)})
    monkeypatch.setattr(core_files, "safe_open", _refuse(error))
    monkeypatch.setattr(np, "load", _refuse(error))
    for name in ("a.safetensors", "a.npz"):
        with pytest.raises(type(error)) as caught:
            READERS[name](tmp_path / name)
        assert caught.value is error
