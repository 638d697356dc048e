"""Files are written whole or not at all, a damaged one is named, and tensors keep their bits."""

import errno
import fcntl
import json
import pickle
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from helpers.core import files, tensors
from helpers.core.files import ArtifactError


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "new" / "a.json"
    files.save_json(path, {"run": 0})
    files.save_json(path, {"run": 1})
    with pytest.raises(RuntimeError, match=r"^killed$"), files.atomic_path(path) as temporary:
        temporary.write_text("half of")
        assert temporary.parent == path.parent  # a rename works within a file system only
        raise RuntimeError("killed")
    with pytest.raises(ArtifactError, match=r"/a\.json .*is full"), files.atomic_path(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(TypeError):
        files.save_json(path, {"run": object()})
    with pytest.raises(TypeError):
        files.save_arrays(path, x=np.array([(i for i in ())]))  # half of it is written
    assert files.load_json(path) == {"run": 1}
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_a_folder_appears_whole_or_not_at_all_and_what_a_killed_process_left_is_removed(tmp_path):
    folder = tmp_path / "a"
    (tmp_path / ".a.tmp" / "left").mkdir(parents=True)
    with pytest.raises(RuntimeError, match=r"^killed$"), files.atomic_folder(folder) as temporary:
        assert not list(temporary.iterdir())
        (temporary / "half").touch()
        raise RuntimeError("killed")
    assert not list(tmp_path.iterdir())
    with files.atomic_folder(folder) as temporary:
        (temporary / "whole").touch()
        assert not folder.exists()
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "whole"}


def test_json_takes_numpy_tensors_paths_and_tuples_and_has_null_for_nan(tmp_path):
    path = tmp_path / "a.json"
    content = [np.int64(3), np.float64(0.1), float("nan"), np.float32("inf"), np.arange(3)]
    content += [torch.ones(2), Path("/a/b"), (1, "zwölf")]
    files.save_json(path, {"values": content})
    read = [3, 0.1, None, None, [0, 1, 2], [1.0, 1.0], "/a/b", [1, "zwölf"]]
    assert json.loads(path.read_text(encoding="utf-8")) == {"values": read}


def test_a_lock_is_waited_for_or_refused_and_a_disk_without_locks_is_named(tmp_path, monkeypatch):
    lock = tmp_path / "lock"
    with files.held(lock), pytest.raises(files.LockedError, match="/lock is held by another"):
        files.held(lock, wait=False)
    refuse = Mock(side_effect=OSError(errno.ENOLCK, "No locks available"))
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ArtifactError, match=r"/lock .*No locks available"):
        files.held(lock)


# --- every kind of file ----------------------------------------------------------------------

X = torch.arange(9)
KINDS = {  # how each kind of file is read, and written
    "a.json": (files.load_json, lambda path: files.save_json(path, {"x": list(range(9))})),
    "a.safetensors": (tensors.load_tensors, lambda p: tensors.save_tensors(p, {"x": X}, {"a": 1})),
    "a.state": (tensors.load_state, lambda path: tensors.save_state(path, {"x": X, "a": 1})),
    "a.npz": (lambda p: files.load_arrays(p, "x"), lambda p: files.save_arrays(p, x=np.arange(9))),
}
READERS = {name: read for name, (read, _) in KINDS.items()}
READERS["a.csv"] = lambda path: files.load_csv(path, ("id",))


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_cut_changed_or_full_of_garbage_is_named_as_damaged(tmp_path, name):
    path = tmp_path / name
    KINDS[name][1](path)
    whole = path.read_bytes()
    places = range(0, len(whole) - 2, 1 + len(whole) // 300)
    for content in (*(whole[:n] for n in places), bytes(range(256))):
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match=r"is damaged \("):
            READERS[name](path)
    for i in places:
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        try:
            found = READERS[name](path)
        except ArtifactError as error:
            assert str(error).startswith(f"{path} is damaged (")
        else:
            assert name != "a.state"  # its digest covers all of it
            assert name != "a.npz" or np.array_equal(found["x"], np.arange(9))
            if name == "a.safetensors":  # without its info it is a file of another program
                assert found[0]["x"].equal(X) and found[1] in ({"a": 1}, None, {})


@pytest.mark.parametrize("name", READERS)
def test_what_is_missing_a_folder_or_refused_by_the_system_is_not_called_damaged(
    tmp_path, monkeypatch, name
):
    path = tmp_path / name
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        READERS[name](path)
    path.mkdir()
    with pytest.raises(ArtifactError, match=name):
        READERS[name](path)
    with pytest.raises(ArtifactError, match=f"{name} cannot be written"):
        files.write_bytes(path, b"x")
    path.rmdir()
    path.touch()  # a disk that could not be read was reported as a file to delete
    refuse = Mock(side_effect=OSError(errno.EIO, "Input/output error"))
    for place in ("open", "read_text", "read_bytes"):
        monkeypatch.setattr(Path, place, refuse)
    monkeypatch.setattr(np, "load", refuse)
    monkeypatch.setattr(pd, "read_csv", refuse)
    with pytest.raises(ArtifactError, match=f"{name} cannot be read: Input/output error"):
        READERS[name](path)


