"""Places that are spread over a list, without chance."""

import numpy as np


def evenly(n: int, most: int) -> np.ndarray:
    """Return places from 0 to n - 1 at about equal distances: `most` of them, or all n if fewer."""
    return np.linspace(0, n - 1, min(n, most)).round().astype(int)
