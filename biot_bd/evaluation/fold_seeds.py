"""Seeds of all that is random inside a pipeline, so that a fold can be computed again, alone or in
any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

import numpy as np
from sklearn.base import clone

from biot_bd.evaluation.model_selection.inner_splits import GRIDS


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
        elif last == "cv" and _draws_unseeded(value):
            found[name] = _seeded_splitter(value, seed)
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
    return (is_estimator and bool(seeds_of(value, 0))) or _draws_unseeded(value)


def _seeded(value: Any, seed: int) -> Any:
    if _draws_unseeded(value):
        return _seeded_splitter(value, seed)
    return clone(value).set_params(**seeds_of(value, seed))


def _draws_unseeded(splitter: Any) -> bool:
    """Return whether a splitter of scikit-learn shuffles, each time in another way."""
    if hasattr(splitter, "get_params") or not hasattr(splitter, "split") or not hasattr(splitter, "random_state"):
        return False
    return splitter.random_state is None and getattr(splitter, "shuffle", True) is not False


def _seeded_splitter(splitter: Any, seed: int) -> Any:
    seeded = copy(splitter)
    seeded.random_state = seed
    return seeded
