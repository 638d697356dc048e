"""The training loop: exact resume, schedules, loss, the rule for the best epoch."""

import dataclasses
import itertools
import math
import time
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from helpers.core import errors, files, tensors, work
from helpers.core.errors import OutOfTime
from helpers.training import loop
from helpers.training.batches import EmbeddingBatches, epoch_order
from helpers.training.loop import Training, TrainingError, make_optimizer, make_scheduler
from helpers.training.settings import TrainSettings
from tests.small_run import untimed
from tests.training.test_batches import image_batches


def _problem(n=96, d=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    x = rng.normal(size=(n, d)).astype(np.float32)
    x[:, 0] += 1.5 * labels
    return EmbeddingBatches(x, pd.DataFrame({"id": np.arange(n).astype(str), "label": labels}), 16)


def _model():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2)
    )


def _training(model, settings, resume=None, deadline_s=None):
    with work.doing("toy", resume, deadline_s):
        return Training(model, _problem(), _problem(seed=1), settings, seed=3)


def _fit(model, settings, resume=None, deadline_s=None):
    return _training(model, settings, resume, deadline_s).run()


def _stop_after(epochs, model, settings, resume):
    """Train some epochs, as a training that is killed in the next one."""
    training = _training(model, settings, resume)
    for _ in training.epochs():
        if training.epoch == epochs:
            return
        for batch in training.batches():
            training.step(*batch)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adamw", "schedule": "one_cycle"},
        {"optimizer": "sgd", "schedule": "cosine", "lr": 0.1},
        {"optimizer": "sgd", "schedule": "exponential", "lr": 0.1},
    ],
)
def test_three_epochs_equal_one_epoch_and_two_resumed_bit_for_bit(tmp_path, options):
    settings = TrainSettings(epochs=3, precision="no", **options)
    whole, halves = _model(), _model()
    expected = _fit(whole, settings)
    _stop_after(1, halves, settings, tmp_path / "resume")
    torch.rand(7)  # whatever else draws numbers in between must not matter
    again = _model()
    found = _fit(again, settings, tmp_path / "resume")
    torch.testing.assert_close(again.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert untimed(found.history) == untimed(expected.history)


@pytest.mark.parametrize(
    ("keep", "aucs", "epochs"),
    [
        ("best", (0.9, 0.6, 0.9, 0.5), 1),
        ("best", (0.6, 0.7, 0.9, 0.8), 3),
        ("last", (0.6, 0.7, 0.9, 0.8), 4),
    ],
)
def test_the_model_keeps_the_first_of_the_best_epochs_or_the_last(keep, aucs, epochs, monkeypatch):
    settings = TrainSettings(epochs=4, schedule="constant", lr=0.05, precision="no", keep=keep)
    kept, shorter = _model(), _model()
    planted = iter(aucs)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate", lambda *_: {"val_auc": next(planted)})
        fit = _fit(kept, settings)
    assert fit.best_epoch == int(np.argmax(aucs)) and not kept.training
    _fit(shorter, dataclasses.replace(settings, epochs=epochs, keep="last"))
    torch.testing.assert_close(kept.state_dict(), shorter.state_dict(), rtol=0, atol=0)


def test_the_record_of_an_epoch_has_the_mean_loss_over_its_images_and_the_speed():
    train = _problem(n=90)  # five batches of 16 and one of 10
    model = nn.Linear(6, 2)
    settings = TrainSettings(epochs=2, lr=1e-30, schedule="one_cycle", precision="no")
    fit = Training(model, train, _problem(), settings, seed=0).run()
    with torch.no_grad():
        scores = model(torch.from_numpy(train.embeddings))
        loss = float(loop.loss_of(scores, torch.from_numpy(train.labels), 0.1))
    for epoch, record in enumerate(fit.history, 1):
        assert (record["epoch"], record["images"]) == (epoch, 90)
        assert record["train_loss"] == pytest.approx(loss, abs=1e-6)
        assert 90 / (record["seconds"] + 0.01) < record["images_per_s"]
        assert 0 <= record["seconds"] <= record["total_seconds"] + 0.01
    assert fit.seconds == round(sum(record["total_seconds"] for record in fit.history), 2)


@pytest.mark.parametrize(("clip", "longest"), [(0.01, 0.01), (0.0, np.inf)])
def test_no_step_is_longer_than_the_clipped_gradient_and_0_clips_nothing(clip, longest):
    model = nn.Sequential(nn.Linear(6, 2))
    plain = {"optimizer": "sgd", "schedule": "constant", "momentum": 0.0, "weight_decay": 0.0}
    settings = TrainSettings(**plain, lr=1.0, grad_clip=clip, epochs=1, precision="no")
    training, steps = _training(model, settings), []
    for _ in training.epochs():
        for batch in training.batches():
            before = model[0].weight.detach().clone()
            training.step(*batch)
            steps.append(float((model[0].weight.detach() - before).norm()))
    assert 0 < max(steps) < longest * (1 + 1e-5) and (max(steps) > 0.02) == (clip == 0)


@pytest.mark.parametrize(
    ("side", "precision", "culprits"),
    [
        ("val", "no", ("e.g. 5", "0.0006", "epoch 1")),
        ("train", "no", (", ".join(map(str, epoch_order(96, 0, 0)[:16])), "epoch 1")),
        ("train", "auto", ("PRECISION='no'",)),
    ],
)
def test_numbers_that_are_not_finite_name_the_images_and_the_settings(side, precision, culprits):
    both = {"train": _problem(), "val": _problem()}
    both[side].embeddings[5 if side == "val" else slice(None)] = np.nan
    with pytest.raises(TrainingError) as error:
        Training(_model(), **both, settings=TrainSettings(precision=precision), seed=0).run()
    assert all(culprit in str(error.value) for culprit in culprits)


def test_the_auxiliary_loss_has_its_weight_and_the_same_smoothing():
    scores, auxiliary = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    target = torch.tensor([0])
    # smoothed target (0.95, 0.05): by hand from log-softmax
    main = -(0.95 * np.log(np.exp(2) / (np.exp(2) + 1)) + 0.05 * np.log(1 / (np.exp(2) + 1)))
    aux = -(0.95 * np.log(1 / (1 + np.e)) + 0.05 * np.log(np.e / (1 + np.e)))
    assert float(loop.loss_of(scores, target, 0.1)) == pytest.approx(main, abs=1e-6)
    total = float(loop.loss_of((scores, auxiliary), target, 0.1))
    assert total == pytest.approx(main + 0.4 * aux, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"schedule": "exponential", "gamma": 0.97}, 0.1 * 0.97 ** np.arange(4)),
        (
            {"schedule": "cosine", "lr_min": 0.001},
            0.001 + 0.099 * (1 + np.cos(np.pi * np.arange(4) / 4)) / 2,
        ),
    ],
)
def test_the_rate_of_each_epoch_is_that_of_the_schedule_s_formula(options, expected):
    settings = TrainSettings(epochs=4, optimizer="sgd", lr=0.1, precision="no", **options)
    lrs = [record["lr"] for record in _fit(_model(), settings).history]
    np.testing.assert_allclose(lrs, expected, rtol=1e-9)


