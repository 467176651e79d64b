"""What the report says of a run with more than two classes: which were taken for which."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from biot_bd.report.run_folder import Run


def classes_of(run: Run) -> tuple[str, ...]:
    """Return the names of the classes by label where there are more than two, else none."""
    names = tuple(run.data.get("classes") or ())
    return names if len(names) > 2 else ()


def decided(test: pd.DataFrame, n_classes: int) -> np.ndarray:
    """Return the most probable class of each window, ``(n_windows,)``.

    Parameters
    ----------
    test : DataFrame
        Predictions, with a column ``proba_<k>`` for each class.
    n_classes : int
        Number of classes.
    """
    proba = test[[f"proba_{k}" for k in range(n_classes)]].to_numpy(np.float64)
    labels: np.ndarray = proba.argmax(axis=1)
    return labels


def class_rows(run: Run) -> list[dict[str, Any]]:
    """Return a row for each class: its windows, what they were taken for, recall and precision.

    Parameters
    ----------
    run : Run
        With more than two classes.
    """
    names = classes_of(run)
    counts = confusion_matrix(run.test["y_true"], decided(run.test, len(names)), labels=range(len(names)))
    n_true, n_called = counts.sum(axis=1), counts.sum(axis=0)
    return [
        {
            "class": name,
            "n_windows": int(n_true[k]),
            "taken_for": dict(zip(names, counts[k].tolist(), strict=True)),
            "recall": float(counts[k, k] / n_true[k]) if n_true[k] else None,
            "precision": float(counts[k, k] / n_called[k]) if n_called[k] else None,
        }
        for k, name in enumerate(names)
    ]


def class_table(run: Run) -> list[dict[str, Any]]:
    """Return the rows of ``tables/classes.csv``; none where there are two classes."""
    if not classes_of(run):
        return []
    return [
        {
            "class": row["class"],
            "n_windows": row["n_windows"],
            **{f"taken_for_{name}": n for name, n in row["taken_for"].items()},
            "recall": row["recall"],
            "precision": row["precision"],
        }
        for row in class_rows(run)
    ]
