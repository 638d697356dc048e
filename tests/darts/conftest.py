import pytest


@pytest.fixture
def table(split):
    """The 60 training images."""
    return split[split.split == "train"]
