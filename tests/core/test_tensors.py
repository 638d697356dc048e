"""Tensors and the plain values beside them come back bit by bit, or the damage is noticed."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from helpers.core import tensors
from helpers.core.files import ArtifactError


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
