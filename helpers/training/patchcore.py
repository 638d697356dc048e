"""PatchCore, a model for lines that have no bad parts yet: it learns from good images alone.

Patches of good images fill a memory, of which a core set is kept; it scores other images.

Source: Roth et al. 2022, "Towards Total Recall in Industrial Anomaly Detection", arXiv 2106.08265,
section 3. Features are (B, D, h, w) float32.
"""

import dataclasses
import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.random_projection import SparseRandomProjection
from torch import Tensor, nn

from helpers.core import environment, seeding
from helpers.core.errors import UserError
from helpers.datasets.cache import ImageCache
from helpers.models import backbones
from helpers.models.backbones import ModelSpec, Network, at_once
from helpers.models.weights import Weights
from helpers.training.batches import ImageBatches
from helpers.training.inference import Scorer, facts_of

STRIDES = (8, 16)  # pixels per patch of the two stages: layers 2 and 3 of a ResNet
NEIGHBOURHOOD = 3  # p of the paper: patches are averaged over p x p
NEIGHBOURS = 9  # b of equation 7; the paper gives no value, anomalib takes 9
PROJECTED = 128  # dimensions in which the core set is chosen, as in the authors' program
MEMORY_AT_ONCE = 512  # patches of the memory to which distances are computed at once
NETWORK = "patchcore"  # the kind of its specification
MOST_PATCHES = 100_000  # a core set is chosen from at most so many, equally many of each image
LEAST_PATCHES = 1_000  # in a core set: fewer lose AUC if there are few good images
MOST_ASIDE = 200  # good images kept out of the memory, whose median score is `usual`
LEAST_SCORE = 1e-12  # of an image whose patches are all in the memory; its logarithm is finite


class NoMiddleLayersError(UserError):
    """A network has no stages that give maps of the wanted strides; the message says why."""


def middle_stages(model: backbones.PretrainedClassifier) -> list[int]:
    """Return the positions of the stages of stride 8 and 16 among those of a backbone."""
    stages = {stage["reduction"]: n for n, stage in enumerate(model.trunk.feature_info)}
    if lacking := [stride for stride in STRIDES if stride not in stages]:
        raise NoMiddleLayersError(
            f"{model.spec.name} has no stage of stride {lacking[0]}, which patch features need; "
            f"its strides are {', '.join(map(str, stages))}: choose another BACKBONE"
        )
    return [stages[stride] for stride in STRIDES]


def patch_features(model: backbones.PretrainedClassifier, images: Tensor) -> Tensor:
    """Return the features of all patches of normalised images (B, C, H, W): (B, D, h, w).

    They are the maps of two middle stages, which keep positions better and depend less on
    ImageNet's classes than the last stage: averaged over 3 x 3 neighbours (fewer at the border),
    the coarser one upsampled, and concatenated; (B, 384, 28, 28) for ResNet-18 at 224 px.
    """
    maps = model.trunk.forward_intermediates(
        images, middle_stages(model), stop_early=True, intermediates_only=True
    )
    p, border = NEIGHBOURHOOD, NEIGHBOURHOOD // 2
    fine, coarse = (F.avg_pool2d(m, p, 1, border, count_include_pad=False) for m in maps)
    coarse = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
    return torch.cat([fine, coarse], dim=1)


