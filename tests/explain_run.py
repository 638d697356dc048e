"""A small run for tests of maps: 120 parts, a trained network, predictions, masks."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.datasets.split_file import read_split
from helpers.models import backbones
from helpers.results import predictions
from helpers.runs.stages import images_of
from helpers.training.batches import normalise, to_float

SIZE_PX = 32
SPOT = slice(10, 20)  # of 40: where a bad part of `parts_folder` is bright


def write_run(parts_folder: Path) -> RunPaths:
    """Write run "r": a split, a CNN that has learned the spot, its predictions, and those of an
    "svm" that is best on validation. Every third part is for training, validation and testing."""
    images = [f for kind in ("bad", "good") for f in sorted((parts_folder / kind).iterdir())]
    split = pd.DataFrame(
        {
            "id": [file.stem for file in images],
            "path": [file.as_posix() for file in images],
            "label": [int(file.parent.name == "bad") for file in images],
            "split": [("train", "val", "test")[i % 3] for i in range(len(images))],
        }
    )
    run_paths = RunPaths("r")
    files.save_csv(run_paths.split_csv, split)
    stages = {
        "01_data_split": {"attribution": "Images: mine"},
        "02_features_baselines": {"backbone": "resnet18"},
        "03_finetuning": {},
    }
    files.save_json(run_paths.run_json, {"run": "r", "stages": stages})
    split = read_split(run_paths.split_csv)
    model, scores = _trained(run_paths, split)
    backbones.save_model(run_paths.root / "checkpoints" / "cnn" / "seed0.safetensors", model)
    # one validation part is wrong, so that the svm, which knows all labels, is better
    scores[np.flatnonzero((split.split == "val") & (split.label == 1))[0]] = 0
    files.save_csv(run_paths.predictions("cnn"), predictions.predictions_frame(split, scores))
    perfect = 0.25 + 0.5 * split.label.to_numpy(dtype=float)
    files.save_csv(run_paths.predictions("svm"), predictions.predictions_frame(split, perfect))
    return run_paths


def write_masks(parts_folder: Path) -> None:
    """Write a mask of the bright spot for each bad part."""
    mask = np.zeros((40, 40), np.uint8)
    mask[SPOT, SPOT] = 255
    folder = parts_folder / "masks"
    folder.mkdir()
    for file in (parts_folder / "bad").iterdir():
        Image.fromarray(mask).save(folder / f"{file.stem}.png")


def _trained(run_paths: RunPaths, split: pd.DataFrame) -> tuple[nn.Module, np.ndarray]:
    torch.manual_seed(0)
    cache = images_of(run_paths, split, SIZE_PX)
    spec = backbones.spec_of("cnn", 2, SIZE_PX, cache.channels)
    model = backbones.build(spec)
    pixels = cache.take(cache.rows(split.id))
    images = normalise(to_float(torch.from_numpy(pixels), torch.device("cpu")), spec)
    labels = torch.tensor(split.label.to_numpy(dtype=np.int64))
    train = np.flatnonzero(split.split == "train")
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(8):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images[train]), labels[train]).backward()
        optimiser.step()
    with torch.no_grad():
        return model.eval(), model.eval()(images).softmax(dim=1)[:, 1].double().numpy()
