"""The former name of `helpers.runs.opened`, until notebooks 06 and 07 use the new one."""

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.runs.opened import *  # noqa: F403
from helpers.training.features import Features


def features_before_and_after(run_paths: RunPaths, backbone: str | None) -> dict[str, Features]:
    """Return the embeddings of a backbone (the first, if several are named) and of FBP, if any."""
    names = {"pretrained": (backbone or "").partition(",")[0], "fine-tuned": "fbp"}
    places = {kind: run_paths.features(name) for kind, name in names.items()}
    if not all(place.is_file() for place in places.values()):
        return {}
    return {
        kind: Features.of_arrays(files.load_arrays(place, "id", "embedding"))
        for kind, place in places.items()
    }
