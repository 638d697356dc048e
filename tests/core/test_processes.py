"""Two processes against one: the same weights, numbers and files, and an end when one is lost."""

import socket

import pytest
import torch

from helpers.core import files, processes, tensors
from helpers.training.settings import TrainSettings
from tests import two_processes as toys


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """(what each of two processes got, their folder)."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(toys.work, (folder, port), nprocs=2)
    return [tensors.load_state(folder / f"{rank}.safetensors") for rank in (0, 1)], folder


def same(one, other, atol=0):
    """Equal nested results, tensors and numbers within a tolerance; bit for bit without one."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[n], other[n], atol) for n in one)
    if isinstance(one, list):
        return all(same(a, b, atol) for a, b in zip(one, other, strict=True))
    if isinstance(one, float | torch.Tensor):
        one, other = torch.as_tensor(one), torch.as_tensor(other)
        return torch.allclose(one, other, rtol=0, atol=atol)
    return one == other


def test_all_processes_hold_the_same_weights_and_numbers(two):
    (main, other), _ = two
    # the rest is each process's own
    for name in main.keys() - {"resuming", "talk"}:
        assert same(main[name], other[name]), name
    assert same(main["resuming"]["whole"], other["resuming"]["whole"])


@pytest.mark.parametrize("kind", toys.KINDS)
def test_two_processes_train_what_one_does_on_whole_batches(two, kind):
    (main, _), folder = two
    assert same(main["fine_tuning"][kind], toys.fine_tuning(folder)[kind], atol=1e-5)


@pytest.mark.parametrize("order", [1, 2])
def test_two_processes_search_what_one_does_that_normalises_the_shares_apart(two, order):
    (main, _), _ = two
    found, alone = main["searching"][f"order {order}"], toys.search_of(order, toys.InShares)
    assert same(found, alone, atol=1e-5)
    if order == 1:
        whole = toys.search_of(order)
        assert not same(found["state"], whole["state"], atol=1e-5)  # it does matter


def test_running_statistics_are_the_mean_over_the_processes(two):
    (main, _), _ = two
    batches, shares = toys.embeddings(96), []
    for rank in range(2):
        norm = toys.normalised()[0].train()
        for _, x, _ in batches.shuffled(3, 0, (rank, 2)):
            norm(x)
        shares.append(norm.state_dict())
    for name in ("running_mean", "running_var"):
        mean = (shares[0][name] + shares[1][name]) / 2
        torch.testing.assert_close(main["running_statistics"][name], mean, rtol=0, atol=1e-6)
        assert not torch.allclose(shares[0][name], mean, rtol=0, atol=1e-4)


def test_scores_come_once_each_and_in_order_as_from_one_process(two):
    (main, _), folder = two
    assert main["predictions"]["scores"].shape == (23, 2)
    assert same(main["predictions"], toys.predictions(folder))


def test_a_training_of_two_processes_is_resumed_bit_for_bit_and_also_by_one(two, tmp_path, capsys):
    results, folder = two
    for result in results:
        assert same(result["resuming"]["whole"], result["resuming"]["resumed"])
    (tmp_path / "resume").write_bytes((folder / "resume of 2").read_bytes())
    settings = TrainSettings(epochs=3, precision="no", ema_decay=0.5)
    found = toys.fit(toys.noisy(), settings, toys.embeddings(96), resume=tmp_path / "resume")
    assert "toy: continuing after epoch 1 of 3" in capsys.readouterr().out
    assert [record["epoch"] for record in found.history] == [1, 2, 3]


def test_each_process_draws_its_own_augmentation_and_dropout_and_the_main_one_writes(two):
    streams = [result["resuming"]["streams"] for result in two[0]]
    assert all(len(set(own)) == 3 for own in streams)  # one an epoch
    assert not set(streams[0]) & set(streams[1])
    written = [result["resuming"]["written"] for result in two[0]]
    assert written[0] and not written[1]


def test_a_step_is_done_by_all_recorded_once_and_over_when_its_file_is_there(two):
    for result in two[0]:
        assert result["steps"] == [True, True, True, True]
    record = files.load_json(two[1] / "data/runs/r/run.json")
    assert list(record["steps"]) == ["work"]


def test_a_loss_that_is_not_finite_in_one_process_stops_all(two):
    for result in two[0]:
        message = result["errors"]
        assert message.startswith("toy: the loss is not finite in epoch 1, on the batch of ")
        named = message.split("batch of ")[1].split(". Lower")[0].split(", ")
        assert len(named) == len(set(named)) == 16  # the whole batch, both processes' shares


def test_values_go_from_the_main_process_and_to_all(two):
    for result in two[0]:
        assert result["talk"]["from main"] == [0, "main"]
        assert result["talk"]["gather"] == [0, 1]
        assert result["talk"]["dealt"] == [0, 1, 2, 3, 4]
        # (1, 2) is the mean over three images, (2, 4) over one
        torch.testing.assert_close(result["talk"]["average"], torch.tensor([1.25, 2.5]))
        assert result["talk"]["name"].startswith("2 x (CPU")


def test_one_process_waits_for_nobody_and_averages_nothing():
    vector = torch.rand(3)
    assert processes.share() == (0, 1) and processes.is_main()
    assert processes.average(vector, 4) is vector
    assert processes.gather("x") == ["x"] and processes.gather_dealt([1, 2]) == [1, 2]
    assert processes.from_main(max, 1, 2) == 2
    processes.wait()
