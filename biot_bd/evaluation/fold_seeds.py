"""Seeds of all that is random inside a pipeline, so that a fold can be computed again, alone or in
any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import clone

from biot_bd.evaluation.model_selection.inner_splits import GRIDS
from biot_bd.evaluation.model_selection.seeded_splitters import draws_unseeded, seeded_splitter


def seeds_of(estimator: Any, seed: int) -> dict[str, Any]:
    """Return the parameters that give a seed to whatever inside an estimator has none.

    Parameters
    ----------
    estimator : estimator
        Not changed.
    seed : int

    Returns
    -------
    dict
        For ``set_params``: every ``random_state`` that is None, at any depth; the same of the
        estimators that a search's grid lists; splitters that shuffle without a seed.
    """
    found: dict[str, Any] = {}
    for name, value in estimator.get_params(deep=True).items():
        last = name.rpartition("__")[2]
        if last == "random_state" and value is None:
            found[name] = seed
        elif last in GRIDS:
            found[name] = _grid(value, seed)
        elif last == "cv" and draws_unseeded(value):
            found[name] = seeded_splitter(value, seed)
    return found


def _grid(grid: Any, seed: int) -> Any:
    if isinstance(grid, (list, tuple)):
        return [_grid(part, seed) for part in grid]
    if not isinstance(grid, Mapping):
        return grid
    return {name: _values(values, seed) for name, values in grid.items()}


def _values(values: Any, seed: int) -> Any:
    if not isinstance(values, (list, tuple, np.ndarray)) or not any(map(_has_seeds, values)):
        return values
    return [_seeded(value, seed) if _has_seeds(value) else value for value in values]


def _has_seeds(value: Any) -> bool:
    is_estimator = hasattr(value, "get_params") and not isinstance(value, type)
    return (is_estimator and bool(seeds_of(value, 0))) or draws_unseeded(value)


def _seeded(value: Any, seed: int) -> Any:
    if draws_unseeded(value):
        return seeded_splitter(value, seed)
    return clone(value).set_params(**seeds_of(value, seed))
