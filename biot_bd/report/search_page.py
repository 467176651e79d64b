"""What a search tried and chose, as a section of its run's page: facts, pictures, tables.

Drawn from a :class:`~biot_bd.evaluation.searching.search_record.SearchRecord` and the folds' own
scores alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from biot_bd.evaluation.searching.search_record import SearchRecord
from biot_bd.number_texts import count_text, duration_text
from biot_bd.report.drawing import search as drawing
from biot_bd.report.drawing.svg import Picture
from biot_bd.report.run_folder import Fold
from biot_bd.report.text import LABELS

SEARCH = "search.json"
TRIALS = "search/trials.csv"
MOST_PARAMETER_PICTURES = 8
ENGINES = {
    "grid": "every combination of the grid",
    "random": "combinations drawn at random",
    "halving": "all candidates with little of {resource}, the better ones with more (successive halving)",
    "optuna": "candidates proposed by Optuna from the scores of those before",
}


def search_of(folder: Path) -> SearchRecord | None:
    """Return the record of the search that a run folder is of; None where it is of none."""
    return SearchRecord.open(folder) if (folder / SEARCH).is_file() else None


def search_page(record: SearchRecord, folds: Sequence[Fold]) -> dict[str, Any]:
    """Return what the template shows of a search.

    Parameters
    ----------
    record : SearchRecord
    folds : sequence of Fold
        The outer folds, scored.
    """
    facts, table = record.facts, record.table
    engine, name = str(facts["engine"]["name"]), str(facts["scoring"])
    names = drawing.short_names(drawing.parameters_of(table))
    score = LABELS.get(name, name)
    choices = search_choices(record, folds)
    return {
        "engine": engine,
        "engine_means": ENGINES.get(engine, "an engine of a plugin").format(resource=_resource(facts)),
        "score": score,
        "inner_cv": facts["inner_cv"],
        "names": names,
        "agreement": _agreement(choices, facts["grid"], names),
        "counts": _counts(record),
        "choices": choices,
        "pictures": _pictures(record, choices, engine, score),
        "problems": _problems(record.trials, score),
        "trials": TRIALS if (record.folder / TRIALS).is_file() else None,
    }


def search_choices(record: SearchRecord, folds: Sequence[Fold]) -> list[dict[str, Any]]:
    """Return a row an outer fold: what it chose, the inner score of that, and the outer score.

    Parameters
    ----------
    record : SearchRecord
    folds : sequence of Fold

    Returns
    -------
    list of dict
        ``fold``, ``test`` (subjects), ``candidate``, ``params``, ``shown`` (their texts),
        ``inner``, ``inner_std``, ``n_defined`` of ``n_inner`` (inner folds), ``outer``, ``reason``
        (why ``outer`` is None, else empty), ``n_tied`` (candidates with the same inner score).
    """
    names, name = drawing.parameters_of(record.table), str(record.facts["scoring"])
    rows = []
    for fold in folds:
        own = record.table[record.table["fold"] == fold.number]
        chosen = own[own["chosen"].astype(bool)]
        if chosen.empty:
            continue
        row = chosen.iloc[0]
        cell = ((fold.facts.get("scores") or {}).get("pooled") or {}).get(name) or {}
        rows.append(
            {
                "fold": fold.number,
                "test": list(fold.facts.get("test", [])),
                "candidate": int(row["candidate"]),
                "params": {key: None if drawing.value_text(row[key]) == drawing.NOT_SET else row[key] for key in names},
                "shown": {key: drawing.value_text(row[key]) for key in names},
                "inner": _float(row["mean"]),
                "inner_std": _float(row["std"]),
                "n_defined": int(row["n_defined"]),
                "n_inner": int(row["n_inner"]),
                "outer": cell.get("value"),
                "reason": "" if cell.get("value") is not None else str(cell.get("reason") or "not computed"),
                "n_tied": int((own["mean"] == row["mean"]).sum()) - 1,
            }
        )
    return rows


def stability(choices: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Return, by parameter, how many outer folds chose each value, the most frequent first.

    Parameters
    ----------
    choices : sequence of dict
        Of :func:`search_choices`.
    """
    names = list(choices[0]["shown"]) if choices else []
    return {name: dict(Counter(row["shown"][name] for row in choices).most_common()) for name in names}


