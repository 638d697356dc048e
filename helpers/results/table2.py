"""The report's Table 2 complete: every row of every stage, uncertainty, cost, and the report's own
numbers beside it.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from helpers.core import files as artifacts
from helpers.core.paths import RunPaths
from helpers.results import comparison
from helpers.results import table as results_table
from helpers.runs import predictions, stages
from helpers.runs.names import AVERAGED, FINETUNED, display_name, further_seed_of

# Table 2 of the report, on its own 3,000 test images of Nexperia parts: validation accuracy (in
# parentheses on fine-tuned features) and test AUC, per cent. Not this project's numbers.
REPORT = {
    "lda": ("58.0 (96.0)", "-"),
    "rf": ("54.0 (95.6)", "-"),
    "lr": ("55.3 (95.6)", "-"),
    "svm": ("57.0 (95.6)", "-"),
    "ll": ("60.67", "-"),
    "cnn": ("77.0", "-"),
    "fbp": ("97.33", "98.30"),
    "darts_imagenet": ("95.33", "99.06"),
    "darts_searched": ("95.67", "98.57"),
}
REPORT_NAMES = {"darts_searched": "DARTS Nexperia"}  # its search was on its own images
REPORT_COLUMNS = ("Report: Valid Acc", "Report: Test AUC")


def whole_table(run_paths: RunPaths, seed: int = 0) -> pd.DataFrame:
    """A row per model, ensembles included, and the majority baseline; fractions.

    To the columns of `results.results_table` come `parameters` (trained ones), `seconds` and
    `device` of the training, and the comparison with the best row by validation AUC:
    `difference` of the AUC, DeLong's `p_value`, and Holm's `p_holm` over all rows.
    """
    table = results_table.results_table(run_paths, seed, ensembles=True)
    record = stages.load_run(run_paths)
    costs = pd.DataFrame([training_cost(run_paths, record, name) for name in table.model])
    scored = predictions.read_all_predictions(run_paths, ensembles=True)
    scored = results_table.without_further_seeds(scored)
    compared = comparison.compare_with(scored, results_table.best_model(table), seed)
    columns = ["model", "difference", "p_value", "p_holm"]
    joined = pd.concat([table, costs], axis=1)
    return joined.merge(compared[columns], on="model", how="left")


def training_cost(run_paths: RunPaths, record: dict[str, Any], model: str) -> dict[str, Any]:
    """`parameters`, `seconds` and `device` of one model's own training, missing where not known.

    Read from `metrics/<model>_history.json` (networks) or `metrics/fit_<model>.json` (classical
    models), else the device is that of the stage that wrote the predictions. Of several seeds the
    seconds are the sum, in the row of their average too. What a model builds on, such as features
    or members of an ensemble, is not counted again.
    """
    own = _record_of(run_paths, model)
    step = record.get("steps", {}).get(model, {})
    output = run_paths.predictions(model).relative_to(run_paths.root).as_posix()
    wrote = [s for s in record.get("stages", {}).values() if output in s.get("outputs", {})]
    device = f"{wrote[0]['device']}, {wrote[0]['precision']}" if wrote else None
    return {
        "parameters": own.get("parameters"),
        "seconds": _seconds_of_seeds(run_paths, model) or own.get("seconds", step.get("seconds")),
        "device": own.get("device", device),
    }


def _record_of(run_paths: RunPaths, model: str) -> dict[str, Any]:
    """What a model's training has left about itself; of an average, what its first seed's has."""
    name = model.removesuffix(AVERAGED)
    files = [run_paths.metrics(f"{name}_history"), run_paths.metrics(f"fit_{name}")]
    own: dict[str, Any] = next((artifacts.load_json(path) for path in files if path.is_file()), {})
    return own if name == model else {"device": own["device"]} if "device" in own else {}


def _seconds_of_seeds(run_paths: RunPaths, model: str) -> float | None:
    """The sum over a model's seeds; None of a model with one."""
    name = model.removesuffix(AVERAGED)
    files = sorted(run_paths.predictions_root.glob(f"{glob.escape(name)}_seed*.csv"))
    further = [file.stem for file in files if further_seed_of(file.stem) == name]
    found = [_record_of(run_paths, one).get("seconds") for one in (name, *further)]
    seconds = [value for value in found if value]
    return sum(seconds) if further and len(seconds) == len(found) else None