@pytest.mark.parametrize("n", [33, 39, 40, 41, 48])
def test_one_cycle_has_as_many_steps_as_batches_are_drawn(n):
    """The last batch of 1 or 7 images is dropped, that of 8 or 9 is not."""
    images = image_batches(n, batch_size=16)
    images.labels = np.arange(n) % 2
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    settings = TrainSettings(epochs=3, precision="no")
    fit = Training(model, images, images, settings, seed=0).run()
    drawn = 3 * sum(1 for _ in images.shuffled(0, 0))
    assert fit.scheduler.last_epoch == drawn == fit.scheduler.total_steps - 1
    assert [record["images"] for record in fit.history] == [images.epoch_size] * 3
    # the last step is taken at the rate of the end
    assert fit.history[-1]["lr"] < 0.1 * settings.lr


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 20])
def test_one_cycle_rises_and_falls_for_any_number_of_steps(steps):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = make_scheduler(optimizer, TrainSettings(schedule="one_cycle", lr=0.1), steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert all(0 < rate <= 0.1 + 1e-9 for rate in rates)
    assert rates[0] < max(rates) or steps == 1
    assert max(rates) > rates[-1] or steps < 3


def test_scales_and_shifts_are_not_decayed_by_adamw():
    optimizer = make_optimizer(list(_model().parameters()), TrainSettings(weight_decay=0.1))
    decayed, kept = optimizer.param_groups
    assert decayed["weight_decay"] == 0.1 and all(p.ndim > 1 for p in decayed["params"])
    assert kept["weight_decay"] == 0 and all(p.ndim == 1 for p in kept["params"])


def test_each_step_draws_random_numbers_of_its_own_which_seed_and_epoch_alone_decide():
    drawn = []

    class Draws(nn.Linear):
        def forward(self, x):
            drawn.extend(torch.rand(1).tolist() if self.training else [])
            return super().forward(x)

    for _ in range(2):
        _fit(Draws(6, 2), TrainSettings(epochs=2, precision="no"))
    assert drawn[:12] == drawn[12:] and len(set(drawn)) == 12


def test_a_training_out_of_time_stops_after_a_whole_epoch_which_is_saved(tmp_path, monkeypatch):
    settings, resume = TrainSettings(epochs=3), tmp_path / "resume"
    with pytest.raises(OutOfTime, match="epoch 0"):
        _fit(_model(), settings, resume, deadline_s=time.time() - 1)
    assert not resume.exists()
    seconds = itertools.count(step=30)
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))  # an epoch takes 60 s
    with pytest.raises(OutOfTime, match="epoch 1"):  # the first is started if there is any time
        _fit(_model(), settings, resume, deadline_s=time.time() + 50)
    assert tensors.load_state(resume)["epoch"] == 1
    assert len(_fit(_model(), settings, resume, deadline_s=time.time() + 100).history) == 3


