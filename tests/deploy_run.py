"""A small run with a network of two seeds that is described in model.json, and models alone."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers import runs
from helpers.core import files, paths
from helpers.core.members import Member
from helpers.darts import network
from helpers.darts.genotypes import PUBLISHED
from helpers.darts.settings import NetworkSettings
from helpers.decisions import decision
from helpers.deploy import predictor
from helpers.deploy.description import NAME, Description, sealed
from helpers.models import backbones
from helpers.models.backbones import Network
from helpers.runs.opened import describe_models
from tests import small_run
from tests.small_run import FINETUNING, run_split, train_members

OPTIONS = {"RUN": "t", "PRECISION": "no", "CNN_EPOCHS": 2}
BAD_RATE = 0.5
# the content of a model.json, made up: what it is, how it reads images, what it promises
CONTENT = {"model": "net", "title": "net", "run": "t", "is_smoke": False, "checkpoints": {}}
CONTENT |= {"attribution": "mine", "made_with": {"commit": None}, "val_auc": 0.9}
CONTENT |= dict.fromkeys(("caveat", "dataset", "images_digest", "split_digest", "weights"), "")
CONTENT |= {"classes": ["good", "bad"], "image_size_px": 32, "channels": 3, "fit": "squash"}
CONTENT |= {"full_scale_bits": 0, "views": 4, "precision": "no", "calibration_fold": None}
CONTENT |= {"temperature": 1.7, "pass_below": 0.4, "reject_from": 0.6, "rule": "expected"}
CONTENT |= {"asked_escape_rate": 0.01, "promised_escape_rate": 0.01, "held_out_bad_parts": 99}
CONTENT |= {"training_ranges": {"width_px": [20.0, 40.0], "brightness": [50.0, 150.0]}}


def small_models(count: int = 2, kind: str = "cnn", channels: int = 3) -> list[Network]:
    """Return untrained networks with batch statistics of their own, sure of what they say."""
    torch.manual_seed(0)
    if kind == "derived":
        spec = network.network_spec(PUBLISHED["DARTS_V2"], NetworkSettings(4, 3), 32, channels)
    else:
        more = {"in_channels": channels} if kind == "cnn" else {}
        spec = backbones.spec_of(kind, 2, 32, **more)
    models = [backbones.build(spec).eval() for _ in range(count)]
    for module in (module for model in models for module in model.modules()):
        if isinstance(module, nn.BatchNorm2d):  # folding them has work to do
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
        if isinstance(module, nn.Linear) and module.out_features == 2:
            nn.init.normal_(module.weight, std=2 / module.in_features**0.5)
    return models


def save_described(folder: Path, models: list[Network], **facts) -> predictor.Opened:
    """Save networks with a model.json; return what the folder stands for."""
    facts = {"full_scale_bits": 0, "fit": "squash", "views": 4, "precision": "no", **facts}
    paths = [folder / f"seed{number}.safetensors" for number in range(len(models))]
    for path, model in zip(paths, models, strict=True):
        backbones.save_model(path, model, **facts)
    content = CONTENT | {"checkpoints": {path.name: files.file_digest(path) for path in paths}}
    read = ("fit", "full_scale_bits", "views", "mask")
    content |= {name: facts[name] for name in read if name in facts}
    content["channels"] = models[0].spec.in_channels
    files.save_json(folder / NAME, dataclasses.asdict(sealed(Description(**content))))
    opened = predictor.open_model(paths)
    assert opened.description is not None
    return opened


def make_run(place: Path) -> Path:
    """Make a home with a described run "t"; its images are beside it."""
    small_run.write_images(place / "parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(paths.HOME_VARIABLE, str(place / "home"))
        assert run_split(place / "parts") == 0
        run = runs.open(FINETUNING, OPTIONS)
        train_members(run, [Member(0), Member(1)], name="net", test_views=4)
        run.finish()
        run = runs.open("07_decision", {"RUN": "t"})  # describes the networks as 07 does
        scored = run.models()
        points = decision.operating_table(scored, run.settings, BAD_RATE)
        describe_models(run, scored, points, decision.calibration_table(scored, BAD_RATE))
        run.finish()
    return place
