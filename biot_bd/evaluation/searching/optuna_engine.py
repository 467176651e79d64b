"""Optuna as engine: candidates are proposed after what earlier ones reached."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from biot_bd.evaluation.searching.engine import Proposal, SearchSite
from biot_bd.evaluation.searching.grids import Range, is_drawn
from biot_bd.evaluation.searching.trial import FAILED, TrialOutcome
from biot_bd.exceptions import MissingExtraError

DATABASE = "optuna.db"


@dataclass(frozen=True)
class OptunaSearch:
    """Let Optuna propose candidates, one study an outer fold.

    Parameters
    ----------
    n_trials : int
        Candidates an outer fold.
    sampler : callable, optional
        ``sampler(seed=...)`` returns a sampler of Optuna: a class of ``optuna.samplers`` or a
        ``functools.partial`` of one; ``TPESampler`` by default.
    pruner : optuna.pruners.BasePruner, optional
        Its steps are the inner folds that have a score: a candidate whose mean so far is bad is
        given up.  Without one all inner folds are fitted side by side.
    batch : int
        Candidates of an outer fold that are proposed at once, before any of them is told.

    Raises
    ------
    ValueError
        A number is below 1.

    See Also
    --------
    search : Takes it as ``engine``.
    Range : Numbers between two ends.

    Notes
    -----
    With a run folder the studies lie in ``search/optuna.db`` (names ``fold-00``, ...), for Optuna's
    own tools.  The files of the trials are the truth: every call builds the database again from
    them, so that a call that goes on proposes what an uninterrupted one would have.

    Examples
    --------
    >>> from biot_bd.evaluation import OptunaSearch
    >>> OptunaSearch(n_trials=30, batch=2).n_trials
    30
    """

    n_trials: int = 50
    sampler: Any = None
    pruner: Any = None
    batch: int = 1
    name: ClassVar[str] = "optuna"

    def __post_init__(self) -> None:
        for name in ("n_trials", "batch"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"OptunaSearch({name}=...) must be an int of at least 1, got {value!r}")
        if self.sampler is not None and not callable(self.sampler):
            raise ValueError(
                f"OptunaSearch(sampler=...) is called with seed=, so give a class such as optuna.samplers.TPESampler, "
                f"not {type(self.sampler).__name__}(...)"
            )

    def candidates(self, grids: Sequence[Mapping[str, Any]], random_state: int) -> list[dict[str, Any]]:
        """Return nothing: candidates depend on scores.

        Parameters
        ----------
        grids : sequence of mappings
            One, each parameter with its values, a range or a distribution; it is checked.
        random_state : int
            Not used.

        Raises
        ------
        ValueError
            There are several grids, or Optuna cannot draw from one of its distributions.
        MissingExtraError
            Optuna is not installed.
        """
        distributions_of(grids)
        return []

    def n_fits(self, grids: Sequence[Mapping[str, Any]], site: SearchSite) -> int:
        """Return how many fits an outer fold takes; with a pruner at most."""
        return self.n_trials * site.n_inner

    def proposer(self, grids: Sequence[Mapping[str, Any]], site: SearchSite) -> OptunaRounds:
        """Begin the search of one outer fold."""
        return OptunaRounds(self, grids[0], site)


class OptunaRounds:
    """The study of one outer fold."""

    def __init__(self, engine: OptunaSearch, grid: Mapping[str, Any], site: SearchSite) -> None:
        optuna = _optuna()
        self._engine, self._grid, self._site = engine, grid, site
        self._distributions = distributions_of([grid])
        sampler = (optuna.samplers.TPESampler if engine.sampler is None else engine.sampler)(seed=site.seed)
        direction = "maximize" if site.greater_is_better else "minimize"
        pruner = optuna.pruners.NopPruner() if engine.pruner is None else engine.pruner
        with _quiet(optuna):
            self._study = optuna.create_study(
                storage=_storage(optuna, site.storage, site.fold),
                sampler=sampler,
                pruner=pruner,
                direction=direction,
                study_name=f"fold-{site.fold:02d}",
            )
        self._going: dict[int, Any] = {}  # asked and not told: number -> trial
        self._scores: dict[int, list[TrialOutcome]] = {}
        self._step = 0
        self._n_asked = 0
        self._given_up: set[int] = set()

    def ask(self) -> list[Proposal]:
        """Return new candidates, or those of the last ones that go on with the next inner fold."""
        if not self._going:
            n = min(self._engine.batch, self._engine.n_trials - self._n_asked)
            if self._n_asked and not self._site.n_inner:
                return []
            self._step = 0
            for _ in range(n):
                trial = self._study.ask(self._distributions)
                self._going[trial.number] = trial
                self._n_asked += 1
        inner = None if self._engine.pruner is None else (self._step,)
        inner = inner if self._site.n_inner else None
        return [Proposal(number, self._params(trial), inner=inner) for number, trial in self._going.items()]

    def _params(self, trial: Any) -> dict[str, Any]:
        return {name: _decoded(self._grid[name], value) for name, value in trial.params.items()}

    def tell(self, outcomes: Sequence[TrialOutcome]) -> None:
        """Tell Optuna the means, or of a pruned search the means so far."""
        for outcome in outcomes:
            self._scores.setdefault(outcome.candidate, []).append(outcome)
        self._step += 1
        whole = self._engine.pruner is None or self._step >= self._site.n_inner
        for number, trial in list(self._going.items()):
            found = self._scores.get(number, [])
            values = [one.score for one in found if one.score is not None]
            failed = any(one.state == FAILED for one in found)
            if self._engine.pruner is not None and values and not failed:
                trial.report(float(np.mean(values)), self._step - 1)
            if failed or (whole and not values):
                self._told(trial, "FAIL")
            elif whole:
                self._told(trial, "COMPLETE", float(np.mean(values)))
            elif values and trial.should_prune():
                self._given_up.add(number)
                self._told(trial, "PRUNED")

    def _told(self, trial: Any, state: str, value: float | None = None) -> None:
        del self._going[trial.number]
        self._study.tell(trial, value, state=getattr(_optuna().trial.TrialState, state))

    def pruned(self) -> set[int]:
        """Return the candidates that the pruner gave up."""
        return set(self._given_up)

    def rungs(self) -> list[dict[str, Any]]:
        """Return nothing: there is one rung, of all windows."""
        return []

    def final(self) -> dict[str, Any]:
        """Return nothing."""
        return {}


def distributions_of(grids: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a grid as distributions of Optuna.

    Raises
    ------
    ValueError
        There are several grids, or a distribution that Optuna has not.
    MissingExtraError
        Optuna is not installed.
    """
    if len(grids) != 1:
        raise ValueError(f"OptunaSearch takes one grid, got a list of {len(grids)}; search each alone")
    return {name: _distribution(name, values) for name, values in grids[0].items()}


