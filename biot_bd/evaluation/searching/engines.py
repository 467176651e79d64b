"""The engines of a search by name."""

from __future__ import annotations

from typing import Any

from biot_bd.evaluation.run_facts import Cells
from biot_bd.evaluation.searching.engine import Engine
from biot_bd.evaluation.searching.grid_engine import GridEngine, RandomSearch
from biot_bd.evaluation.searching.halving_engine import HalvingSearch
from biot_bd.evaluation.searching.optuna_engine import OptunaSearch
from biot_bd.evaluation.study_identity import describe

ENGINES: dict[str, type[Any]] = {
    engine.name: engine for engine in (GridEngine, RandomSearch, HalvingSearch, OptunaSearch)
}
"""Names that ``search(engine=...)`` takes, with the classes that they stand for."""


def as_engine(engine: Any) -> Engine:
    """Return an engine by its name, or as given.

    Raises
    ------
    ValueError
        No engine has this name.
    TypeError
        It is no engine.
    """
    if isinstance(engine, str):
        if engine not in ENGINES:
            raise ValueError(f"no search engine {engine!r}; there are {', '.join(ENGINES)}")
        made: Engine = ENGINES[engine]()
        return made
    if isinstance(engine, type) or not isinstance(engine, Engine):
        raise TypeError(
            f"engine is one of {', '.join(ENGINES)} or an object such as RandomSearch(n_iter=20), got {engine!r}"
        )
    return engine


def engine_facts(engine: Engine) -> Cells:
    """Return name and parameters of an engine, in what JSON holds."""
    return {"name": engine.name, "parameters": {name: describe(value) for name, value in sorted(vars(engine).items())}}
