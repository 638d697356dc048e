"""Kaggle from the command line and from Python: download, submit, push, status.

Built on the official client's `KaggleApi`, which is imported only when a request is due: importing
it authenticates, prints and creates a folder. What it lets pass in silence is an error here.
"""

from helpers.commands.kaggle.client import COMPETITION, Client, Retry, connect
from helpers.commands.kaggle.errors import KaggleError
from helpers.commands.kaggle.files import download
from helpers.commands.kaggle.kernels import push
from helpers.commands.kaggle.scoring import status
from helpers.commands.kaggle.series import push_series
from helpers.commands.kaggle.submissions import submit

__all__ = [
    "COMPETITION",
    "Client",
    "KaggleError",
    "Retry",
    "connect",
    "download",
    "push",
    "push_series",
    "status",
    "submit",
]
