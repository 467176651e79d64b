"""Successive halving: many candidates with few windows or epochs, the best of them with more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log
from numbers import Integral
from typing import Any, ClassVar

from biot_bd.evaluation.searching.candidate_scores import mean_scores
from biot_bd.evaluation.searching.engine import Proposal, SearchSite
from biot_bd.evaluation.searching.grid_engine import all_of, some_of
from biot_bd.evaluation.searching.trial import TrialOutcome
from biot_bd.evaluation.study_identity import final_step

N_SAMPLES = "n_samples"


@dataclass(frozen=True)
class HalvingSearch:
    """Weed candidates out by few windows, or epochs, and try the rest with more.

    Rungs are those of :class:`sklearn.model_selection.HalvingGridSearchCV`.

    Parameters
    ----------
    resource : str
        ``"n_samples"``: training windows, taken of each subject and class alike; inner test
        subjects are scored whole on every rung.  Or a parameter of the estimator that is a whole
        number, e.g. ``"max_epochs"`` (of its last step) or ``"biotclassifier__max_epochs"``.
    factor : float
        One candidate in so many goes on, with so many times the resource.
    min_resources : {"exhaust", "smallest"} or int
        Of the first rung.  ``"exhaust"``: so that the last rung has as much as possible.
    max_resources : int, optional
        Of the last rung; all training windows, or the parameter's own value, by default.
    n_iter : int, optional
        Candidates drawn, as by :class:`RandomSearch`; the whole grid by default.

    See Also
    --------
    search : Takes it as ``engine``.

    Notes
    -----
    Proposed by Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter
    optimization", AISTATS 2016.

    Examples
    --------
    >>> from biot_bd.evaluation import HalvingSearch
    >>> HalvingSearch("max_epochs", max_resources=27).schedule(9, smallest=1, largest=27)
    [(3, 9), (9, 3), (27, 1)]
    """

    resource: str = N_SAMPLES
    factor: float = 3
    min_resources: str | int = "exhaust"
    max_resources: int | None = None
    n_iter: int | None = None
    name: ClassVar[str] = "halving"

    def candidates(self, grids: Sequence[Mapping[str, Any]], random_state: int) -> list[dict[str, Any]]:
        """Return the candidates of the first rung.

        Parameters
        ----------
        grids : sequence of mappings
            Each parameter with its values; with ``n_iter`` also ranges and distributions.
        random_state : int
            Decides which are drawn.

        Raises
        ------
        ValueError
            A parameter of this engine has no meaning, or the grid holds the resource.
        """
        if not self.factor > 1:
            raise ValueError(f"HalvingSearch(factor=...) must be above 1, got {self.factor!r}")
        if not (self.min_resources in ("exhaust", "smallest") or _is_count(self.min_resources)):
            raise ValueError(
                f"HalvingSearch(min_resources=...) is 'exhaust', 'smallest' or an int, got {self.min_resources!r}"
            )
        if self.max_resources is not None and not _is_count(self.max_resources):
            raise ValueError(
                f"HalvingSearch(max_resources=...) must be an int of at least 1, got {self.max_resources!r}"
            )
        taken = [
            name for part in grids for name in part if name.rpartition("__")[2] == self.resource.rpartition("__")[2]
        ]
        if taken:
            raise ValueError(
                f"the grid chooses {taken[0]}, which is the resource of HalvingSearch; leave one of the two out"
            )
        if self.n_iter is None:
            return all_of(grids, "halving")
        return some_of(grids, self.n_iter, random_state, "HalvingSearch(n_iter=...)")

    def schedule(self, n_candidates: int, *, smallest: int, largest: int) -> list[tuple[int, int]]:
        """Return the resource and the number of candidates of each rung.

        Parameters
        ----------
        n_candidates : int
            Of the first rung.
        smallest : int
            Least resource that can be fitted with.
        largest : int
            All there is.

        Raises
        ------
        ValueError
            The first rung would have more than the last.
        """
        largest = min(largest, self.max_resources or largest) if self.resource == N_SAMPLES else largest
        least = smallest if isinstance(self.min_resources, str) else int(self.min_resources)
        required = 1 + _whole_log(n_candidates, self.factor)
        if self.min_resources == "exhaust":
            least = max(least, int(largest // self.factor ** (required - 1)))
        if least > largest:
            raise ValueError(
                f"HalvingSearch: the first rung would have {least} {self.resource}, the last has {largest}"
            )
        rungs, n = [], n_candidates
        for rung in range(min(required, 1 + _whole_log(largest // least, self.factor))):
            rungs.append((min(int(self.factor**rung * least), largest), n))
            n = ceil(n / self.factor)
        return rungs

    def n_fits(self, grids: Sequence[Mapping[str, Any]], site: SearchSite) -> int:
        """Return how many fits an outer fold takes, over all rungs."""
        return sum(n for _, n in self.proposer(grids, site).schedule) * site.n_inner

    def proposer(self, grids: Sequence[Mapping[str, Any]], site: SearchSite) -> HalvingRounds:
        """Begin the search of one outer fold."""
        candidates = self.candidates(grids, site.common_seed)
        n_windows = max(site.n_windows, 1)
        if self.resource == N_SAMPLES:
            smallest = max(1, min(n_windows, 2 * site.n_inner * site.n_classes))
            rungs = self.schedule(len(candidates), smallest=smallest, largest=n_windows)
            return HalvingRounds(candidates, rungs, None, n_windows, site)
        parameter, largest = self._parameter(site.estimator)
        return HalvingRounds(
            candidates, self.schedule(len(candidates), smallest=1, largest=largest), parameter, largest, site
        )

    def _parameter(self, estimator: Any) -> tuple[str, int]:
        """Return the estimator's parameter that is the resource, and its largest value."""
        params = estimator.get_params()
        name = next((one for one in (self.resource, final_step(estimator)[0] + self.resource) if one in params), None)
        if name is None:
            raise ValueError(
                f"HalvingSearch(resource={self.resource!r}): the estimator has no such parameter; give its full name"
            )
        largest = params[name] if self.max_resources is None else self.max_resources
        if not _is_count(largest):
            raise ValueError(
                f"HalvingSearch(resource={self.resource!r}): {name} is {largest!r}; give max_resources, an int"
            )
        return name, int(largest)


