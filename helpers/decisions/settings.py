"""Settings of 06 to 08: models to look at, thresholds, costs, the user's own parts."""

from typing import Literal

from pydantic.dataclasses import dataclass

from helpers.core.rules import STRICT, Seed, SettingsError, Text, setting

SEED = "start of all random draws; another seed gives another result"
FOLLOWED = "model to look at; empty: the network of the run (FBP, or one clearly ahead)"
LINE_BAD_RATE = "share of bad parts on the line; None: that of the data"


@dataclass(frozen=True, config=STRICT)
class AnalysisSettings:
    """Settings of notebook 06: the results table, its comparisons, and what the models look at."""

    seed: Seed = setting(0, SEED)
    model: Text = setting("", FOLLOWED)


@dataclass(frozen=True, config=STRICT)
class DecisionSettings:
    """Settings of notebook 07: thresholds with a promise, costs, labels to check."""

    seed: Seed = setting(0, SEED)
    model: Text = setting("", FOLLOWED)
    max_escape_rate: float = setting(0.01, "share of the bad parts that may pass", ge=0, le=1)
    max_overkill_rate: float = setting(0.05, "of the good ones, if bad ones are few", ge=0, le=1)
    escape_cost: float = setting(
        50.0, "of a bad part that passes, made up: give yours, in any unit; 0: unknown", ge=0
    )
    false_alarm_cost: float = setting(5.0, "of a good part that is rejected, made up", ge=0)
    review_share: float = setting(
        0.1, "largest share looked at again, of the parts that choose thresholds", ge=0, le=1
    )
    review_cost: float = setting(1.0, "of one look, made up; fewer are made if they cost", ge=0)
    line_bad_rate: float | None = setting(None, LINE_BAD_RATE, gt=0, lt=1)

    def __post_init__(self) -> None:
        both = self.escape_cost > 0, self.false_alarm_cost > 0
        if any(both) != all(both) or (self.review_cost and not all(both)):
            raise SettingsError(
                "one cost alone says nothing: give both ESCAPE_COST and FALSE_ALARM_COST, or 0 to "
                "both and to REVIEW_COST"
            )


@dataclass(frozen=True, config=STRICT)
class YourPartSettings:
    """Settings of notebook 08: one part from its file to a verdict, and a folder of the user's."""

    model: Text = setting("", "network that answers; empty: the one that the run uses")
    folder: Text = setting(
        "", "of your images, subfolders are groups; empty: test images of the run"
    )
    line_bad_rate: float | None = setting(None, LINE_BAD_RATE, gt=0, lt=1)
    export: Literal["", "onnx"] = setting("onnx", "format of the exported model; empty: none")
