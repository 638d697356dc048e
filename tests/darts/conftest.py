import pandas as pd
import pytest

from helpers.core import paths
from helpers.datasets.cache import ImageCache, open_cache
from tests.conftest import split_of


@pytest.fixture
def cache(home, parts_folder) -> ImageCache:
    """The 120 small parts at 16 px."""
    return open_cache(split_of(parts_folder), 16, paths.cache_root())


@pytest.fixture
def table(parts_folder) -> pd.DataFrame:
    """The 60 training images."""
    split = split_of(parts_folder)
    return split[split.split == "train"]
