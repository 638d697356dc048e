"""Seconds and peak memory of our t-SNE and scikit-learn's: `python -m tests.benchmarks.tsne`.

Scikit-learn is handed the same principal components, so that only the t-SNE itself is compared.
"""

import argparse
import multiprocessing
import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from helpers import embedding

DIMENSIONS = 512
MIB_PER_MAXRSS = 1 / 1024  # Linux counts KiB


def made_up_embeddings(n: int) -> np.ndarray:
    """Embeddings (n, 512) like a network's: 40 directions of falling spread, noise, a ReLU."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((n, 40), np.float32) * np.linspace(3, 0.3, 40, dtype=np.float32)
    mixing = rng.standard_normal((40, DIMENSIONS), np.float32) / np.float32(np.sqrt(40))
    embeddings = np.float32(0.3) * rng.standard_normal((n, DIMENSIONS), np.float32)
    embeddings += factors @ mixing
    return np.maximum(embeddings, 0, out=embeddings)


def scikit_learn_tsne(embeddings: np.ndarray) -> np.ndarray:
    """Scikit-learn's t-SNE at its own settings, on all cores."""
    reduced = PCA(embedding.PCA_DIMENSIONS, svd_solver="covariance_eigh").fit_transform(embeddings)
    return TSNE(n_jobs=-1, random_state=0).fit_transform(reduced)


def measure(method: str, n: int) -> tuple[float, float, float]:
    """Seconds, the process's peak MiB (imports and data included), and label agreement."""
    x = made_up_embeddings(n)
    start = time.perf_counter()
    plane = embedding.tsne(x) if method == "ours" else scikit_learn_tsne(x)
    elapsed_s = time.perf_counter() - start
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MIB_PER_MAXRSS
    labels = x[:, 0] > np.median(x[:, 0])
    return elapsed_s, peak_mib, embedding.label_agreement(plane, labels)


def main() -> None:
    """Print one line per method and size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[3_000, 10_000, 30_000])
    parser.add_argument("--methods", nargs="+", default=["ours", "scikit-learn"])
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # other programs' load counts less
    fresh = multiprocessing.get_context("spawn")
    print(
        f"{'N x 512':>9}  {'method':12}  {'seconds':>7}  {'MiB':>5}  {'agreement':>9}  {'ratio':>5}"
    )
    for n in arguments.sizes:
        first_s = None
        for method in arguments.methods:
            with ProcessPoolExecutor(1, mp_context=fresh) as pool:
                elapsed_s, peak_mib, agreement = pool.submit(measure, method, n).result()
            first_s = first_s or elapsed_s
            print(
                f"{n:9,}  {method:12}  {elapsed_s:7.1f}  {peak_mib:5.0f}  {agreement:9.3f}  "
                f"{elapsed_s / first_s:5.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
