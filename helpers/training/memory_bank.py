"""PatchCore's memory: a core set of good patches, and the scores of images against it.

Roth et al. 2022, "Towards Total Recall in Industrial Anomaly Detection", arXiv 2106.08265, sections
3.2 and 3.3. Features are those of `helpers.models.patch_features`, (B, D, h, w) float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.random_projection import SparseRandomProjection
from torch import Tensor

NEIGHBOURS = 9  # b of equation 7; the paper names none, anomalib takes 9
PROJECTED = 128  # dimensions in which the core set is chosen, as in the authors' program
DISTANCES_AT_ONCE = 2**24  # 64 MB of float32


@dataclass(frozen=True)
class MemoryBank:
    """Patches of good images, M of the paper, and the score that is usual for a good image.

    Example:
        bank = MemoryBank(torch.from_numpy(patches[core_set(patches, 1000, seed=0)]))
        raw = bank.scores(features)  # (B,), from 0 on
    """

    patches: Tensor  # (M, D) float32
    usual: float = 1.0  # the median score of good images that the memory does not hold

    def distances(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return each patch's distance to the nearest one in the memory, and the row of that.

        Both are (B, h, w).
        """
        b, d, h, w = features.shape
        patches, memory = features.permute(0, 2, 3, 1).reshape(-1, d), self._on(features.device)
        parts = patches.split(max(1, DISTANCES_AT_ONCE // len(memory)))
        found = [torch.cdist(part, memory).min(dim=1) for part in parts]
        return (
            torch.cat([part.values for part in found]).reshape(b, h, w),
            torch.cat([part.indices for part in found]).reshape(b, h, w),
        )

    def scores(self, features: Tensor) -> Tensor:
        """Return the score s of each image (B,), equations 6 and 7 of the paper.

        Let m_test be the patch that is farthest from the memory, m its nearest neighbour there, and
        s_max their distance. With N_b(m), the b patches of the memory nearest to m, m among them,

            s = (1 - exp(s_max) / sum over n in N_b(m) of exp |m_test - n|) * s_max:

        a patch next to a rare good one is more suspicious than one next to many of its kind.
        """
        memory = self._on(features.device)
        distances, rows = self.distances(features)
        farthest, where = distances.flatten(1).max(dim=1)  # s_max of each image, and its patch
        images = torch.arange(len(features), device=features.device)
        m_test = features.flatten(2)[images, :, where]  # (B, D)
        m = memory[rows.flatten(1)[images, where]]  # (B, D)
        b = min(NEIGHBOURS, len(memory))
        near = torch.cdist(m, memory).topk(b, largest=False).indices  # (B, b), rows of N_b(m)
        to_near = torch.linalg.vector_norm(m_test[:, None] - memory[near], dim=2)  # (B, b)
        # the exponential of a large distance is infinite: the fraction is computed in logarithms
        weight = 1 - (farthest - to_near.logsumexp(dim=1)).exp()
        return weight.clamp(min=0) * farthest

    def defect_scores(self, scores: ArrayLike) -> np.ndarray:
        """Map scores (N,) to [0, 1), without changing their order: s / (s + usual).

        0.5 is as unusual as the median good image. No label of a bad part is needed. These numbers
        are not probabilities.
        """
        s = np.asarray(scores, dtype=np.float64)
        return s / (s + self.usual)

    def _on(self, device: torch.device) -> Tensor:
        return self.patches.to(device)


def core_set(
    patches: np.ndarray, size: int, seed: int, device: torch.device | None = None
) -> np.ndarray:
    """Return the rows (size,) of a core set of patches (N, D), chosen greedily.

    The core set should have the smallest possible maximum, over all patches, of the distance to its
    nearest member (equation 5 of the paper, the k-centre problem). The greedy choice, which comes
    within a factor of 2, starts from a random patch and adds the patch that is farthest from all
    chosen ones. If patches have more than `PROJECTED` dimensions, distances are measured after a
    sparse random projection (Johnson and Lindenstrauss).

    Time grows with N * size, memory with N.

    Raises:
        ValueError: `size` is not from 1 to N.
    """
    if not 1 <= size <= len(patches):
        raise ValueError(f"a core set of {size} cannot be chosen from {len(patches)} patches")
    generator = np.random.default_rng(seed)
    if patches.shape[1] > PROJECTED:
        random_state = int(generator.integers(2**31))
        patches = SparseRandomProjection(PROJECTED, random_state=random_state).fit_transform(
            patches
        )
    x = torch.from_numpy(np.ascontiguousarray(patches, dtype=np.float32)).to(device)
    x = x - x.mean(dim=0)  # distances stay, and their rounding errors become smaller
    squares = (x * x).sum(dim=1)
    nearest = torch.full_like(squares, torch.inf)  # squared distance to the nearest chosen patch
    chosen = np.empty(size, dtype=np.int64)
    row = int(generator.integers(len(x)))
    for i in range(size):
        chosen[i] = row
        torch.minimum(nearest, squares - 2 * (x @ x[row]) + squares[row], out=nearest)
        nearest[row] = -torch.inf  # equal patches have no distance left, and no row comes twice
        row = int(nearest.argmax())
    return chosen
