"""Distillation: the loss, a teacher that has not seen the image, the same view for both."""

import dataclasses

import numpy as np
import pytest
import torch

from helpers.core import files
from helpers.core.members import cross_fitted
from helpers.core.paths import RunPaths
from helpers.darts.settings import RetrainSettings
from helpers.models import backbones
from helpers.runs import stages
from helpers.runs.stages import StageError
from helpers.training import distillation
from helpers.training.augment import VIEWS, symmetry
from helpers.training.distillation import DistillationLoss, DistilledBatches, find_teacher
from helpers.training.features import image_batches
from helpers.training.inference import Scorer
from helpers.training.optim import Loss
from helpers.training.settings import TrainSettings
from helpers.training.trained import Recipe, train_model
from tests import planted
from tests.conftest import split_of
from tests.training.test_batches import image_batches as gray_batches
from tests.training.test_cross_fitting import folded_split


@pytest.fixture
def stage(home, parts_folder):
    """An opened stage 05 on a split with three folds."""
    own = RetrainSettings(precision="no", distill=True)
    stage = stages.Stage("05_genotype_retraining", RunPaths("r"), "quick", own, "key")
    files.save_csv(stage.paths.split_csv, folded_split(parts_folder))
    files.save_json(stage.paths.run_json, {"stages": {}})
    return stage


# --- the loss ----------------------------------------------------------------------------------


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


@pytest.mark.parametrize("label", [0, 1])
def test_the_ends_of_the_weight_are_cross_entropy_and_the_teacher_alone(label):
    scores, targets = torch.tensor([[2.0, 0.5]]), torch.tensor([[label, 2.0, 0.5]])
    labelled = Loss(0.0)(scores, torch.tensor([label]))
    torch.testing.assert_close(DistillationLoss(0.0, 2.0, Loss(0.0))(scores, targets), labelled)
    assert float(DistillationLoss(1.0, 2.0, Loss(0.0))(scores, targets)) == pytest.approx(0)


# --- views -------------------------------------------------------------------------------------


def _pixels(n=40):
    """Images with a pixel that differs in all views, and this pixel as the teacher's score."""
    images = gray_batches(n=n, batch_size=7)
    pixels = np.random.default_rng(0).integers(0, 256, (2 * n, 4, 4, 1), np.uint8)
    images.cache = dataclasses.replace(images.cache, pixels=pixels)
    images.labels = np.arange(n) % 2
    inputs = torch.cat(list(images.ordered()))
    views = [symmetry(inputs, k)[:, 0, 0, 1].numpy() for k in range(VIEWS)]
    return DistilledBatches(**vars(images), scores=np.stack([views, views], axis=2)), inputs


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
    batches, inputs = _pixels()
    first, again, later = (_rows_and_views(batches, inputs, 0, epoch) for epoch in (0, 0, 1))
    assert first == again != later and sorted(first) == sorted(later) == list(range(40))
    assert set(first.values()) == set(range(VIEWS))
    assert all(torch.equal(x, y) for x, y in zip(inputs.split(7), batches.ordered(), strict=True))


def test_the_processes_of_a_training_see_the_views_that_one_process_sees():
    batches, inputs = _pixels(n=42)
    parts = [_rows_and_views(batches, inputs, 0, 3, (rank, 2)) for rank in range(2)]
    assert parts[0] | parts[1] == _rows_and_views(batches, inputs, 0, 3)


# --- the teacher -------------------------------------------------------------------------------


def test_a_teacher_s_scores_of_a_view_are_the_model_s_output_on_the_turned_image(stage):
    planted.plant_teachers(stage, 0)
    teacher = find_teacher(stage)
    train = stage.split[stage.split.split == "train"]
    assert sorted(teacher.ids) == sorted(train.id)
    assert teacher.scores.shape == (VIEWS, len(train), 2)
    for fold in (1, 2):
        model = backbones.load_model(stage.paths.checkpoint("fbp", 0, fold))
        own = train[train.fold == fold]
        images = torch.cat(list(image_batches(stage.images(16), own, model, 64).ordered()))
        with torch.no_grad():
            expected = [model(symmetry(images, k)).numpy() for k in range(VIEWS)]
        found = teacher.scores[:, [list(teacher.ids).index(name) for name in own.id]]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert abs(found - found[:1]).max() > 1e-3  # the views matter


