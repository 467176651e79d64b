"""Engines that know all candidates beforehand: a whole grid, or some drawn from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sklearn.model_selection import ParameterGrid, ParameterSampler

from biot_bd.evaluation.searching.engine import Proposal, SearchSite
from biot_bd.evaluation.searching.grids import is_drawn
from biot_bd.evaluation.searching.trial import TrialOutcome


class OneRound:
    """Proposes all candidates in all inner folds at once."""

    def __init__(self, candidates: Sequence[Mapping[str, Any]]) -> None:
        self._waiting = [Proposal(number, params) for number, params in enumerate(candidates)]

    def ask(self) -> list[Proposal]:
        """Return all candidates, once."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def tell(self, outcomes: Sequence[TrialOutcome]) -> None:
        """Learn nothing."""

    def pruned(self) -> set[int]:
        """Return nobody."""
        return set()

    def rungs(self) -> list[dict[str, Any]]:
        """Return nothing: there is one rung, of all windows."""
        return []

    def final(self) -> dict[str, Any]:
        """Return nothing."""
        return {}


@dataclass(frozen=True)
class GridEngine:
    """Try every combination of a grid, as :class:`sklearn.model_selection.GridSearchCV`.

    See Also
    --------
    search : Takes it as ``engine``.

    Examples
    --------
    >>> from biot_bd.evaluation import GridEngine
    >>> GridEngine().candidates([{"lr": [0.1, 0.01], "batch_size": [8]}], random_state=0)
    [{'batch_size': 8, 'lr': 0.1}, {'batch_size': 8, 'lr': 0.01}]
    """

    name: ClassVar[str] = "grid"

    def candidates(self, grids: Sequence[Mapping[str, Any]], random_state: int) -> list[dict[str, Any]]:
        """Return every combination, in scikit-learn's order.

        Parameters
        ----------
        grids : sequence of mappings
            Each parameter with its values.
        random_state : int
            Not used.

        Raises
        ------
        ValueError
            A parameter has a range or a distribution.
        """
        return all_of(grids, "grid")

    def n_fits(self, grids: Sequence[Mapping[str, Any]], site: SearchSite) -> int:
        """Return how many fits an outer fold takes."""
        return len(self.candidates(grids, site.common_seed)) * site.n_inner

    def proposer(self, grids: Sequence[Mapping[str, Any]], site: SearchSite) -> OneRound:
        """Begin the search of one outer fold."""
        return OneRound(self.candidates(grids, site.common_seed))


@dataclass(frozen=True)
class RandomSearch:
    """Try some candidates, drawn as by :class:`sklearn.model_selection.RandomizedSearchCV`.

    All outer folds try the same candidates, so that what they chose can be compared.

    Parameters
    ----------
    n_iter : int
        How many; all there are where a grid of lists has fewer.

    See Also
    --------
    search : Takes it as ``engine``.
    Range : Numbers between two ends.

    Examples
    --------
    >>> from biot_bd.evaluation import RandomSearch, Range
    >>> drawn = RandomSearch(3).candidates(
    ...     [{"lr": Range(1e-4, 1e-2, log=True)}], random_state=0
    ... )
    >>> [round(candidate["lr"], 5) for candidate in drawn]
    [0.00125, 0.00269, 0.00161]
    """

    n_iter: int = 20
    name: ClassVar[str] = "random"

    def candidates(self, grids: Sequence[Mapping[str, Any]], random_state: int) -> list[dict[str, Any]]:
        """Return the candidates drawn.

        Parameters
        ----------
        grids : sequence of mappings
            Each parameter with its values, a range, or a distribution of SciPy.
        random_state : int
            Decides which.

        Raises
        ------
        ValueError
            ``n_iter`` is below 1, or a distribution cannot be drawn from.
        """
        return some_of(grids, self.n_iter, random_state, "RandomSearch(n_iter=...)")

    def n_fits(self, grids: Sequence[Mapping[str, Any]], site: SearchSite) -> int:
        """Return how many fits an outer fold takes."""
        return len(self.candidates(grids, site.common_seed)) * site.n_inner

    def proposer(self, grids: Sequence[Mapping[str, Any]], site: SearchSite) -> OneRound:
        """Begin the search of one outer fold."""
        return OneRound(self.candidates(grids, site.common_seed))


def all_of(grids: Sequence[Mapping[str, Any]], engine: str) -> list[dict[str, Any]]:
    """Return every combination of grids of values.

    Raises
    ------
    ValueError
        A parameter has a range or a distribution.
    """
    for part in grids:
        for name, values in part.items():
            if is_drawn(values):
                raise ValueError(
                    f"engine {engine!r} tries every combination, but {name} has {values}; give a list of values, "
                    "or draw: engine=RandomSearch(n_iter=20) or OptunaSearch(n_trials=50)"
                )
    return [dict(candidate) for candidate in ParameterGrid([dict(part) for part in grids])]


def some_of(grids: Sequence[Mapping[str, Any]], n_iter: int, random_state: int, what: str) -> list[dict[str, Any]]:
    """Return candidates drawn from grids; all where there are not more.

    Raises
    ------
    ValueError
        The number is below 1, or a distribution cannot be drawn from.
    """
    if isinstance(n_iter, bool) or not isinstance(n_iter, int) or n_iter < 1:
        raise ValueError(f"{what} must be an int of at least 1, got {n_iter!r}")
    for part in grids:
        for name, values in part.items():
            if is_drawn(values) and not hasattr(values, "rvs"):
                raise ValueError(
                    f"{name}: only OptunaSearch draws from {values}; give a Range or a distribution of scipy.stats"
                )
    if not any(is_drawn(values) for part in grids for values in part.values()):
        n_iter = min(n_iter, len(ParameterGrid([dict(part) for part in grids])))
    return [dict(one) for one in ParameterSampler([dict(part) for part in grids], n_iter, random_state=random_state)]
