"""Tensors and the plain values beside them come back bit by bit, or the damage is noticed."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from helpers.core import tensors
from helpers.core.files import ArtifactError


def same(first, second) -> None:
    """Equal values, equal types, tensors bit by bit; a tuple may have become a list."""
    if isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype and first.shape == second.shape
        bits, other = (t.contiguous().flatten().view(torch.uint8) for t in (first, second))
        assert bits.equal(other)
    elif isinstance(first, dict):
        assert list(first) == list(second)
        for key in first:
            same(first[key], second[key])
    elif isinstance(first, list | tuple):
        for one, other in zip(first, second, strict=True):
            same(one, other)
    else:
        assert type(first) is type(second) and first == second


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
    same(state, loaded)
    assert list(loaded["optimizer"]["state"]) == [0, 1]  # integers, not "0" and "1"
    torch.optim.AdamW(groups, lr=1.0).load_state_dict(loaded["optimizer"])


class Code:
    """Runs a function when it is unpickled."""

    def __reduce__(self):
        return print, ("ran",)


def test_no_code_of_a_state_is_run(tmp_path, capsys):
    path = tmp_path / "s"
    torch.save({"x": Code()}, path)
    for content in (path.read_bytes(), pickle.dumps(Code(), protocol=2)):
        path.write_bytes(tensors.with_digest(content))
        with pytest.raises(ArtifactError, match="s is damaged"):
            tensors.load_state(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("old", "new"), [(b"\x3f", b"\x3e"), (b"0.25", b"0.75")])
def test_a_changed_byte_of_tensors_and_of_their_info_is_noticed(tmp_path, old, new):
    path = tmp_path / "w.safetensors"
    tensors.save_tensors(path, {"w": torch.ones(3)}, {"lr": 0.25})
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(ArtifactError, match=r"safetensors is damaged \(its bytes have changed\)$"):
        tensors.load_tensors(path)


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
    same(dict(sorted(weights.items())), dict(sorted(loaded.items())))
    assert info == {"name": "toy", "size": [2, 3]}