def test_a_teacher_s_scores_of_an_image_do_not_depend_on_the_image_s_label(stage):
    recipe = Recipe(
        "fbp",
        lambda seed: planted.small_network(stage.images(16), seed),
        TrainSettings(epochs=1, precision="no"),
        {"architecture": "cnn"},
    )
    members = cross_fitted(stage.split, [0])
    train_model(stage, recipe, stage.images(16), members)
    before, split = find_teacher(stage), stage.split.copy()
    row = np.flatnonzero((split.fold == 1).fillna(False))[3]
    own = list(before.ids).index(split.id[row])
    split.loc[row, "label"] = 1 - split.label[row]
    files.save_csv(stage.paths.split_csv, split)
    flipped = dataclasses.replace(stage)  # knows no other split
    train_model(flipped, recipe, stage.images(16), members)
    after = find_teacher(flipped)
    assert np.array_equal(after.ids, before.ids)
    same = (after.scores == before.scores).all(axis=(0, 2))
    folds = split.set_index("id").fold[before.ids].to_numpy()
    assert same[own] and same[folds == 1].all()  # bit for bit
    assert not same[folds == 2].any()  # their teacher has seen the planted label
    assert after.inputs != before.inputs


def test_a_lesson_finds_the_scores_of_its_images_whatever_their_order(stage):
    planted.plant_teachers(stage, 0)
    teacher = find_teacher(stage)
    model = backbones.load_model(stage.paths.checkpoint("fbp", 0, 1))
    some = stage.split[stage.split.split == "train"].iloc[::-3]
    lesson = teacher.lesson(image_batches(stage.images(16), some, model, 64))
    for i, name in enumerate(some.id):
        own = teacher.scores[:, list(teacher.ids).index(name)]
        assert np.array_equal(lesson.scores[:, i], own)


def test_the_first_of_several_seeds_teaches(stage):
    planted.plant_teachers(stage, 3, 4)
    assert find_teacher(stage) is not None
    written = sorted(path.name for path in stage.paths.trainings("fbp").glob("*.npz"))
    assert written == ["seed3_fold1.npz", "seed3_fold2.npz"]


def test_scores_are_computed_once_and_after_a_kill_for_the_folds_that_lack_them(stage, monkeypatch):
    planted.plant_teachers(stage, 0)
    plain, scored = Scorer.scores, []

    def killed(self, batches, views):
        scored.append(len(batches.labels))
        if len(scored) == 2:
            raise KeyboardInterrupt
        return plain(self, batches, views)

    monkeypatch.setattr(distillation.Scorer, "scores", killed)
    with pytest.raises(KeyboardInterrupt):
        find_teacher(stage)
    continued = find_teacher(stage)
    assert len(scored) == 3 and stage.notes["reused"] == ["teacher of fold 1"]
    again = find_teacher(stage)
    assert len(scored) == 3 and again.inputs == continued.inputs
    assert np.array_equal(again.scores, continued.scores)


@pytest.mark.parametrize("lacking", ["folds", "fbp", "checkpoint"])
def test_without_a_teacher_that_has_not_seen_the_image_distillation_is_refused(
    stage, parts_folder, lacking
):
    if lacking == "folds":
        files.save_csv(stage.paths.split_csv, split_of(parts_folder))
        planted.plant(stage.paths, "fbp", 1.0, 0)
    elif lacking == "checkpoint":
        planted.plant_teachers(stage, 0)
        stage.paths.checkpoint("fbp", 0, 2).unlink()
    with pytest.raises(StageError, match="run 01 with CROSS_FIT=5, then 03, or give"):
        find_teacher(stage)


def test_an_fbp_of_other_folds_is_refused(stage):
    planted.plant_teachers(stage, 0)
    split = stage.split.copy()
    split["fold"] = split.fold.map({0: 0, 1: 2, 2: 1}).astype("Int64")
    files.save_csv(stage.paths.split_csv, split)
    with pytest.raises(files.ArtifactError, match="is not a val id of fold"):
        find_teacher(dataclasses.replace(stage))
