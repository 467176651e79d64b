"""Which windows lie nearest to a window in the space of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import NearestNeighbors

METRICS = ("cosine", "euclidean")


def nearest_windows(
    embeddings: ArrayLike,
    queries: Sequence[int] | NDArray[np.int64],
    *,
    n_neighbors: int = 3,
    metric: str = "cosine",
    apart: ArrayLike | None = None,
) -> pd.DataFrame:
    """Find the windows whose embeddings are nearest to those of some windows.

    Parameters
    ----------
    embeddings : array-like, shape (n, n_features)
        Of all windows.
    queries : sequence of int
        Rows whose neighbours are looked for.
    n_neighbors : int
        How many of each.
    metric : {"cosine", "euclidean"}
        Distance.
    apart : array-like, shape (n,), optional
        Windows that share this value are no neighbours: subjects, or recordings.  None: only the
        window itself is none.

    Returns
    -------
    pandas.DataFrame
        Columns ``query``, ``rank`` (from 1), ``neighbour``, ``distance``; fewer ranks where there
        are not so many windows.

    Raises
    ------
    ValueError
        Not one value a window, no such row, or an unknown metric.

    See Also
    --------
    sklearn.neighbors.NearestNeighbors : Does the search.

    Examples
    --------
    >>> from biot_bd.embedding import nearest_windows
    >>> places = [[0.0], [0.1], [0.3], [5.0]]
    >>> found = nearest_windows(
    ...     places, [0], n_neighbors=1, metric="euclidean", apart=list("aabb")
    ... )
    >>> found[["query", "neighbour", "distance"]].to_numpy().tolist()
    [[0.0, 2.0, 0.3]]
    """
    x = np.asarray(embeddings)
    rows = np.asarray(queries, dtype=np.int64)
    groups = np.arange(len(x)) if apart is None else np.asarray(apart)
    if metric not in METRICS:
        raise ValueError(f"metric={metric!r}: expected {' or '.join(map(repr, METRICS))}")
    if x.ndim != 2 or groups.shape != (len(x),):
        raise ValueError(
            f"expected embeddings (n, n_features) and one value of apart a window, found {x.shape}, {groups.shape}"
        )
    if n_neighbors < 1 or (len(rows) and (rows.min() < 0 or rows.max() >= len(x))):
        raise ValueError(
            f"there are {len(x)} windows, and at least one neighbour is needed; found n_neighbors={n_neighbors}"
        )
    found = []
    for group in pd.unique(groups[rows]):
        asking = rows[groups[rows] == group]
        others = np.flatnonzero(groups != group)
        if not len(others):
            continue
        search = NearestNeighbors(n_neighbors=min(n_neighbors, len(others)), metric=metric, algorithm="brute")
        distances, places = search.fit(x[others]).kneighbors(x[asking])
        found += [_ranked(*one) for one in zip(asking, others[places], distances, strict=True)]
    empty = pd.DataFrame({"query": [], "rank": [], "neighbour": [], "distance": []})
    joined = pd.concat(found, ignore_index=True) if found else empty
    turn = {int(row): number for number, row in enumerate(pd.unique(rows))}
    order = np.lexsort((joined["rank"].to_numpy(), joined["query"].map(turn).to_numpy()))
    return joined.iloc[order].reset_index(drop=True)


def _ranked(query: Any, neighbours: NDArray[np.int64], distances: NDArray[Any]) -> pd.DataFrame:
    ranks = np.arange(1, len(neighbours) + 1)
    return pd.DataFrame({"query": int(query), "rank": ranks, "neighbour": neighbours, "distance": distances})
