"""The model whose maps are shown, its checkpoint, and the parts that it scored."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.core import files
from helpers.core.members import Member
from helpers.datasets.split_file import read_split
from helpers.explain import subject as subjects
from helpers.explain.subject import ExplainError, checkpoint_of, open_subject
from helpers.models.record import Model
from helpers.results import predictions
from helpers.runs import captions, record
from helpers.runs.run_models import read_all_predictions
from helpers.runs.settings import stage_name


def test_a_chosen_model_is_shown_on_the_labelled_test_parts(subject, run_paths):
    split = read_split(run_paths.split_csv)
    assert (subject.wanted, subject.title) == ("cnn", "Two-layer CNN")
    assert set(subject.parts.id) == set(split.id[split.split == "test"])
    assert subject.caption.startswith("Two-layer CNN; 40 labelled test parts, called bad from")
    predicted = pd.read_csv(run_paths.predictions("cnn")).set_index("id").defect_score
    assert subject.parts.defect_score.tolist() == predicted[subject.parts.id].tolist()


def test_a_model_without_a_network_is_replaced_and_title_and_caption_say_so(run_paths):
    replaced = open_subject(run_paths)
    assert replaced.wanted == "svm"
    assert replaced.title == "Two-layer CNN (in place of SVM, which has no network)"
    assert replaced.caption.startswith(f"{replaced.title}; 40 labelled test parts")
    assert not set(replaced.parts.defect_score) & {0.25, 0.75}
    own = open_subject(run_paths, "svm", own_scores=True)
    assert set(own.parts.defect_score) == {0.25, 0.75} and own.threshold == 0.5
    assert own.title == "SVM, maps of Two-layer CNN"


def test_a_model_judged_on_fewer_validation_parts_is_not_the_best(run_paths, monkeypatch):
    scored = read_all_predictions(run_paths)
    scored["svm"] = replace(scored["svm"], val=scored["svm"].val[1:])
    monkeypatch.setattr(predictions, "read_all_predictions", lambda *_, **__: scored)
    assert open_subject(run_paths).wanted == "cnn"


def test_the_first_of_several_seeds_is_shown_with_its_own_scores(run_paths, monkeypatch):
    scored = read_all_predictions(run_paths)
    test = scored["cnn"].test
    members = tuple(
        replace(scored["cnn"], test=test.assign(defect_score=1 - test.label * at))
        for at in (0.25, 0.75)
    )
    model = Model("cnn", members=(Member(0), Member(1)))
    scored["cnn"] = replace(scored["cnn"], model=model, members=members)
    monkeypatch.setattr(predictions, "read_all_predictions", lambda *_, **__: scored)
    first = open_subject(run_paths, "cnn")
    assert set(first.parts.defect_score) == {0.75, 1}
    assert first.title == "Two-layer CNN, first of 2 seeds"
    mean = open_subject(run_paths, "cnn", own_scores=True)
    assert mean.parts.defect_score.tolist() == scored["cnn"].test.defect_score.tolist()
    assert mean.title == "Two-layer CNN, maps of Two-layer CNN, first of 2 seeds"


def test_the_checkpoint_is_that_of_the_lowest_seed(home):
    run_paths = subjects.RunPaths("r")
    assert checkpoint_of(run_paths, "fbp") is None
    folder = run_paths.root / "checkpoints"
    (folder / "fbp").mkdir(parents=True)
    for name in ("fbp.safetensors", "fbp/seed10.safetensors", "fbp/seed2.safetensors"):
        (folder / name).touch()
    (folder / "fbp" / "0123abcd.resume").touch()
    assert checkpoint_of(run_paths, "fbp") == folder / "fbp" / "seed2.safetensors"
    # seeds of an earlier call stay in the folder; the record names the model's own
    members = [{"seed": 10, "fold": None}]
    files.save_json(run_paths.run_json, {"models": {"fbp": {"model": {"members": members}}}})
    assert checkpoint_of(run_paths, "fbp") == folder / "fbp" / "seed10.safetensors"
    assert checkpoint_of(run_paths, "svm") is None


def test_validation_parts_are_shown_if_test_labels_are_hidden(own_run):
    split = read_split(own_run.split_csv)
    split.loc[split.split == "test", "label"] = pd.NA
    files.save_csv(own_run.split_csv, split)
    subject = open_subject(own_run, "cnn")
    assert "40 labelled validation parts" in subject.caption
    assert set(subject.parts.id) == set(split.id[split.split == "val"])


def test_the_threshold_comes_from_validation_whatever_the_test_labels_say(own_run):
    split = read_split(own_run.split_csv)
    expected = open_subject(own_run, "svm", own_scores=True).threshold
    test = split.split == "test"
    split.loc[test, "label"] = 1 - split.label[test]
    files.save_csv(own_run.split_csv, split)
    subject = open_subject(own_run, "svm", own_scores=True)
    assert subject.threshold == expected == 0.5 and not subject.parts.right.any()


def test_what_is_missing_is_named(own_run, capsys):
    with pytest.raises(ExplainError, match="run r has no model 'cn'; it has cnn, svm"):
        open_subject(own_run, "cn")
    checkpoint_of(own_run, "cnn").unlink()
    with pytest.raises(
        ExplainError, match=r"none of cnn, svm has a checkpoint in .*; run notebook"
    ):
        open_subject(own_run)
    assert subjects.open_subject_if_any(own_run) is None
    assert capsys.readouterr().out.startswith("no network has been trained in this run: notebook")


def test_images_maps_and_pixels_follow_the_order_of_the_ids(subject):
    ids = subject.parts.id.iloc[[5, 2, 30]]
    backwards = ids.iloc[::-1]
    torch.testing.assert_close(subject.maps(ids, 1).flip(0), subject.maps(backwards, 1))
    np.testing.assert_array_equal(subject.pixels(ids)[::-1], subject.pixels(backwards))
    mean, std = subject.model.spec.mean[0], subject.model.spec.std[0]
    expected = (subject.pixels(ids)[..., 0] / 255 - mean) / std
    np.testing.assert_allclose(subject.images(ids)[:, 0], expected, atol=1e-5)
    each = subject.maps(ids, torch.tensor([0, 1, 0]))
    torch.testing.assert_close(each[1], subject.maps(ids, 1)[1])
    torch.testing.assert_close(each[2], subject.maps(ids, 0)[2])


def test_a_part_is_called_bad_from_the_threshold_on():
    parts = pd.DataFrame({"label": [1, 1, 0], "defect_score": [0.25, 0.5, 0.75]})
    judged = subjects.judged(parts, 0.5)
    assert judged.called.tolist() == [0, 1, 1] and judged.right.tolist() == [False, True, False]
    assert judged.mistake.tolist() == [0.75, 0.5, 0.75]
    assert judged.margin.tolist() == [0.25, 0, 0.25]


def test_attribution_and_backbone_come_from_the_runs_record(run_paths):
    assert subjects.attribution(run_paths) == "Images: mine"
    assert captions.backbone_of(run_paths) == "resnet18"


def test_the_backbone_is_that_of_03_or_02_whatever_later_notebooks_noted_before(own_run):
    def backbone_with(**noted):
        with record.edit_run(own_run) as run:
            for name, backbone in noted.items():
                run["stages"].setdefault(stage_name(name[1:]), {})["backbone"] = backbone
        return captions.backbone_of(own_run)

    assert backbone_with(_06="old", _07="old") == "resnet18"
    assert backbone_with(_02="new") == "new"
    assert backbone_with(_03="newer") == "newer"
