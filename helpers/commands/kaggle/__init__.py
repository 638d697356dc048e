"""Kaggle from the command line and from Python: download, submit, push.

    from helpers.commands import kaggle
    kaggle.download()
    kaggle.submit("submissions/elpv-quick.csv", "first try")

Built on the official packages kaggle and kagglehub. They are imported when a request is due, since
importing kaggle authenticates, prints and creates a folder.
"""

from helpers.commands.kaggle.client import KaggleError
from helpers.commands.kaggle.files import download
from helpers.commands.kaggle.kernels import Push, push
from helpers.commands.kaggle.series import push_series
from helpers.commands.kaggle.submissions import submit

__all__ = ["KaggleError", "Push", "download", "push", "push_series", "submit"]
