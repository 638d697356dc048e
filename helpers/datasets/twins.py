"""Find near duplicates: images that show one part twice, by a perceptual hash.

Images with equal pixels are found by their digests (`helpers.datasets.decoding`). The same part
photographed twice, sharp and blurred for example, has other pixels but nearly the same hash.
"""

from __future__ import annotations

import imagehash
import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from helpers.datasets.cache import ImageCache

HASH_SIDE = 16  # 16 x 16 = 256 bits
MOST_IMAGES = 100_000  # the comparison of all pairs takes a minute there, and grows with the square
ROWS_AT_ONCE = 4096
LARGEST_CLUSTER = 20  # more images than that are not one part again and again: they look alike


def hashes(cache: ImageCache) -> np.ndarray:
    """Return the perceptual hash (N, 256) bool of every image of a cache.

    It keeps the signs of the 256 lowest frequencies of the cosine transform, so blur, brightness
    and size change few bits (ImageHash's `phash`).
    """
    found = np.empty((len(cache.table), HASH_SIDE**2), dtype=bool)
    for start in range(0, len(found), ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, len(found)))
        for row, pixels in zip(rows, cache.take(rows), strict=True):
            image = Image.fromarray(pixels.squeeze())
            found[row] = imagehash.phash(image, hash_size=HASH_SIDE).hash.ravel()
    return found


def near_pairs(hashes: np.ndarray, most_bits: int) -> pd.DataFrame:
    """Return the pairs of images whose hashes differ in at most `most_bits` bits.

    Args:
        hashes: (N, bits) bool.
        most_bits: 0 or more.

    Returns:
        `first, second` (row numbers, first < second) and `bits`, in this order.
    """
    signs = np.where(hashes, np.float32(1), np.float32(-1))  # a product counts equal minus other
    found = []
    for start in range(0, len(signs), ROWS_AT_ONCE):
        products = signs[start : start + ROWS_AT_ONCE] @ signs[start:].T
        first, second = np.nonzero(products >= hashes.shape[1] - 2 * most_bits)
        apart = second > first
        first, second = first[apart], second[apart]
        bits = (hashes.shape[1] - products[first, second]) / 2
        found.append(np.stack([first + start, second + start, bits.astype(np.int64)], axis=1))
    table = np.concatenate(found) if found else np.empty((0, 3), dtype=np.int64)
    return pd.DataFrame(table.astype(np.int64), columns=["first", "second", "bits"])


def find(cache: ImageCache, most_bits: int) -> tuple[pd.DataFrame, str]:
    """Return the near duplicates of a cache, and a sentence about what was left alone.

    Clusters of more than `LARGEST_CLUSTER` images (linked by pairs) are left alone: such parts
    look alike to the hash, as flawless chips do, and are not one part taken twice.

    Args:
        cache: the images.
        most_bits: the most bits of 256 in which the hashes of a pair differ; 0: search none.

    Returns:
        `first, second, bits` as `near_pairs`, and the sentence, or "".
    """
    none = pd.DataFrame({"first": [], "second": [], "bits": []}, dtype=np.int64)
    if most_bits == 0:
        return none, "Near duplicates were not searched (TWIN_BITS=0)."
    if len(cache.table) > MOST_IMAGES:
        return none, f"Near duplicates are not searched among more than {MOST_IMAGES:,} images."
    pairs = near_pairs(hashes(cache), most_bits)
    cluster = clusters(len(cache.table), pairs)
    sizes = np.bincount(cluster, minlength=1)
    alike = sizes[cluster] > LARGEST_CLUSTER  # (N,)
    if not alike.any():
        return pairs, ""
    kept = pairs[~alike[pairs["first"]]].reset_index(drop=True)
    return kept, (
        f"{alike.sum():,} images look alike to the hash, in clusters of more than "
        f"{LARGEST_CLUSTER}; they are not treated as near duplicates."
    )


def clusters(n: int, pairs: pd.DataFrame, *columns: pd.Series) -> np.ndarray:
    """Return the number of each image's cluster (n,).

    Images are in one cluster if a pair links them, or if they have the same value in one of the
    columns (n,); a missing value links nothing.
    """
    first, second, nodes = [pairs["first"]], [pairs["second"]], n  # a value is a node as well
    for column in columns:
        codes, values = pd.factorize(column)
        known = np.flatnonzero(codes >= 0)
        first.append(known)
        second.append(nodes + codes[known])
        nodes += len(values)
    ends = (np.concatenate(first), np.concatenate(second))
    links = coo_matrix((np.ones(len(ends[0])), ends), shape=(nodes, nodes))
    return connected_components(links, directed=False)[1][:n]