class HalvingRounds:
    """The rungs of one outer fold."""

    def __init__(
        self,
        candidates: Sequence[Mapping[str, Any]],
        schedule: Sequence[tuple[int, int]],
        parameter: str | None,
        largest: int,
        site: SearchSite,
    ) -> None:
        self.schedule = list(schedule)
        self._candidates, self._parameter, self._largest, self._site = candidates, parameter, largest, site
        self._going = list(range(len(candidates)))
        self._rung = 0

    def ask(self) -> list[Proposal]:
        """Return the candidates of the next rung."""
        if self._rung >= len(self.schedule) or (self._rung and not self._site.n_inner):
            return []
        amount, _ = self.schedule[self._rung]
        extra = {} if self._parameter is None else {self._parameter: amount}
        share = 1.0 if self._parameter is not None else amount / self._largest
        return [Proposal(one, self._candidates[one], self._rung, None, extra, min(share, 1.0)) for one in self._going]

    def tell(self, outcomes: Sequence[TrialOutcome]) -> None:
        """Keep the best; of equals those that come first."""
        means = mean_scores(outcomes)
        sign = -1 if self._site.greater_is_better else 1
        ranked = sorted(self._going, key=lambda one: (means.get(one) is None, sign * (means.get(one) or 0.0), one))
        self._rung += 1
        if self._rung < len(self.schedule):
            # A candidate without a score goes on only where there are too few with one.
            self._going = sorted(ranked[: self.schedule[self._rung][1]])

    def pruned(self) -> set[int]:
        """Return nobody: a rung says how far a candidate came."""
        return set()

    def rungs(self) -> list[dict[str, Any]]:
        """Return resource and number of candidates of each rung."""
        resource = self._parameter or N_SAMPLES
        return [
            {"rung": rung, "resource": resource, "n_resources": amount, "n_candidates": n}
            for rung, (amount, n) in enumerate(self.schedule)
        ]

    def final(self) -> dict[str, Any]:
        """Return the resource that the chosen is fitted with: all there is."""
        return {} if self._parameter is None else {self._parameter: self._largest}


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def _whole_log(value: float, base: float) -> int:
    return floor(log(value, base)) if value >= 1 else 0
