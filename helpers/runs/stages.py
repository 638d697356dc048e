"""Names that notebooks and tests used before `runs.open`, while they are being rewritten."""

from helpers.runs.record import load_run as load_run
from helpers.runs.run import Run as Run
from helpers.runs.run import StageError as StageError
from helpers.runs.run import open_run as begin
from helpers.runs.run import prepare as open_stage
from helpers.runs.run import require_earlier as require_earlier
from helpers.runs.source import images_of as images_of
from helpers.runs.source import split_of as split_of

__all__ = ["begin", "open_stage"]
