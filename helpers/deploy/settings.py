"""Settings of `your_part`: the model that answers, the user's folder, costs, the export."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from helpers.core.rules import STRICT, Text, setting
from helpers.results.settings import ESCAPE_COST, FALSE_ALARM_COST, refuse_one_cost

MOST_OWN_IMAGES = 200  # of a folder that is asked about; `helpers.score` takes any number


@dataclass(frozen=True, config=STRICT)
class YourPartSettings:
    """07: one part from its file to a verdict, and a folder of the user's own."""

    model: Text = setting("", "network that answers; empty: the best on validation")
    folder: Text = setting(
        "", "of your images, subfolders are groups; empty: test images of the run"
    )
    escape_cost: float = setting(0.0, ESCAPE_COST, ge=0)
    false_alarm_cost: float = setting(0.0, FALSE_ALARM_COST, ge=0)
    review_cost: float = setting(0.0, "of one look", ge=0)
    export: Literal["", "openvino", "onnx", "torch"] = setting(
        "torch", "format of the exported model; empty: none"
    )

    def __post_init__(self) -> None:
        refuse_one_cost(self)