def _stopped(path):
    """Leave a resume file after one of two epochs."""
    _stop_after(1, _model(), TrainSettings(epochs=2, precision="no"), path)
    return path


def test_a_training_continues_with_scaled_losses_and_back_without(tmp_path):
    # started in bf16 and continued on a GPU that has only fp16, the file was called damaged
    path, settings = _stopped(tmp_path / "resume"), TrainSettings(epochs=2, precision="no")
    scaled = _training(_model(), settings, path)
    scaled.scaler = torch.amp.GradScaler("cpu", enabled=True)
    scaled._continue()
    assert scaled.scaler.get_scale() == 2.0**16
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=4.0, enabled=True)
    tensors.save_state(path, scaled.state())
    scaled.scaler = torch.amp.GradScaler("cpu", enabled=True)
    scaled._continue()
    assert scaled.scaler.get_scale() == 4.0
    assert len(_fit(_model(), settings, path).history) == 2


def test_a_resume_file_of_another_network_is_damaged_but_not_by_full_memory(tmp_path, monkeypatch):
    path, settings = _stopped(tmp_path / "resume"), TrainSettings(epochs=2, precision="no")
    with pytest.raises(files.ArtifactError, match="resume is damaged"):
        _fit(nn.Sequential(nn.Linear(6, 3)), settings, path)
    tensors.save_state(tmp_path / "other", {"key": 1})  # not a training's
    with pytest.raises(files.ArtifactError, match="other is damaged"):
        _fit(_model(), settings, tmp_path / "other")
    full = RuntimeError("can't allocate memory: 3 GB")
    monkeypatch.setattr(Training, "load_state", Mock(side_effect=full))
    with (
        pytest.raises(errors.UserError, match="BATCH_SIZE"),
        errors.enough_for("cnn", TrainSettings()),
    ):
        _fit(_model(), settings, path)


WRONG = {"epochs": 0, "lr": math.nan, "batch_size": -1, "test_views": 3, "precision": "half"}
WRONG |= {"optimizer": "adam", "keep": "first", "momentum": 1.0, "label_smoothing": 1.0}
WRONG |= {"augment": "flip", "schedule": "linear", "epoch_images": 1}


@pytest.mark.parametrize("name", WRONG)
def test_a_value_that_no_training_can_have_is_refused_and_named(name):
    with pytest.raises(ValueError, match=name):
        TrainSettings(**{name: WRONG[name]})
    with pytest.raises(ValueError, match="lr"):
        TrainSettings(lr=0.0)
