"""Scores of any number of images by a trained model; the command line is `helpers.score`."""

from helpers.core.errors import UserError


class ScoreError(UserError):
    """Images cannot be scored; the message names the culprit and the way out."""
