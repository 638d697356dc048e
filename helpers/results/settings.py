"""Settings of the analysis: which model and which other run it looks at."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from helpers.core.rules import STRICT, Seed, Text, setting

SEED = "start of all random draws; another seed gives another result"
FOLLOWED = "model to look at; empty: the best network on validation"


@dataclass(frozen=True, config=STRICT)
class AnalysisSettings:
    """Settings of notebook 06: the results table, its comparisons, and what the models look at."""

    seed: Seed = setting(0, SEED)
    model: Text = setting("", FOLLOWED)
    compare_run: Text = setting(
        "", "a run by the other kind of folds (random, groups) to compare with"
    )
    map_images: int = setting(32, "for the insertion and deletion curves of Grad-CAM", ge=4)
