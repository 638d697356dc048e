"""Train networks of genotypes from random weights: the report's last two rows, and random cells.

The preset `paper` follows Table 1 with DARTS's ImageNet extras (arXiv 1806.09055, appendix A.4):
auxiliary loss, smoothed labels, clipped gradients. The other presets' recipes are for few images.
Results are compared with random cells of the same space and budget, and over several seeds
(Lindauer and Hutter, arXiv 1909.02453).
"""

from __future__ import annotations

from collections.abc import Sequence

from helpers.core import seeding
from helpers.core.members import Member
from helpers.darts.genotypes import Genotype
from helpers.darts.named import NamedCell, named_cells
from helpers.darts.network import DerivedNetwork, build_derived, derived_spec
from helpers.darts.settings import RetrainSettings
from helpers.datasets.cache import ImageCache
from helpers.models.names import DISTILLED
from helpers.models.spec import ModelSpec
from helpers.runs.stages import Stage
from helpers.training.distillation import Teacher, find_teacher
from helpers.training.trained import NUM_CLASSES, Recipe, Trained, train_models


def cells_of(stage: Stage) -> list[NamedCell]:
    """Return the cells that the stage's GENOTYPES name; `named_cells` says what is refused."""
    settings: RetrainSettings = stage.settings
    return named_cells(settings.genotypes, stage.paths.genotypes_root, settings.random_cells)


def network_spec(settings: RetrainSettings, genotype: Genotype, cache: ImageCache) -> ModelSpec:
    """Return the specification of a genotype's network at the stage's size."""
    return derived_spec(
        genotype,
        settings.retrain_channels,
        settings.retrain_layers,
        NUM_CLASSES,
        cache.size_px,
        cache.channels,
        auxiliary=settings.auxiliary,
    )


def make_network(
    settings: RetrainSettings, genotype: Genotype, cache: ImageCache, seed: int
) -> DerivedNetwork:
    """Return the network of a genotype with initial weights that depend on the seed alone."""
    with seeding.torch_stream(seed, "initial weights network"):
        network = build_derived(network_spec(settings, genotype, cache))
    network.drop_path = settings.drop_path
    return network


def train_cells(stage: Stage, cells: Sequence[NamedCell]) -> list[Trained]:
    """Train the network of every cell from random weights, once for each seed.

    With DISTILL each cell is trained a second time, with the labels and a teacher.
    """
    settings: RetrainSettings = stage.settings
    cache = stage.images(settings.retrain_image_size_px)
    members = [Member(settings.seed + k) for k in range(settings.seeds)]
    teacher = find_teacher(stage) if settings.distill else None
    teachers = [None, teacher] if teacher else [None]
    recipes = [recipe_of(settings, cell, cache, taught) for cell in cells for taught in teachers]
    return train_models(stage, recipes, cache, members)


def recipe_of(
    settings: RetrainSettings, cell: NamedCell, cache: ImageCache, teacher: Teacher | None = None
) -> Recipe:
    """Return how the network of a cell is trained at the stage's size."""
    facts = {
        "cell": cell.name,
        "network": f"C={settings.retrain_channels}, L={settings.retrain_layers}",
        "ema_decay": settings.ema_decay,
        **cell.cost,
    }
    options = network_spec(settings, cell.genotype, cache).options
    return Recipe(
        cell.name + (DISTILLED if teacher else ""),
        lambda seed: make_network(settings, cell.genotype, cache, seed),
        settings.training,
        {"architecture": "derived", "network": options, "drop_path": settings.drop_path},
        views=settings.test_views,
        facts=facts,
        teacher=teacher,
    )
