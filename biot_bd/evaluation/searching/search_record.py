"""What a search leaves in its folder, read again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from biot_bd.evaluation.planned_run import SEARCH
from biot_bd.evaluation.run_facts import Cells, read_facts, write_facts
from biot_bd.evaluation.searching.candidate_scores import ranks
from biot_bd.evaluation.searching.grids import as_text
from biot_bd.evaluation.searching.search_rounds import FoldSearch
from biot_bd.exceptions import RunFolderError
from biot_bd.json_values import DAMAGE
from biot_bd.runs import atomic_path

RECORD, TRIALS, CANDIDATES = "search.json", "trials.csv", "candidates.csv"
TRIAL_TYPES = {
    "fold": "int64",
    "candidate": "int64",
    "rung": "int64",
    "inner": "int64",
    "score": "Float64",
    "reason": "string",
    "state": "string",
    "wall_s": "float64",
}
"""Columns of the table of fits, and their types."""
SCORE_TYPES = {
    "fold": "int64",
    "candidate": "int64",
    "mean": "Float64",
    "std": "Float64",
    "n_defined": "int64",
    "n_inner": "int64",
    "rung": "int64",
    "rank": "Int64",
    "state": "string",
    "chosen": "bool",
}
"""Columns of the table of candidates beside their parameters."""


@dataclass(frozen=True)
class SearchRecord:
    """What a search tried, and what it chose in each outer fold.

    Parameters
    ----------
    folder : Path
        The run folder.
    facts : dict
        Content of ``search.json``: ``version``, ``state``, ``engine`` (``{"name", "parameters"}``),
        ``grid`` (parameter -> list of values as text, or the distribution as text), ``inner_cv``,
        ``scoring`` (name of the metric that chooses), ``greater_is_better``, ``candidates``
        (``[{"fold", "number", "params"}]``, ``fold`` null where all folds tried it, params as JSON
        values or text), ``rungs``, ``chosen`` (one an outer fold) and ``notes``.
    trials : pandas.DataFrame
        One row a fit: ``fold``, ``candidate``, ``rung``, ``inner``, ``score`` (Float64), ``reason``
        (why undefined, or empty), ``state`` (finished, failed), ``wall_s``.
    table : pandas.DataFrame
        One row an outer fold and candidate: ``fold``, ``candidate``, one column a parameter (its
        name; objects, missing where a candidate lacks it), ``mean``, ``std``, ``n_defined``,
        ``n_inner``, ``rung`` (the last it came to), ``rank``, ``state`` (finished, undefined,
        pruned, failed), ``chosen``.

    See Also
    --------
    search : Leaves one in its run folder.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation import SearchRecord, baseline, search
    >>> subjects = np.repeat(["site/01", "site/02", "site/03", "site/04"], 20)
    >>> y = np.tile(np.arange(20) % 4 == 0, 4).astype(int)
    >>> X = np.random.default_rng(0).normal(0, 20, (80, 2, 200)) * (1 + y[:, None, None])
    >>> pipeline = baseline("line-length", X)
    >>> grid = {f"{pipeline.steps[-1][0]}__C": [0.01, 1.0]}
    >>> result = search(
    ...     pipeline, grid, X, y=y, groups=subjects, folder="runs/searched", progress=False
    ... )
    >>> record = SearchRecord.open("runs/searched")
    >>> len(record.trials), len(record.table), int(record.table["chosen"].sum())
    (24, 8, 4)
    """

    folder: Path
    facts: dict[str, Any]
    trials: pd.DataFrame
    table: pd.DataFrame

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> SearchRecord:
        """Read the record of a search that has chosen in every outer fold.

        Parameters
        ----------
        folder : path
            The run folder.

        Raises
        ------
        FileNotFoundError
            No search, or it was interrupted; running the same search again finishes it.
        RunFolderError
            A file is damaged.
        """
        folder = Path(folder)
        names = (Path(RECORD), Path(SEARCH) / TRIALS, Path(SEARCH) / CANDIDATES)
        for name in names:
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"{folder}: no {name}, so this is no finished search; run the same search again to finish it"
                )
        facts = read_facts(folder / RECORD)
        trials = _read_table(folder / SEARCH / TRIALS, TRIAL_TYPES)
        scores = _read_table(folder / SEARCH / CANDIDATES, SCORE_TYPES)
        try:
            table = _with_parameters(scores, facts["candidates"])
        except DAMAGE as error:
            raise RunFolderError(f"{folder / RECORD}: damaged ({error!r}); run the same search again") from error
        return cls(folder, facts, trials, table)


def _read_table(path: Path, types: Mapping[str, str]) -> pd.DataFrame:
    text = {name: "string" for name, kind in types.items() if kind == "string"}
    try:
        table = pd.read_csv(path, float_precision="round_trip", dtype=text)
        table = table.astype({name: kind for name, kind in types.items() if name in table})[list(types)]
    except (OSError, *DAMAGE) as error:
        raise RunFolderError(f"{path}: no readable table ({error}); run the same search again") from error
    return table.assign(reason=table["reason"].fillna("")) if "reason" in types else table


def _with_parameters(scores: pd.DataFrame, candidates: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the table of candidates with a column a parameter."""
    params = {(one["fold"], one["number"]): one["params"] for one in candidates}
    rows = [
        params.get((fold, number), params.get((None, number)))
        for fold, number in zip(scores["fold"], scores["candidate"], strict=True)
    ]
    names = list(dict.fromkeys(name for row in rows for name in row or {}))
    table = scores
    for place, name in enumerate(names, 2):
        values = pd.Series([(row or {}).get(name, float("nan")) for row in rows], dtype=object, index=scores.index)
        table.insert(place, name, values)
    return table


