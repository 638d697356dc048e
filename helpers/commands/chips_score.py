"""Score a submission for the synthetic chips, as the contest's server would do it.

    python -m helpers.commands.chips_score --data DIR submissions/RUN.csv

The hidden labels of DIR are read here and nowhere else.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from helpers.core import files
from helpers.datasets import DataError
from helpers.datasets.chips.write import HIDDEN_LABELS
from helpers.results.metrics import Interval, delong_interval
from helpers.results.submission import SubmissionError, validate_submission


def score(submission: Path, data: Path) -> tuple[Interval, int]:
    """Return the ROC AUC against the hidden labels with its 95 % interval (DeLong), and the rows.

    Raises:
        DataError: `data` has no hidden labels.
        SubmissionError: the contest would not take the file.
    """
    labels = data / HIDDEN_LABELS
    if not labels.is_file():
        raise DataError(
            f"{labels} is missing: only sets drawn by helpers.datasets.chips can be scored here"
        )
    hidden = files.load_csv(labels, ("id", "label"))
    sent = validate_submission(submission, hidden.id.tolist())
    scores = sent.set_index("id").defect_score.loc[hidden.id].to_numpy()
    return delong_interval(hidden.label.to_numpy(), scores), len(hidden)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m helpers.commands.chips_score")
    parser.add_argument("submission", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of the synthetic chips")
    options = parser.parse_args(arguments)
    try:
        (auc, low, high), rows = score(options.submission, options.data)
    except (DataError, SubmissionError, files.ArtifactError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"AUC {auc:.4f} [{low:.4f}, {high:.4f}] on {rows} hidden test images (synthetic)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
