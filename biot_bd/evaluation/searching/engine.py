"""How a search proposes candidates: the contract of its engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from biot_bd.evaluation.searching.trial import TrialOutcome


@dataclass(frozen=True)
class Proposal:
    """A candidate that shall be fitted and scored in some inner folds.

    Attributes
    ----------
    candidate : int
        Its number, from 0.
    params : mapping
        Its parameters.
    rung : int
        How often candidates were weeded out before.
    inner : tuple of int or None
        Positions of the inner folds; None for all.
    extra : mapping
        Parameters that a rung sets beside.
    share : float
        Share of the training windows that are fitted.
    """

    candidate: int
    params: Mapping[str, Any]
    rung: int = 0
    inner: tuple[int, ...] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    share: float = 1.0


@dataclass(frozen=True)
class SearchSite:
    """Where an engine searches: one outer fold.

    Attributes
    ----------
    fold : int
        Its number.
    seed : int
        Of what the engine draws in this fold.
    common_seed : int
        Of what it draws for all folds alike.
    estimator : estimator
        Whose parameters are chosen.
    n_inner : int
        Inner folds that can be scored.
    n_windows : int
        Training windows of the largest inner fold.
    n_classes : int
    greater_is_better : bool
    storage : Path or None
        Where an engine may keep a database; None keeps nothing.
    """

    fold: int
    seed: int
    common_seed: int
    estimator: Any
    n_inner: int
    n_windows: int
    n_classes: int
    greater_is_better: bool
    storage: Path | None


class Proposer(Protocol):
    """What an engine does in one outer fold."""

    def ask(self) -> list[Proposal]:
        """Return what to try in the next round; nothing when all is tried."""
        ...

    def tell(self, outcomes: Sequence[TrialOutcome]) -> None:
        """Learn what the round gave, in the order of its proposals and inner folds."""
        ...

    def pruned(self) -> set[int]:
        """Return the candidates that were given up before all inner folds were scored."""
        ...

    def rungs(self) -> list[dict[str, Any]]:
        """Return what each rung was: ``rung``, ``resource``, ``n_resources``, ``n_candidates``."""
        ...

    def final(self) -> dict[str, Any]:
        """Return parameters that the chosen candidate is fitted with beside its own."""
        ...


@runtime_checkable
class Engine(Protocol):
    """A way to search; its attributes are its parameters."""

    name: str

    def candidates(self, grids: Sequence[Mapping[str, Any]], random_state: int) -> list[dict[str, Any]]:
        """Return the candidates that are known before anything is fitted, common to all folds."""
        ...

    def n_fits(self, grids: Sequence[Mapping[str, Any]], site: SearchSite) -> int:
        """Return how many fits an outer fold takes at most."""
        ...

    def proposer(self, grids: Sequence[Mapping[str, Any]], site: SearchSite) -> Proposer:
        """Begin the search of one outer fold."""
        ...
