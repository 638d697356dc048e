"""Score a submission for the synthetic chips, as the contest's server would do it.

    python -m helpers.commands.chips_score --data DIR submissions/RUN.csv

The hidden labels of DIR are read here and nowhere else.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from helpers.core import files
from helpers.core.errors import UserError
from helpers.core.metrics import auc_interval
from helpers.datasets import DataError
from helpers.datasets.chips.write import HIDDEN_LABELS
from helpers.results.submission import validate_submission


def main(arguments: list[str] | None = None) -> int:
    """Print the ROC AUC with its 95 % interval (DeLong); return 0, or 1 after an error."""
    parser = argparse.ArgumentParser(prog="python -m helpers.commands.chips_score")
    parser.add_argument("submission", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of the synthetic chips")
    options = parser.parse_args(arguments)
    labels = options.data / HIDDEN_LABELS
    try:
        if not labels.is_file():
            raise DataError(
                f"{labels} is missing: only sets drawn by helpers.datasets.chips can be scored here"
            )
        hidden = files.load_csv(labels, ("id", "label"))
        sent = validate_submission(options.submission, hidden.id.tolist()).set_index("id")
        auc, low, high = auc_interval(hidden.label, sent.defect_score.loc[hidden.id])
    except (UserError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"AUC {auc:.4f} [{low:.4f}, {high:.4f}] on {len(hidden)} hidden test images (synthetic)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
