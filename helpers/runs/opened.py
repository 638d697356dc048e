"""Find the trained networks of a run: to look into (06), describe (07), and use them (08)."""

import difflib
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from helpers.core import files, members, paths, style
from helpers.core.paths import RunPaths
from helpers.datasets.cache import ImageCache
from helpers.deploy import description, measures, predictor
from helpers.deploy.description import Description
from helpers.models import backbones
from helpers.models.backbones import Network
from helpers.models.record import Model
from helpers.results.comparison import ranked
from helpers.results.predictions import Scored, chosen
from helpers.runs import record

if TYPE_CHECKING:
    from helpers.runs.run import Run

DEMO = "demo"  # names the network that comes with the package
DEMO_FOLDER = Path(predictor.__file__).with_name(DEMO)
MOST_MEASURED = 2000  # training images: ten in each tail of a measure
DEPLOYED = (None, members.CALIBRATION_FOLD)  # folds that the deployed trainings have not seen


def open_model(name: str | Path) -> predictor.Opened:
    """Load the checkpoints that belong to a name, and their description.

    A name is a model's folder, one checkpoint in it, RUN/MODEL in data/runs, a run or its folder
    (see `best_described`), or "demo", the network that comes with the package.
    """
    path = _find(name)
    trainings = checkpoints(path) if path.is_dir() else [path]
    if not trainings and any(path.glob("seed*.weights.safetensors")):
        raise files.ArtifactError(f"{name}: {backbones.OF_YOUR_OWN}")
    if not trainings:
        raise files.ArtifactError(f"{name}: the folder has no checkpoint such as seed0.safetensors")
    return predictor.open_model(trainings)


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of `checkpoints/MODEL` that are deployed, the first seed's first.

    For a cross-fitted model these are the trainings that have not seen the calibration fold. The
    run's record names them, or else their names do. A model without a network has none.
    """
    run_paths = RunPaths(os.fspath(folder.absolute().parent.parent))
    models = record.load_run(run_paths).get("models", {})
    if folder.name in models:
        members = Model.from_json(models[folder.name]["model"]).members
        deployed = [member for member in members if member.fold in DEPLOYED]
        named = [folder / f"{paths.training_name(*member)}.safetensors" for member in deployed]
        return named if named and named[0].is_file() else []
    there = sorted(folder.glob("seed*.safetensors"))
    return [path for path in there if re.fullmatch(r"seed\d+(_fold0)?", path.stem)]


def _find(name: str | Path) -> Path:
    run, _, model = os.fspath(name).partition("/")
    root = RunPaths(run).root
    if name == DEMO and not root.exists():
        return DEMO_FOLDER
    path = root / "checkpoints" / model if model else root
    path = path if path.is_dir() and run else Path(name).expanduser().absolute()
    if not path.exists() or not os.fspath(name):
        all_runs = (path.parent.name for path in paths.runs_root().glob("*/run.json"))
        in_run = networks(root) if run else []
        there = in_run or sorted(all_runs)
        close = difflib.get_close_matches(model if in_run else run, there, n=2)
        why = "is missing: give a model's folder, a checkpoint, RUN or RUN/MODEL"
        if model and (root / "predictions" / f"{model}.csv").is_file():
            why = "has scores alone: classical models are not saved; name a network"
        why += f"; did you mean {' or '.join(close)}?" if close else ""
        known = f"; there are: {', '.join(there)}" if there else ""
        raise files.ArtifactError(f"the model {os.fspath(name)!r} {why}{known}")
    if not (path / "run.json").is_file():
        return path
    names = networks(path)
    if best := best_described(path) or (len(names) == 1 and path / "checkpoints" / names[0]):
        return best
    if not names:
        why = "classical models are not saved, and notebooks 02 (PatchCore), 03 and 05 train others"
        raise files.ArtifactError(f"{name} has no trained network: {why}")
    raise files.ArtifactError(
        f"{name} does not say which network is the best before notebook 07 has been run: name one "
        f"(there are: {', '.join(names)})"
    )


def best_described(root: Path) -> Path | None:
    """Return the folder of a run's best network that has a model.json, if any; see `ranked`."""
    folders = {name: root / "checkpoints" / name for name in networks(root)}
    described = [name for name, folder in folders.items() if description.read_description(folder)]
    if len(described) > 1:
        order = ranked(record.read_models(RunPaths(os.fspath(root))))
        described = [name for name in order if name in described]
    return folders[described[0]] if described else None


