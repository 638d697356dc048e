"""Write the contest's CSV, and check its content against the sample submission.

Kaggle's client sends any file, even an empty one, and each bad file costs one of the few
submissions of the day. So every rule is checked here; each error names the row and the way out.
"""

import codecs
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.core.errors import UserError
from helpers.core.files import ArtifactError, load_csv, reading, refuse_marked
from helpers.datasets.contest import header_of, read_sample

NO_SCORE = "defect_score {defect_score} is not a number from 0 to 1; write a probability of bad"


def submission_table(
    scores: pd.DataFrame, about: Mapping[str, Any] | None = None, is_whole: bool = True
) -> pd.DataFrame:
    """Return the submission of some scores (`id`, `defect_score`).

    `about` is `Source.submission`, the columns and ids of the contest's sample submission; without
    it the columns are those of the scores. Rows are those that the sample names, and all if it
    names none. If the submission `is_whole`, a UserError names an id of it that has no score.
    """
    about = about or {"id": "id", "score": "defect_score", "names": {}}
    if names := about["names"]:
        there = {*scores.id}
        missing = [named for name, named in names.items() if name not in there]
        if missing and is_whole:
            raise UserError(
                f"the sample submission has {about['id']} {missing[0]!r}, which has no score "
                f"({len(missing)} of {len(names)}): run notebook 01 again with all test images"
            )
        scores = scores[scores.id.isin(names)]
    ids = scores.id.map(lambda name: names.get(name, name))
    return pd.DataFrame({about["id"]: ids, about["score"]: scores.defect_score})


def validate_submission(path: Path, sample: Path) -> pd.DataFrame:
    """Check a submission; return it as a table of its ids (str) and scores (float64).

    The contest's `sample` submission has the ids of the test set, and the names of the columns. An
    ArtifactError names a wrong header, id or score; a score is a number from 0 to 1.
    """
    expected, id_name, score = read_sample(sample)
    columns = [id_name, score]
    if not expected:
        raise ArtifactError(f"{path} cannot be checked: {sample} has no ids")
    with reading(path):
        has_mark = path.read_bytes().startswith(codecs.BOM_UTF8)
    if has_mark:
        raise ArtifactError(f"{path} starts with a byte order mark: save it as UTF-8 without BOM")
    if (header := header_of(path)) != columns:
        raise ArtifactError(f"{path}: the header is {','.join(header)}; write {','.join(columns)}")
    frame = load_csv(path, columns, text=columns)
    ids, scores = frame[id_name], pd.to_numeric(frame[score], errors="coerce")
    unknown = "is not in the test set; write the ids as the sample submission does"
    checks = {
        f"{id_name} {{id!r}} occurs twice; keep one row for each test image": ids.duplicated(),
        NO_SCORE.replace("defect_score ", f"{score} "): ~scores.between(0, 1),
        f"{id_name} {{id!r}} {unknown}": ~ids.isin(expected),
    }
    refuse_marked(path, frame.set_axis(["id", "defect_score"], axis="columns"), checks)
    there = set(ids)
    missing = [(n, name) for n, name in enumerate(expected, 1) if name not in there]
    if missing:
        n, first = missing[0]
        raise ArtifactError(
            f"{path}: {id_name} {first!r} (row {n} of {sample}) is missing, {len(missing)} of "
            f"{len(expected)} in all. Predict every test image."
        )
    return frame.assign(**{score: scores})
