"""The table of predictions: its columns, its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from biot_bd.evaluation.data import Data
from biot_bd.evaluation.model_selection.folds import Fold
from biot_bd.runs import atomic_path

PREDICTION_COLUMNS = (
    "fold",
    "part",
    "window",
    "recording",
    "subject",
    "start_s",
    "stop_s",
    "y_true",
    "proba",
    "threshold",
)


def predictions_of(data: Data, fold: Fold, part: str, rows: np.ndarray, proba: np.ndarray) -> pd.DataFrame:
    """Return the table of predictions of one part of a fold, without the threshold."""
    table = data.table.iloc[rows].reset_index(drop=True)
    table = table.assign(fold=fold.index, part=part, window=rows, y_true=data.y[rows], proba=proba, threshold=np.nan)
    return table[list(PREDICTION_COLUMNS)]


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """Return predictions with column types that do not depend on their content."""
    types = {"fold": "int64", "window": "int64", "y_true": "int64"}
    types |= dict.fromkeys(("start_s", "stop_s", "proba", "threshold"), "float64")
    types |= dict.fromkeys(("part", "recording", "subject"), "string")
    return table.astype({name: types[name] for name in PREDICTION_COLUMNS})[list(PREDICTION_COLUMNS)]


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write predictions atomically."""
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False)


def read_parquet(path: Path) -> pd.DataFrame:
    """Read predictions.

    Raises
    ------
    ValueError
        The file is damaged or lacks a column; the message names it.
    """
    try:
        return typed(pd.read_parquet(path))
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: no readable predictions ({error}); delete it and run the study again") from error
