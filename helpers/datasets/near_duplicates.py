"""Find near duplicates: images that show one part twice, by a perceptual hash.

The same part photographed twice, sharp and blurred for example, has nearly the same hash: a bit of
ImageHash's `phash` says if one of the lowest frequencies of the original pixels is above their
median. So blur, brightness and size change few bits; the size that the models see changes none.
"""

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from helpers.datasets.cache import ImageCache

MOST_IMAGES = 100_000  # the comparison of all pairs takes a minute there, and grows with the square
ROWS_AT_ONCE = 1024
NO_PAIRS = pd.DataFrame({"first": [], "second": [], "bits": []}, dtype=np.int64)
LARGEST_CLUSTER = 20  # a larger one holds different parts that look alike


def find(cache: ImageCache, most_bits: int) -> tuple[pd.DataFrame, str]:
    """Return the pairs of near duplicates in a cache, and a sentence about what is ignored.

    Clusters of more than `LARGEST_CLUSTER` images (linked by pairs) are ignored: these parts look
    alike to the hash, as flawless chips do. With `most_bits` 0, nothing is searched.
    """
    n = len(cache.table)
    if most_bits == 0 or n > MOST_IMAGES:
        why = f"NEAR_DUPLICATE_BITS=0, or more than {MOST_IMAGES:,} images"
        return NO_PAIRS, f"Near duplicates were not searched ({why})."
    bits = np.unpackbits(np.frombuffer(bytes.fromhex("".join(cache.table.hash)), dtype=np.uint8))
    pairs, alike = near_pairs(bits.reshape(n, -1).astype(bool), most_bits)
    cluster = clusters(n, pairs)
    alike |= np.bincount(cluster)[cluster] > LARGEST_CLUSTER
    alike = np.isin(cluster, cluster[alike])  # with all that pairs link to them
    pairs = pairs[~alike[pairs["first"]]].reset_index(drop=True)
    remark = (
        f"{alike.sum():,} images have nearly the same hash, in clusters of more than "
        f"{LARGEST_CLUSTER}; they are not treated as near duplicates."
    )
    return pairs, remark if alike.any() else ""


def near_pairs(hashes: np.ndarray, most_bits: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the pairs of images whose hashes (N, bits) bool differ in at most `most_bits` bits.

    The pairs have `first, second` (row numbers, first < second) and `bits`, in this order. An image
    with more than `LARGEST_CLUSTER` such neighbours is the first of no pair, as the number of pairs
    would grow with the square; the second value (N,) is True for these images and neighbours.
    """
    signs = np.where(hashes, np.float32(1), np.float32(-1))  # products: equal bits minus others
    blocks, alike = [np.empty((0, 3), dtype=np.int64)], np.zeros(len(signs), dtype=bool)
    for start in range(0, len(signs), ROWS_AT_ONCE):
        products = signs[start : start + ROWS_AT_ONCE] @ signs.T
        differ = (hashes.shape[1] - products) / 2  # bits
        near = differ <= most_bits
        many = near.sum(axis=1) > LARGEST_CLUSTER + 1  # each image is near itself
        alike |= near[many].any(axis=0)
        near[many] = False
        first, second = np.nonzero(np.triu(near, start + 1))
        bits = differ[first, second].astype(np.int64)
        blocks.append(np.stack([first + start, second, bits], axis=1))
    return pd.DataFrame(np.concatenate(blocks), columns=["first", "second", "bits"]), alike


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