@dataclass(frozen=True)
class MemoryBank:
    """Patches of good images, M of the paper, and the score that is usual for a good image."""

    patches: Tensor  # (M, D) float32
    usual: float = 1.0  # the median score of good images that the memory does not hold
    inside: Tensor | None = None  # (h, w), 0 for patches that do not count; None: all count

    def distances(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return each patch's distance to the nearest one in the memory, and the row of that one.

        Both are (B, h, w). The distance of a patch that does not count is 0.
        """
        _, d, h, w = features.shape
        patches = features.permute(0, 2, 3, 1).reshape(-1, d)
        parts = self.patches.to(features.device).split(MEMORY_AT_ONCE)
        least = [torch.cdist(patches, m, compute_mode=self._mode).min(dim=1) for m in parts]
        nearest = torch.stack([part.values for part in least]).min(dim=0)  # of the parts
        rows = torch.stack([i * MEMORY_AT_ONCE + part.indices for i, part in enumerate(least)])
        row = rows.gather(0, nearest.indices[None])[0]
        distances = nearest.values.unflatten(0, (-1, h, w))
        if self.inside is not None:
            distances = distances * self.inside.to(features.device)
        return distances, row.unflatten(0, (-1, h, w))

    def scores(self, features: Tensor) -> Tensor:
        """Return the score s of each image (B,), equations 6 and 7 of the paper.

        Let m_test be the patch that is farthest from the memory, m its nearest neighbour there, and
        s_max their distance. With N_b(m), the b patches of the memory nearest to m, m among them,

            s = (1 - exp(s_max) / sum over n in N_b(m) of exp |m_test - n|) * s_max:

        a patch next to a rare good one is more suspicious than one next to many of its kind.
        """
        memory = self.patches.to(features.device)
        distances, rows = self.distances(features)
        farthest, where = distances.flatten(1).max(dim=1)  # s_max of each image, and its patch
        place = where[:, None, None].expand(-1, features.shape[1], 1)
        m_test = features.flatten(2).gather(2, place)[..., 0]  # (B, D)
        m = memory[rows.flatten(1).gather(1, where[:, None])[:, 0]]  # (B, D)
        b = min(NEIGHBOURS, len(memory))
        apart = torch.cdist(memory, m, compute_mode=self._mode)  # (M, B)
        near = apart.t().topk(b, largest=False).indices  # (B, b), of N_b(m)
        to_near = torch.linalg.vector_norm(m_test[:, None] - memory[near], dim=2)  # (B, b)
        # the exponential of a large distance is infinite: the fraction is computed in logarithms
        weight = 1 - (farthest - to_near.logsumexp(dim=1)).exp()
        return weight.clamp(min=0) * farthest

    @property
    def _mode(self) -> str:
        # torch would choose by the number of images too, which the export cannot do
        is_small = len(self.patches) <= 25  # torch's own limit: exact below, fast above
        return "donot_use_mm_for_euclid_dist" if is_small else "use_mm_for_euclid_dist"


class PatchCoreNetwork(Network):
    """A frozen backbone with a memory: `model(images)` gives (0, log(s / usual)) for (good, bad).

    Its softmax s / (s + usual) is the defect score, 0.5 for the median good image. It is not a
    probability.
    """

    memory: Tensor  # (M, D)
    usual: Tensor
    inside: Tensor | None  # (h, w), see `MemoryBank`

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        base = backbones.spec_of(spec.options["backbone"], spec.num_classes, spec.image_size_px)
        self.backbone = backbones.PretrainedClassifier(base)
        self.backbone.register_module("head", nn.Identity())  # not used, so not saved
        self.register_buffer("memory", torch.zeros(spec.options["size"]))
        self.register_buffer("usual", torch.ones(()))
        grid = spec.options.get("grid")  # None without a mask
        self.register_buffer("inside", torch.ones(grid) if grid else None)

    @property
    def bank(self) -> MemoryBank:
        """Return the memory with its usual score."""
        return MemoryBank(self.memory, float(self.usual), self.inside)

    def embed(self, images: Tensor) -> Tensor:
        """Return the backbone's pooled features (B, D) of images (B, C, H, W)."""
        return self.backbone.embed(images)

    def features(self, images: Tensor) -> Tensor:
        """Return the features of all patches, (B, D, h, w) float32."""
        return patch_features(self.backbone, images).float()

    def forward(self, images: Tensor) -> Tensor:
        """Return two scores (B, 2), good and bad; their softmax is the defect score."""
        features = self.features(images)
        with torch.autocast(images.device.type, enabled=False):  # distances need float32
            scores = MemoryBank(self.memory, inside=self.inside).scores(features)
            bad = (scores.clamp(min=LEAST_SCORE) / self.usual).log()
        return torch.stack([torch.zeros_like(bad), bad], dim=1)


backbones.NETWORKS[NETWORK] = PatchCoreNetwork


def network_of(backbone: backbones.PretrainedClassifier, bank: MemoryBank) -> PatchCoreNetwork:
    """Return a backbone with a memory of patches as one network."""
    base, options = backbone.spec, {"size": list(bank.patches.shape)}
    options |= {} if bank.inside is None else {"grid": list(bank.inside.shape)}
    spec = dataclasses.replace(
        base,
        name=f"PatchCore on {base.name}",
        kind=NETWORK,
        feature_layer=f"backbone.{base.feature_layer}",
        options={"backbone": base.kind, **options},
    )
    model = PatchCoreNetwork(spec)
    model.backbone.trunk.load_state_dict(backbone.trunk.state_dict())
    model.memory, model.usual = bank.patches, torch.tensor(bank.usual)
    model.inside = bank.inside
    return model.eval()


def core_set(
    patches: np.ndarray, size: int, seed: int, device: torch.device | None = None
) -> np.ndarray:
    """Return the rows (size,) of a core set of patches (N, D), chosen greedily.

    The largest distance of a patch to its nearest chosen one should be as small as possible
    (equation 5, the k-centre problem). The greedy choice starts from a random patch and adds the
    patch farthest from all chosen ones, after a sparse random projection to `PROJECTED` dimensions.
    """
    generator = np.random.default_rng(seed)
    if patches.shape[1] > PROJECTED:
        random_state = int(generator.integers(2**31))
        projection = SparseRandomProjection(PROJECTED, random_state=random_state)
        patches = projection.fit_transform(patches)
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


@dataclass(frozen=True)
class FittedPatchCore:
    """A frozen backbone with a memory of good patches, and its scores."""

    network: PatchCoreNetwork
    scores: pd.DataFrame  # id, split, defect_score of the rows "val" and "test"
    good_images: int  # whose patches were offered
    patches: int  # that the core set was chosen from
    seconds: float


def fit(
    weights: Weights, images: ImageCache, table: pd.DataFrame, share: float, seed: int
) -> FittedPatchCore:
    """Fill a memory with patches of the good rows `train`; score the rows `val` and `test`.

    The median score of a tenth of the good images, put aside, becomes a defect score of 0.5. The
    core set keeps a `share` of the patches, and at least LEAST_PATCHES, if there are so many. The
    outer ring of patches counts neither here nor later, if there are others.
    """
    started = time.monotonic()
    backbone = backbones.pretrained(weights, num_classes=2, image_size_px=images.size_px)
    device = environment.default_device()
    scorer = Scorer(backbone, device, images=len(table))
    middle_stages(backbone)  # an error comes before the work
    function = functools.partial(patch_features, backbone)

    def features(rows: pd.DataFrame, name: str) -> Iterator[Tensor]:  # (B, D, h, w)
        batches = ImageBatches(images, rows, backbone, at_once(images.size_px))
        return scorer.outputs(function, batches, name)

    def scores(bank: MemoryBank, rows: pd.DataFrame) -> np.ndarray:
        parts = [bank.scores(part).cpu().numpy() for part in features(rows, "patch distances")]
        return np.concatenate(parts)

    good = table[(table.split == "train") & (table.label == 0).fillna(False).astype(bool)]
    if len(good) < 2:
        raise ValueError(f"PatchCore needs two good training images; there are {len(good)}")
    order = seeding.numpy_stream(seed, "patchcore").permutation(len(good))
    aside = min(MOST_ASIDE, max(1, len(good) // 10))
    remembered = good.iloc[np.sort(order[aside:][:MOST_PATCHES])]
    each = MOST_PATCHES // len(remembered)  # all patches of an image that has fewer
    drawn, ids, mask = [], iter(remembered.id), torch.from_numpy(images.inside).float()[None]
    ring = STRIDES[0]  # of pixels, whose patches see the padding: most peaks of good parts
    inner = F.pad(mask[:, ring:-ring, ring:-ring], [ring] * 4)
    mask = inner if inner.any() else mask
    for part in features(remembered, "good patches"):
        # a patch counts if any of its pixels does
        inside = F.adaptive_max_pool2d(mask, tuple(part.shape[2:]))[0]  # (h, w)
        places = np.flatnonzero(inside)
        for patches in part.flatten(2).transpose(1, 2):  # (h w, D)
            stream = seeding.numpy_stream(seed, f"patches of {next(ids)}")
            rows = torch.from_numpy(stream.permutation(places)[:each])
            drawn.append(patches[rows.to(patches.device)].cpu().numpy())
    offered = np.concatenate(drawn)
    size = min(max(round(share * len(offered)), LEAST_PATCHES), len(offered))
    chosen = core_set(offered, size, seeding.stream_seed(seed, "core set"), device)
    bank = MemoryBank(torch.from_numpy(offered[chosen]), inside=None if inside.all() else inside)
    usual = float(np.median(scores(bank, good.iloc[np.sort(order[:aside])]))) or 1.0
    bank = dataclasses.replace(bank, usual=usual)

    judged = table[table.split.isin(["val", "test"])].reset_index(drop=True)
    s = scores(bank, judged).astype(np.float64)
    network = network_of(backbone, bank)
    network.facts = facts_of(images, backbone)
    return FittedPatchCore(
        network=network,
        scores=judged[["id", "split"]].assign(defect_score=s / (s + usual)),
        good_images=len(remembered),
        patches=len(offered),
        seconds=round(time.monotonic() - started, 1),
    )