def paper_table(table: pd.DataFrame) -> pd.DataFrame:
    """The shape of the report's Table 2: per cent, fine-tuned features in parentheses.

    Where test labels are hidden, the validation AUC stands there too.
    """
    titles = {"val_accuracy": "Valid Acc"}
    if "test_auc" not in table:
        titles["val_auc"] = "Valid AUC"
    titles |= {"test_auc": "Test AUC", "test_accuracy": "Test Acc", "test_f1": "Test F1"}
    by_name = table.set_index("model")
    rows = []
    for name in by_name.index:
        if _is_twin(name, by_name.index):
            continue
        twin = name + FINETUNED
        row = {"Model": display_name(name)}
        seeds = by_name.loc[name].get("seeds")
        if seeds is not None and pd.notna(seeds):
            row["Model"] += f" (mean ± sd of {int(seeds)} seeds)"
        for column, title in titles.items():
            text = _per_cent(by_name.loc[name], column)
            if twin in by_name.index and text != "-":
                text += f" ({_per_cent(by_name.loc[twin], column)})"
            row[title] = text
        rows.append(row)
    return pd.DataFrame(rows)


def report_shape(table: pd.DataFrame) -> pd.DataFrame:
    """The report's Table 2 for the eye: per cent, fine-tuned features in parentheses, `p` against
    the best row, cost, and the report's own numbers in columns that say so.

    Rows of the report that the run does not have stand there with the report's numbers alone.
    """
    shape = paper_table(table)
    names = [name for name in table.model if not _is_twin(name, table.model.tolist())]
    by_name = table.set_index("model")
    cells = {"p": _p_value, "Parameters": _parameters, "Seconds": _seconds}
    if table.device.nunique() > 1:  # one device for all stands in the caption
        cells["Device"] = _device
    for title, cell in cells.items():
        shape[title] = [_with_twin(by_name, name, cell) for name in names]
    for position, title in enumerate(REPORT_COLUMNS):
        shape[title] = [REPORT.get(name, ("-", "-"))[position] for name in names]
    missing = [name for name in REPORT if name not in names]
    rows = [
        {"Model": f"{REPORT_NAMES.get(name, display_name(name))} (not in this run)"}
        | dict(zip(REPORT_COLUMNS, REPORT[name], strict=True))
        for name in missing
    ]
    return pd.concat([shape, pd.DataFrame(rows)], ignore_index=True).fillna("-")


def _is_twin(name: str, names: Sequence[str]) -> bool:
    """True of a model on fine-tuned features that stands in another row's parentheses."""
    return name.endswith(FINETUNED) and name.removesuffix(FINETUNED) in names


def table_notes(table: pd.DataFrame) -> str:
    """What the columns of `report_shape` mean, in a sentence or two."""
    side = "test" if "test_auc" in table else "validation (test labels are hidden)"
    best = display_name(results_table.best_model(table))
    return (
        f"p: DeLong's test of the {side} AUC against {best}, the best by validation AUC, by Holm "
        "for the number of rows; of several seeds it is that of the first. Parameters are the "
        "trained ones; seconds are the model's own training, of several seeds the sum, without the "
        "features or members that it builds on. Report: the report's own numbers on its own "
        "Nexperia images, not comparable with the others."
    )


def _per_cent(row: pd.Series, column: str) -> str:
    value = row.get(column)
    if value is None or pd.isna(value):
        return "-"
    spread = row.get(f"{column}_std")
    if spread is not None and pd.notna(spread):
        return f"{100 * value:.1f} ± {100 * spread:.1f}"
    low = row.get(f"{column}_low")
    if low is None or pd.isna(low):
        return f"{100 * value:.1f}"
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * row[f'{column}_high']:.1f}]"


def _with_twin(by_name: pd.DataFrame, name: str, cell: Callable[[pd.Series], str]) -> str:
    twin = name + FINETUNED
    text = cell(by_name.loc[name])
    if twin not in by_name.index:
        return text
    other = cell(by_name.loc[twin])
    return text if text == other == "-" else f"{text} ({other})"


def _p_value(row: pd.Series) -> str:
    if pd.isna(row.p_holm):
        return "-" if row.name == "majority" else "best"
    return "<.001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}".removeprefix("0")


def _parameters(row: pd.Series) -> str:
    return "-" if pd.isna(row.parameters) else f"{int(row.parameters):,}"


def _seconds(row: pd.Series) -> str:
    if pd.isna(row.seconds):
        return "-"
    return f"{row.seconds:.0f}" if row.seconds >= 10 else f"{row.seconds:.1f}"


def _device(row: pd.Series) -> str:
    return row.device if isinstance(row.device, str) else "-"