def _distribution(name: str, values: Any) -> Any:
    optuna = _optuna()
    kinds = optuna.distributions
    if isinstance(values, kinds.BaseDistribution):
        return values
    if isinstance(values, Range):
        kind = kinds.IntDistribution if values.whole else kinds.FloatDistribution
        return kind(values.low, values.high, log=values.log)
    if not is_drawn(values):
        plain = all(value is None or isinstance(value, (bool, int, float, str)) for value in values)
        return kinds.CategoricalDistribution(values if plain else list(range(len(values))))
    kind = getattr(getattr(values, "dist", None), "name", None)
    if kind == "randint":
        low, high = values.support()
        return kinds.IntDistribution(int(low), int(high))
    if kind in ("uniform", "loguniform", "reciprocal"):
        low, high = map(float, values.support())
        return kinds.FloatDistribution(low, high, log=kind != "uniform")
    raise ValueError(
        f"{name}: Optuna does not draw from {kind or values!r}; give a Range, a distribution of Optuna, or one of scipy.stats "
        "that is uniform, loguniform or randint"
    )


def _decoded(values: Any, drawn: Any) -> Any:
    """Return a value of a grid by what Optuna drew: itself, or its place among objects."""
    plain = is_drawn(values) or all(v is None or isinstance(v, (bool, int, float, str)) for v in values)
    return drawn if plain else values[drawn]


def _storage(optuna: Any, folder: Path | None, fold: int) -> Any:
    """Return the database, without what an earlier call left in it of this fold."""
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / DATABASE
    try:
        return _without_fold(optuna, path, fold)
    except Exception:  # SQLAlchemy's or Optuna's, of a damaged file or one of another version
        if not path.is_file():
            raise
        path.unlink()  # the files of trials are the truth
        return _without_fold(optuna, path, fold)


def _without_fold(optuna: Any, path: Path, fold: int) -> Any:
    # Not by an address: of a folder with "?" in its name SQLAlchemy would write into another one.
    connect = partial(sqlite3.connect, path)
    storage = optuna.storages.RDBStorage("sqlite://", engine_kwargs={"creator": connect})
    if f"fold-{fold:02d}" in optuna.get_all_study_names(storage):
        optuna.delete_study(study_name=f"fold-{fold:02d}", storage=storage)
    return storage


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Keep Optuna from telling each study that it makes."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("OptunaSearch needs Optuna: pip install 'biot-bd[scale]'") from error
    return optuna