def search_tables(record: SearchRecord, folds: Sequence[Fold]) -> dict[str, pd.DataFrame]:
    """Return the tables of the section, which hold the pictures' numbers, too.

    Parameters
    ----------
    record : SearchRecord
    folds : sequence of Fold
    """
    choices = search_choices(record, folds)
    chosen = [
        {
            "fold": row["fold"],
            "test_subjects": " ".join(row["test"]),
            "candidate": row["candidate"],
            **row["params"],
            "metric": record.facts["scoring"],
            **{key: row[key] for key in ("inner", "inner_std", "n_defined", "n_inner", "outer", "reason")},
        }
        for row in choices
    ]
    means = record.trials[record.trials["score"].notna()]
    rungs = means.groupby(["fold", "rung", "candidate"])["score"].agg(["mean", "count"]).reset_index()
    return {
        "search_candidates": record.table,
        "search_choices": pd.DataFrame(chosen),
        "search_rungs": rungs if rungs["rung"].nunique() > 1 else rungs.iloc[:0],
    }


def _counts(record: SearchRecord) -> str:
    """Say how many candidates, fits and seconds there were."""
    table, trials = record.table, record.trials
    states = [*table.loc[table["state"] == "pruned", "state"], *trials.loc[trials["state"] == "failed", "state"]]
    parts = [
        count_text(int(table["fold"].nunique()), "outer fold"),
        count_text(int(table.groupby("fold").size().max()), "candidate") + " a fold",
        count_text(len(trials), "inner fit"),
        *(
            f"{count_text(states.count(state), what)} {state}"
            for state, what in (("pruned", "candidate"), ("failed", "fit"))
            if state in states
        ),
    ]
    wall_s = pd.to_numeric(trials["wall_s"], errors="coerce").sum()
    return f"{', '.join(parts)}; {duration_text(float(wall_s))} of fitting in all"


def _pictures(
    record: SearchRecord, choices: Sequence[Mapping[str, Any]], engine: str, score: str
) -> list[tuple[Picture, str]]:
    """Return the pictures, each with the name of the CSV file that holds its numbers."""
    table, greater = record.table, bool(record.facts["greater_is_better"])
    if drawing.comparable(table).empty:
        return []
    shown = drawing.short_names(drawing.varied(table))
    found: list[tuple[Picture | None, str]] = []
    if len(shown) == 2:
        (first, right), (second, up) = shown.items()
        plane = drawing.plane_picture("search-plane", table, (first, second), (right, up), score, greater=greater)
        found.append((plane, "search_candidates"))
    if len(shown) > 2:
        parallel = drawing.parallel_picture("search-parallel", table, shown, score, greater=greater)
        found.append((parallel, "search_candidates"))
    for index, (name, label) in enumerate(list(shown.items())[:MOST_PARAMETER_PICTURES]):
        identity = f"search-parameter-{index}"
        one = drawing.parameter_picture(identity, table, name, label, score, greater=greater)
        found.append((one, "search_candidates"))
    if record.trials.loc[record.trials["score"].notna(), "rung"].nunique() > 1:
        found.append((drawing.rung_picture("search-rungs", record.trials, table, score), "search_rungs"))
    if engine == "optuna":
        found.append((drawing.history_picture("search-history", table, score, greater=greater), "search_candidates"))
    found.append((drawing.inner_outer_picture("search-inner-outer", choices, score), "search_choices"))
    return [(picture, csv) for picture, csv in found if picture is not None]


def _problems(trials: pd.DataFrame, score: str) -> list[str]:
    """Say why inner scores are undefined and fits failed, and how often."""
    told = trials[trials["reason"].fillna("").astype(str) != ""]
    counts = Counter(zip(told["state"], told["reason"], strict=True))
    return [
        f"{count_text(n, 'inner fit')} {'failed' if state == 'failed' else f'without a defined {score}'}: {reason}"
        for (state, reason), n in counts.items()
    ]


def _agreement(
    choices: Sequence[Mapping[str, Any]], grid: Mapping[str, Any], names: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    """Return name, what was tried and what was chosen, of each parameter."""
    found = []
    for key, counts in stability(choices).items():
        drawn = key in grid and not isinstance(grid[key], list)
        chosen = ", ".join(f"{value}: {n} of {len(choices)}" for value, n in counts.items())
        if drawn and len(counts) > 1:
            chosen = _spread(list(counts)) or chosen
        found.append((names[key], _tried(grid.get(key, [])), chosen))
    return found


def _spread(texts: Sequence[str]) -> str | None:
    try:
        ordered = sorted(texts, key=float)
    except ValueError:
        return None
    return f"from {ordered[0]} to {ordered[-1]}"


def _tried(values: Any) -> str:
    return ", ".join(map(drawing.value_text, values)) if isinstance(values, list) else str(values)


def _resource(facts: Mapping[str, Any]) -> str:
    return str((facts.get("rungs") or [{}])[0].get("resource", "a resource"))


def _float(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)
