"""Records of searches by hand: what an engine would leave, with scores that follow from the parameters."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from biot_bd.evaluation.searching.search_record import SearchRecord

GRID: dict[str, list[Any]] = {"clf__lr": [0.0001, 0.001, 0.01], "clf__depth": [2, 4]}


def made_record(
    folder: Path,
    grid: dict[str, list[Any]] | None = None,
    *,
    engine: str = "grid",
    n_folds: int = 3,
    n_inner: int = 2,
    n_rungs: int = 1,
    undefined: tuple[int, int] | None = None,
    pruned: int = 0,
) -> SearchRecord:
    """A search of ``n_folds`` outer folds; ``undefined`` (fold, candidate) has no score; the last ``pruned`` of a fold were."""
    grid = GRID if grid is None else grid
    rng = np.random.default_rng(3)
    candidates = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    trials, table = [], []
    for fold in range(n_folds):
        left = list(range(len(candidates)))
        quality = {number: 0.5 + 0.4 * rng.random() for number in left}
        last, scores = dict.fromkeys(left, 0), {}
        for rung in range(n_rungs):
            for number in left:
                gone = (fold, number) == undefined
                own = [None if gone else quality[number] + 0.02 * rung + 0.01 * inner for inner in range(n_inner)]
                trials += [
                    {
                        "fold": fold,
                        "candidate": number,
                        "rung": rung,
                        "inner": inner,
                        "score": value,
                        "reason": "no seizure windows" if gone else "",
                        "state": "finished",
                        "wall_s": 2.0,
                    }
                    for inner, value in enumerate(own)
                ]
                scores[number] = [value for value in own if value is not None]
                last[number] = rung
            left = sorted(left, key=lambda number: -quality[number])[: max(1, len(left) // 2)]
        eligible = [n for n in scores if scores[n] and last[n] == n_rungs - 1 and n < len(candidates) - pruned]
        best = max(eligible, key=lambda number: np.mean(scores[number]))
        for number, params in enumerate(candidates):
            known = scores[number]
            table.append(
                {
                    "fold": fold,
                    "candidate": number,
                    **params,
                    "mean": float(np.mean(known)) if known else None,
                    "std": float(np.std(known)) if known else None,
                    "n_defined": len(known),
                    "n_inner": n_inner,
                    "rung": last[number],
                    "rank": 1 if number == best else 2,
                    "state": "pruned" if number >= len(candidates) - pruned else "finished",
                    "chosen": number == best,
                }
            )
    facts = {
        "version": 1,
        "engine": {"name": engine, "parameters": {}},
        "grid": grid,
        "inner_cv": f"subject-kfold-{n_inner}",
        "scoring": "average_precision",
        "greater_is_better": True,
        "candidates": [{"number": number, "params": params} for number, params in enumerate(candidates)],
    }
    return SearchRecord(
        folder,
        facts,
        pd.DataFrame(trials).astype({"score": "Float64"}),
        pd.DataFrame({name: pd.Series([row[name] for row in table], dtype=_dtype(name)) for name in table[0]}),
    )


def _dtype(name: str) -> str | None:
    if "__" in name:
        return "object"
    return "Float64" if name in ("mean", "std") else None
