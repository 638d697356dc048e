"""A trained network with masks of the defects for the tests of this room."""

import dataclasses

import pytest

from helpers.core.paths import HOME_VARIABLE
from helpers.datasets.cache import open_cache
from helpers.explain.subject import make_subject
from tests.conftest import write_parts
from tests.explain_run import SIZE_PX, thirds_of, trained, write_masks


@pytest.fixture(scope="session")
def split(tmp_path_factory):
    """120 parts with masks."""
    parts = write_parts(tmp_path_factory.mktemp("explained") / "parts")
    split = thirds_of(parts)
    write_masks(parts)
    return split


@pytest.fixture(scope="session")
def whole_subject(split, tmp_path_factory):
    """The network and its test parts; `subject` is a copy."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(home))
        cache = open_cache(split, SIZE_PX, home / "cache")
        model, scores = trained(split, cache)
    test = split.assign(defect_score=scores)[split.split == "test"].reset_index(drop=True)
    return make_subject(model, cache, test, 0.5, "Two-layer CNN")


@pytest.fixture
def subject(whole_subject):
    """The network and its test parts."""
    return dataclasses.replace(whole_subject, parts=whole_subject.parts.copy())