def networks(root: Path) -> list[str]:
    """Return the names of a run's models that have checkpoints and predictions, sorted."""
    names = sorted(path.stem for path in (root / "predictions").glob("*.csv"))
    return [name for name in names if checkpoints(root / "checkpoints" / name)]


def network_for(run_paths: RunPaths, wanted: str = "", but: str = "") -> tuple[str, Scored] | None:
    """Return name and scores of the network `wanted`, or else of the first by `ranked`, if any.

    The network `but`, and networks that cannot be built here, are passed over.
    """
    scored = record.read_models(run_paths)
    names = ranked(scored)
    first = chosen(scored, wanted) if wanted else names[0]
    order = [n for n in dict.fromkeys((first, *names)) if n != but]
    name = next((n for n in order if _network_in(run_paths.trainings(n))), "")
    if not name:
        print("no network has been trained in this run: notebook 03 or 05 trains one")
        return None
    if wanted and name != first:
        print(f"{scored[first].title} is not a network here: {scored[name].title} takes its place")
    return name, scored[name]


def _network_in(folder: Path) -> Network | None:
    """Load a model's first network, if any; print why one cannot be built here."""
    if not (trainings := checkpoints(folder)):
        return None
    try:
        return backbones.load_model(trainings[0])
    except files.ArtifactError as error:
        print(f"left out: {error}")
        return None


def describe_models(
    run: "Run", scored: dict[str, Scored], points: pd.DataFrame, calibrated: pd.DataFrame
) -> list[Description]:
    """Write model.json for each network that can be built here; return them, the best first.

    The `points` are `decision.operating_table` of the deployed models, or `decision.good_alone` of
    PatchCore; `calibrated` is `decision.calibration_table`: without rows there is no probability.
    """
    points = points[points.side == "val"]
    # a usual good part has logit 0 by PatchCore: no temperature makes its scores probabilities
    temperature = calibrated.set_index("model").temperature.drop("patchcore", errors="ignore")
    content, described = run.record, list[Description]()
    kind, colon, place = content.get("dataset", "").partition(":")
    origin = {
        "run": run.paths.name,
        "is_smoke": run.is_smoke,
        "dataset": f"{kind}{colon}{Path(place).name}",  # not where it was on this machine
        "images_digest": run.images().digest,
        "split_digest": content.get("split", ""),
        "attribution": run.source.get("attribution", ""),
    }
    for name in ranked(scored):
        if not (network := _network_in(run.paths.trainings(name))):
            continue
        trainings, scale = checkpoints(run.paths.trainings(name)), temperature.get(name)
        notes = content["stages"].get(content.get("models", {}).get(name, {}).get("stage"), {})
        names, origin["weights"] = (notes.get(key, "") for key in ("backbone", "weights"))
        if ", " in names:  # of several backbones; a file, whose name may hold a comma, is for one
            each = dict(zip(names.split(", "), origin["weights"].split(", "), strict=False))
            origin["weights"] = each.get(description.backbone_of(network), origin["weights"])
        images = run.images(network.spec.image_size_px)  # decoded for its training
        origin["training_ranges"] = training_ranges(images, run.split)
        about = description.describe(
            scored[name], points[points.model == name], scale, trainings, **origin
        )
        files.save_json(run.output(trainings[0].with_name(description.NAME)), asdict(about))
        described.append(about)
    return described


def training_ranges(images: ImageCache, split: pd.DataFrame) -> dict[str, list[float]]:
    """Return `measures.ranges` of the training images, of at most `MOST_MEASURED`."""
    rows = images.rows(split.id[split.split == "train"])
    sizes = images.table[["width_px", "height_px"]].to_numpy()
    some = rows[style.evenly(len(rows), MOST_MEASURED)]
    return measures.ranges([measures.measure(images.pixels[row], *sizes[row]) for row in some])
