"""Settings of notebook 08: the model that answers, the user's folder, the export."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from helpers.core.rules import STRICT, Text, setting
from helpers.decisions.settings import LINE_BAD_RATE


@dataclass(frozen=True, config=STRICT)
class YourPartSettings:
    """Settings of notebook 08: one part from its file to a verdict, and a folder of the user's."""

    model: Text = setting("", "network that answers; empty: the best on validation")
    folder: Text = setting(
        "", "of your images, subfolders are groups; empty: test images of the run"
    )
    line_bad_rate: float | None = setting(None, LINE_BAD_RATE, gt=0, lt=1)
    export: Literal["", "onnx"] = setting("onnx", "format of the exported model; empty: none")
