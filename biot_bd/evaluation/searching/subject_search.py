"""SKELETON (owner A)."""

from __future__ import annotations

import os
from typing import Any

from biot_bd.evaluation.result import Result


def search(
    estimator: Any,
    grid: Any,
    X: Any,
    *,
    y: Any = None,
    groups: Any = None,
    cv: Any = "subject-loo",
    inner_cv: Any = "subject-kfold-3",
    folder: str | os.PathLike[str] | None = None,
    n_jobs: int = 1,
    progress: bool = True,
    engine: Any = "grid",
    scoring: Any = ("average_precision", "roc_auc", "balanced_accuracy"),
    threshold: str | float = "balanced-accuracy",
    validation_fraction: float = 0.25,
    random_state: int = 0,
    title: str | None = None,
) -> Result:
    """SKELETON."""
    raise NotImplementedError
