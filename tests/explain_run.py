"""A network that has learned the bright spot of bad parts, alone and in a small run."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.datasets.cache import ImageCache, open_cache
from helpers.models import backbones
from helpers.models.spec import Network
from helpers.results import predictions
from helpers.training.batches import normalise, to_float
from tests.conftest import split_of

SIZE_PX = 32
SPOT = slice(10, 20)  # of 40: where a bad part of `parts_folder` is bright


def thirds_of(parts_folder: Path) -> pd.DataFrame:
    """Return the parts: every third one is for training, validation and testing."""
    return split_of(parts_folder).assign(split=["train", "val", "test"] * 40)


def write_masks(parts_folder: Path) -> None:
    """Write a mask of the bright spot for each bad part."""
    mask = np.zeros((40, 40), np.uint8)
    mask[SPOT, SPOT] = 255
    folder = parts_folder / "masks"
    folder.mkdir()
    for file in (parts_folder / "bad").iterdir():
        Image.fromarray(mask).save(folder / f"{file.stem}.png")


def trained(split: pd.DataFrame, cache: ImageCache) -> tuple[Network, np.ndarray]:
    """Return a two-layer CNN that was trained on the side `train`, and its scores of all parts."""
    torch.manual_seed(0)
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


def write_run(parts_folder: Path) -> RunPaths:
    """Write run "r": a split, the CNN, its predictions, and those of a better "svm"."""
    run_paths, split = RunPaths("r"), thirds_of(parts_folder)
    files.save_csv(run_paths.split_csv, split)
    stages = {
        "01_data_split": {"attribution": "Images: mine"},
        "02_features_baselines": {"backbone": "resnet18"},
        "03_finetuning": {},
    }
    files.save_json(run_paths.run_json, {"run": "r", "stages": stages})
    cache = open_cache(split, SIZE_PX, run_paths.root / "cache")
    model, scores = trained(split, cache)
    backbones.save_model(run_paths.trainings("cnn") / "seed0.safetensors", model)
    # one validation part is wrong, so that the svm, which knows all labels, is better
    scores[np.flatnonzero((split.split == "val") & (split.label == 1))[0]] = 0
    files.save_csv(run_paths.predictions("cnn"), predictions.predictions_frame(split, scores))
    perfect = 0.25 + 0.5 * split.label.to_numpy(dtype=float)
    files.save_csv(run_paths.predictions("svm"), predictions.predictions_frame(split, perfect))
    return run_paths