def test_an_npz_with_a_pickle_or_without_the_array_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.array([{"code": 1}], dtype=object))
    with pytest.raises(ArtifactError, match=r"a\.npz is damaged \(.*pickle"):
        files.load_arrays(path, "x")
    files.save_arrays(path, y=np.arange(3))
    with pytest.raises(ArtifactError, match=r"a\.npz is damaged \(.*x.*\)"):
        files.load_arrays(path, "x")


# --- tables and digests ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", " is not a readable CSV: "),
        (b"id\nM\xfcller\n", ' is not in UTF-8: save it as "CSV UTF-8"'),
        (b"x,score\n1,2\n", r" lacks the column\(s\) id; it has x, score$"),
        (b"x;id\n1;2\n", r" lacks the column\(s\) id; it has x;id \(commas must separate"),
        (b"id,x\n1,2\n\n1,2,3,4\n", " is not a readable CSV: .*line 4"),
        # pandas used the ids as an index, and the split as ids
        (b"id,split\n\na,train,x\nb,val,y\n", " has rows with more values than its header names"),
        (b'id,split\n"a\n",train,x\nb,val\n', " has rows with more values than its header names"),
    ],
)
def test_a_file_that_is_not_a_whole_csv_is_refused(tmp_path, content, problem):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"a\.csv{problem}"):
        files.load_csv(path, ("id",))


def test_fingerprints_depend_on_content_not_on_order_of_keys(tmp_path):
    one = files.fingerprint({"a": 1, "b": (2, np.float64(0.5))})
    assert one == files.fingerprint({"b": [2, 0.5], "a": 1})
    assert one != files.fingerprint({"a": 1, "b": [2, 0.25]})
    (tmp_path / "x").write_bytes(b"abc")
    assert files.file_digest(tmp_path / "x") == files.bytes_digest(b"abc")


def bits(value):
    """Return a value whose tensors are their bytes and whose tuples are lists, with all types."""
    if isinstance(value, torch.Tensor):
        raw = value.contiguous().flatten().view(torch.uint8).tolist()
        return value.dtype, value.shape, raw
    if isinstance(value, dict):
        return [(key, bits(each)) for key, each in value.items()]
    if isinstance(value, list | tuple):
        return [bits(each) for each in value]
    return type(value), value


def test_a_state_of_an_optimizer_and_odd_tensors_come_back_bit_by_bit(tmp_path):
    model = torch.nn.Linear(5, 3)
    groups = [{"params": [model.weight]}, {"params": [model.bias], "lr": 1e-4}]
    optimizer = torch.optim.AdamW(groups, lr=0.1 + 0.2)
    model(torch.rand(4, 5)).square().sum().backward()
    optimizer.step()
    odd = torch.tensor([float("nan"), float("-inf"), -0.0])
    state = {"half": torch.rand(3).to(torch.bfloat16), "none": None, "odd": odd, "list": [1, "x"]}
    state |= {"optimizer": optimizer.state_dict(), "model": dict(model.state_dict())}
    tensors.save_state(tmp_path / "s", state)
    loaded = tensors.load_state(tmp_path / "s")
    assert bits(loaded) == bits(state)
    torch.optim.AdamW(groups, lr=1.0).load_state_dict(loaded["optimizer"])


class Code:
    def __reduce__(self):  # runs a function when it is unpickled
        return print, ("ran",)


def test_no_code_of_a_state_is_run(tmp_path, capsys):
    path = tmp_path / "s"
    torch.save({"x": Code()}, path)
    for content in (path.read_bytes(), pickle.dumps(Code(), protocol=2)):
        path.write_bytes(tensors.with_digest(content))
        with pytest.raises(ArtifactError, match="s is damaged"):
            tensors.load_state(path)
    assert capsys.readouterr().out == ""


def test_tensors_of_other_programs_need_no_digest_and_ours_come_back_from_equal_bytes(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"w": torch.ones(3)}, path, {"format": "pt"})
    assert tensors.load_tensors(path)[0]["w"].tolist() == [1, 1, 1]
    written, weights = set(), {"w": torch.rand(2, 3).T, "n": torch.arange(3)}
    for _ in range(5):  # safetensors writes several entries of its header in any order
        tensors.save_tensors(path, weights, {"name": "toy", "size": (2, 3)})
        written.add(path.read_bytes())
    assert len(written) == 1
    loaded, info = tensors.load_tensors(path)
    assert sorted(bits(loaded)) == sorted(bits(weights))
    assert info == {"name": "toy", "size": [2, 3]}
