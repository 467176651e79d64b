"""What a search may choose from: a grid of values, ranges, distributions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from biot_bd.evaluation.run_facts import Cells
from biot_bd.evaluation.study_identity import describe


@dataclass(frozen=True)
class Range:
    """Numbers from a lowest to a highest one, for searches that draw.

    Whole numbers where both ends are ``int``.

    Parameters
    ----------
    low, high : int or float
        Both ends may be drawn (of whole numbers; of others up to rounding).
    log : bool
        Equally often in every decade.

    Raises
    ------
    ValueError
        The ends are not finite, not in order, or not above 0 with ``log``.

    See Also
    --------
    RandomSearch, OptunaSearch : They take it in a grid.

    Examples
    --------
    >>> from biot_bd.evaluation import Range
    >>> print(Range(1e-5, 1e-3, log=True), Range(2, 6))
    1e-05..0.001:log 2..6
    >>> set(Range(2, 4).rvs(size=50, random_state=0).tolist())
    {2, 3, 4}
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a range goes from a number to a larger one, got {self.low!r} to {self.high!r}")
        if self.log and self.low <= 0:
            raise ValueError(f"a range with log=True begins above 0, got {self.low!r}")

    @property
    def whole(self) -> bool:
        """Whether it is of whole numbers."""
        return isinstance(self.low, (int, np.integer)) and isinstance(self.high, (int, np.integer))

    def rvs(self, size: int | None = None, random_state: Any = None) -> Any:
        """Draw numbers, as distributions of SciPy do.

        Parameters
        ----------
        size : int, optional
            How many, as an array; one number by default.
        random_state : int, RandomState or Generator, optional
        """
        rng = np.random.RandomState(random_state) if isinstance(random_state, (int, np.integer)) else random_state
        share = (np.random.default_rng() if rng is None else rng).uniform(size=size)
        low, high = float(self.low), float(self.high)
        if self.whole:  # each whole number has a piece of equal length, with log on the scale of logarithms
            low, high = low - 0.5, high + 0.5
        value = low * (high / low) ** share if self.log else low + (high - low) * share
        if not self.whole:
            return np.clip(value, self.low, self.high) if size is not None else min(max(float(value), low), high)
        whole = np.clip(np.rint(value), self.low, self.high).astype(np.int64)
        return whole if size is not None else int(whole)

    def __str__(self) -> str:
        return f"{self.low}..{self.high}{':log' if self.log else ''}"


def as_grids(grid: Any) -> list[dict[str, Any]]:
    """Return a grid as a list of dicts, each parameter with its values, range or distribution.

    Parameters
    ----------
    grid : mapping or sequence of mappings
        As ``param_grid`` of :class:`sklearn.model_selection.GridSearchCV`.

    Raises
    ------
    ValueError
        It is empty, or a parameter has no values.
    TypeError
        It is no grid.
    """
    parts = [grid] if isinstance(grid, Mapping) else grid
    if not isinstance(parts, Sequence) or isinstance(parts, str) or not all(isinstance(p, Mapping) for p in parts):
        raise TypeError(
            f"grid maps parameters to their values, e.g. {{'biotclassifier__lr': [1e-3, 1e-4]}}, got {grid!r}"
        )
    if not parts or not any(parts):
        raise ValueError("grid: no parameter to choose; name one with its values")
    return [{str(name): _values(str(name), values) for name, values in part.items()} for part in parts]


def _values(name: str, values: Any) -> Any:
    if is_drawn(values):
        return values
    if isinstance(values, (set, frozenset)):
        raise TypeError(f"grid: {name} has a set, whose order differs from call to call; give a list of values")
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f"grid: {name} has {values!r}; give a list of values, a Range or a distribution")
    found = list(values.tolist() if isinstance(values, np.ndarray) and values.ndim == 1 else values)
    if not found:
        raise ValueError(f"grid: {name} has no values")
    return found


def is_drawn(values: Any) -> bool:
    """Return whether the values of a parameter are drawn: a range or a distribution."""
    return hasattr(values, "rvs") or any(base.__name__ == "BaseDistribution" for base in type(values).__mro__)


def some_value(values: Any) -> Any:
    """Return a value of a parameter: the first of a list or choice, the lowest of a range."""
    if not is_drawn(values):
        return values[0]
    if getattr(values, "choices", ()):
        return values.choices[0]
    return values.low if hasattr(values, "low") else values.rvs(random_state=0)


def with_params(estimator: Any, params: Mapping[str, Any], what: str) -> Any:
    """Return a clone with other parameters.

    Parameters
    ----------
    estimator : estimator
    params : mapping
        Values that are estimators are cloned.
    what : str
        Named in messages, e.g. ``"candidate 3"``.

    Raises
    ------
    ValueError
        The estimator has no such parameter, or does not take a value.
    """
    try:
        return clone(estimator).set_params(**{name: clone(value, safe=False) for name, value in params.items()})
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{what} ({params_text(params)}): {error}") from error


def weights_in(estimator: Any, grids: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return what :func:`find_origins` looks at: the estimator, without checkpoints that every
    candidate replaces, and the values of the grid.
    """
    replaced = set.intersection(*(set(part) for part in grids))
    own = {name for name in replaced if name.rpartition("__")[2] == "pretrained" and name in estimator.get_params()}
    start = clone(estimator).set_params(**dict.fromkeys(own)) if own else estimator
    lists = [
        {name: list(getattr(v, "choices", ())) if is_drawn(v) else v for name, v in part.items()} for part in grids
    ]
    return [start, lists]


def describe_grid(grids: Sequence[Mapping[str, Any]]) -> list[Cells]:
    """Return a grid in what JSON holds, equal in every process, to tell two studies apart."""
    return [{name: _described(values) for name, values in part.items()} for part in grids]


def _described(values: Any) -> Any:
    if isinstance(values, Range):
        return str(values)
    if hasattr(values, "dist") and hasattr(values, "args"):  # a frozen distribution of SciPy
        return {"distribution": values.dist.name, "args": describe(values.args), "kwds": describe(values.kwds)}
    return describe(values)


def grid_texts(grids: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a grid as pages show it: a parameter -> its values as text, or its distribution.

    Parameters
    ----------
    grids : sequence of mappings
        Of several, a parameter has the values of all.
    """
    out: dict[str, Any] = {}
    for part in grids:
        for name, values in part.items():
            if is_drawn(values):
                out[name] = _drawn_text(values)
            else:
                had = out.get(name, [])
                had = had if isinstance(had, list) else [had]
                out[name] = list(dict.fromkeys([*had, *(str(as_text(value)) for value in values)]))
    return out


def _drawn_text(values: Any) -> str:
    if hasattr(values, "dist") and hasattr(values, "args"):
        given = [*map(str, values.args), *(f"{name}={value}" for name, value in values.kwds.items())]
        return f"{values.dist.name}({', '.join(given)})"
    return str(values)


def as_text(value: Any) -> Any:
    """Return a value as tables hold it: numbers, texts and None as they are, others as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    text = " ".join(repr(value).split())
    return text if " at 0x" not in text else str(describe(value))


def params_text(params: Mapping[str, Any]) -> str:
    """Return parameters in one line, e.g. ``"lr=0.001, batch_size=32"``."""
    return ", ".join(f"{name}={as_text(value)}" for name, value in params.items())
