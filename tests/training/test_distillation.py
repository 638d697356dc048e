"""Distillation: the loss, a teacher that has not seen the image, the same view for both."""

import dataclasses

import numpy as np
import pytest
import torch

from helpers.training import distillation
from helpers.training.batches import VIEWS, image_batches, symmetry
from helpers.training.distillation import DistillationLoss, DistilledBatches, score_views
from helpers.training.loop import Loss
from tests.conftest import folded_split
from tests.small_run import small_cnn
from tests.training.test_batches import image_batches as gray_batches


def test_the_loss_is_that_of_a_case_computed_by_hand():
    scores, auxiliary = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    teacher = [0.0, 2.0]  # divided by T = 2: 0 and 1

    def expected(student):  # the label is 0
        p = np.exp(teacher) ** 0.5 / (np.exp(teacher) ** 0.5).sum()
        q = np.exp(student) ** 0.5 / (np.exp(student) ** 0.5).sum()
        divergence = p[0] * np.log(p[0] / q[0]) + p[1] * np.log(p[1] / q[1])
        log_probability = student - np.log(np.exp(student).sum())
        entropy = -0.95 * log_probability[0] - 0.05 * log_probability[1]
        return 0.7 * 4 * divergence + 0.3 * entropy

    loss_of, targets = DistillationLoss(0.7, 2.0, Loss(0.1)), torch.tensor([[0.0, *teacher]])
    main, second = expected(np.array([2.0, 0.0])), expected(np.array([0.0, 4.0]))
    assert float(loss_of(scores, targets)) == pytest.approx(main, abs=1e-6)
    both = float(loss_of((scores, auxiliary), targets))
    assert both == pytest.approx(main + 0.4 * second, abs=1e-6)
    twice = loss_of(scores.repeat(2, 1), targets.repeat(2, 1))
    assert float(twice) == pytest.approx(main, abs=1e-6)  # the mean over the batch


def _rows_and_views(batches, inputs, *key):
    found = {}
    for rows, images, targets in batches.shuffled(*key):
        assert targets[:, 0].tolist() == batches.labels[rows].tolist()
        assert torch.equal(images[:, 0, 0, 1], targets[:, 1])
        for row, image in zip(rows, images, strict=True):
            same = [torch.equal(symmetry(inputs[row : row + 1], k)[0], image) for k in range(VIEWS)]
            found[int(row)] = same.index(True)
    return found


def test_a_student_sees_the_view_that_its_teacher_has_scored_and_another_in_each_epoch():
    # images with a pixel that differs in all views, and this pixel as the teacher's score
    images = gray_batches(n=40, batch_size=7)
    pixels = np.random.default_rng(0).integers(0, 256, (80, 4, 4, 1), np.uint8)
    images.cache = dataclasses.replace(images.cache, pixels=pixels)
    images.labels = np.arange(40) % 2
    inputs = torch.cat(list(images.ordered()))
    views = [symmetry(inputs, k)[:, 0, 0, 1].numpy() for k in range(VIEWS)]
    batches = DistilledBatches(**vars(images), scores=np.stack([views, views], axis=2))
    first, again, later = (_rows_and_views(batches, inputs, 0, epoch) for epoch in (0, 0, 1))
    assert first == again != later and sorted(first) == sorted(later) == list(range(40))
    assert set(first.values()) == set(range(VIEWS))
    assert all(torch.equal(x, y) for x, y in zip(inputs.split(7), batches.ordered(), strict=True))


@pytest.fixture
def split(parts_folder):
    return folded_split(parts_folder)


def _taught(split, images):
    """The networks of folds 1 and 2, and the teacher that they are."""
    networks = {fold: small_cnn(1, fold).eval() for fold in (1, 2)}
    train = split[split.split == "train"]
    parts = [score_views(net, images, train[train.fold == k], "no") for k, net in networks.items()]
    return networks, distillation.teacher_of(parts, 0.7, 2.0)


def test_a_teacher_s_scores_of_a_view_are_the_model_s_output_on_the_turned_image(split, images):
    networks, teacher = _taught(split, images)
    train = split[split.split == "train"]
    assert sorted(teacher.ids) == sorted(train.id)
    assert teacher.scores.shape == (VIEWS, len(train), 2)
    for fold, model in networks.items():
        own = train[train.fold == fold]
        inputs = torch.cat(list(image_batches(images, own, model, 64).ordered()))
        with torch.no_grad():
            expected = [model(symmetry(inputs, k)).numpy() for k in range(VIEWS)]
        found = teacher.scores[:, [list(teacher.ids).index(name) for name in own.id]]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert abs(found - found[:1]).max() > 1e-3  # the views matter
    some = train.iloc[::-3]  # a lesson may have some images in another order
    lesson = teacher.lesson(image_batches(images, some, networks[1], 64))
    rows = [list(teacher.ids).index(name) for name in some.id]
    assert np.array_equal(lesson.scores, teacher.scores[:, rows])


def test_whatever_a_student_depends_on_is_in_the_teacher_s_digest(split, images):
    _, teacher = _taught(split, images)
    changes = {"ids": teacher.ids[::-1], "scores": teacher.scores + 1, "weight": 0.5}
    changes["temperature"] = 3.0
    others = [dataclasses.replace(teacher, **{name: value}) for name, value in changes.items()]
    assert len({one.digest for one in (teacher, *others)}) == 5
    assert dataclasses.replace(teacher, ids=teacher.ids.copy()).digest == teacher.digest