def search_facts(found: Sequence[FoldSearch], common: bool) -> Cells:
    """Return the candidates, rungs and choices of a search, as ``search.json`` has them.

    Parameters
    ----------
    found : sequence of FoldSearch
        Of all outer folds.
    common : bool
        Whether all folds tried the same candidates.
    """
    listed = found[:1] if common else found
    candidates = [
        {"fold": None if common else fold.fold, "number": number, "params": _texts(params)}
        for fold in listed
        for number, params in sorted(fold.params.items())
    ]
    chosen = [
        {
            "fold": fold.fold,
            "candidate": fold.chosen.candidate,
            "params": _texts(fold.final),
            "mean": fold.chosen.mean,
            "std": fold.chosen.std,
            "n_defined": fold.chosen.n_defined,
            "n_inner": fold.chosen.n_inner,
        }
        for fold in found
    ]
    return {"candidates": candidates, "rungs": [rung for fold in found for rung in fold.rungs], "chosen": chosen}


def _texts(params: Mapping[str, Any]) -> Cells:
    return {name: as_text(value) for name, value in params.items()}


def trials_table(found: Sequence[FoldSearch]) -> pd.DataFrame:
    """Return one row a fit, in the order of folds, rungs, candidates and inner folds."""
    rows = [
        {name: value for name, value in asdict(o).items() if name in TRIAL_TYPES} for f in found for o in f.outcomes
    ]
    table = pd.DataFrame(rows, columns=list(TRIAL_TYPES)).astype(TRIAL_TYPES)
    order = ["fold", "rung", "candidate", "inner"]
    return table.assign(reason=table["reason"].fillna("")).sort_values(order, kind="stable", ignore_index=True)


def scores_table(found: Sequence[FoldSearch], greater_is_better: bool) -> pd.DataFrame:
    """Return one row an outer fold and candidate, without the parameters."""
    rows = []
    for fold in found:
        places = ranks(fold.scores, greater_is_better)
        for score in fold.scores:
            row = {name: getattr(score, name) for name in SCORE_TYPES if hasattr(score, name)}
            chosen = fold.chosen.candidate == score.candidate
            rows.append({"fold": fold.fold, **row, "rank": places.get(score.candidate), "chosen": chosen})
    return pd.DataFrame(rows, columns=list(SCORE_TYPES)).astype(SCORE_TYPES)


def write_record(folder: Path, facts: Mapping[str, Any], found: Sequence[FoldSearch], greater_is_better: bool) -> None:
    """Write the tables of a search and, last, ``search.json``."""
    for name, table in ((TRIALS, trials_table(found)), (CANDIDATES, scores_table(found, greater_is_better))):
        with atomic_path(folder / SEARCH / name) as temporary:
            table.to_csv(temporary, index=False)
    write_facts(folder / RECORD, facts)
