"""Whether embeddings lie together by subject or by class, beside what chance would give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, pairwise_distances, silhouette_samples
from sklearn.preprocessing import normalize

from biot_bd.embedding.nearest import METRICS, nearest_windows

MOST_WINDOWS = 2000
N_PERMUTATIONS = 99
NEIGHBOURS = 5


def cluster_facts(
    embeddings: ArrayLike,
    subjects: ArrayLike,
    labels: ArrayLike,
    *,
    metric: str = "cosine",
    most_windows: int = MOST_WINDOWS,
    n_permutations: int = N_PERMUTATIONS,
    random_state: int = 0,
) -> dict[str, Any]:
    """Say how embeddings lie together: by subject, or by class.

    Parameters
    ----------
    embeddings : array-like, shape (n, n_features)
        One row a window.
    subjects, labels : array-like, shape (n,)
        Subject and class of each window.
    metric : {"cosine", "euclidean"}
        Distance of the silhouette; for ``"cosine"`` clusters are looked for in embeddings of length
        1.
    most_windows : int
        Of more windows some are taken, as many of each subject as can be.
    n_permutations : int
        How often names are shuffled for the level of chance: subjects over all windows, classes
        within each subject.
    random_state : int
        Of sampling, shuffling and k-means.

    Returns
    -------
    dict
        As JSON holds it.  ``n_windows``, ``metric``; for ``subject`` and ``class`` each:
        ``n_groups``, ``silhouette`` [1]_ (a mean over groups of means over their windows) with
        ``chance`` (its mean over shuffled names) and ``p``;
        ``k_means`` and ``hdbscan``: ``n_clusters``, and for both namings the adjusted Rand index
        ``ari`` (0 by chance) and normalised mutual information ``nmi``; ``neighbours``: for each
        class the share of the nearest windows of other subjects that are of that class, beside its
        share among them all; ``sentence``: the same in words.  A number is None where it is not
        defined, as a silhouette of one group is not.

    Raises
    ------
    ValueError
        Values that are not finite, not one name a window, or an unknown metric.

    See Also
    --------
    nearest_windows : Neighbours of single windows.

    Notes
    -----
    Windows of a recording follow one another, so they are alike whatever the model: that they lie
    together by subject says little, that they do not by class says something.

    References
    ----------
    .. [1] Rousseeuw, P. J. (1987). Silhouettes. J. Comput. Appl. Math. 20, 53-65.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.embedding import cluster_facts
    >>> rng = np.random.default_rng(0)
    >>> subjects, labels = np.repeat(["a", "b"], 50), np.tile([0, 1], 50)
    >>> x = rng.normal(size=(100, 4)) + 20 * (subjects == "b")[:, None]
    >>> facts = cluster_facts(x, subjects, labels, metric="euclidean")
    >>> facts["subject"]["silhouette"] > 0.8, abs(facts["class"]["silhouette"]) < 0.1
    (True, True)
    """
    x, names = np.asarray(embeddings), {"subject": np.asarray(subjects), "class": np.asarray(labels)}
    if metric not in METRICS:
        raise ValueError(f"metric={metric!r}: expected {' or '.join(map(repr, METRICS))}")
    if x.ndim != 2 or any(len(one) != len(x) for one in names.values()):
        raise ValueError(f"expected embeddings (n, n_features) and one subject and class a window, found {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("embeddings that are not finite; leave these windows out")
    rng = np.random.default_rng(random_state)
    rows = evenly_by_group(names["subject"], most_windows, rng)
    x, names = x[rows].astype(np.float64), {key: one[rows] for key, one in names.items()}
    x = normalize(x) if metric == "cosine" else x
    distances = pairwise_distances(x)
    distances = distances**2 / 2 if metric == "cosine" else distances  # of vectors of length 1
    shuffles: dict[str, Callable[[], NDArray[Any]]] = {
        "subject": lambda: rng.permutation(names["subject"]),
        "class": lambda: _shuffled_within(names["class"], names["subject"], rng),
    }
    facts: dict[str, Any] = {"n_windows": len(x), "metric": metric, "n_permutations": n_permutations}
    for key, own in names.items():
        chance = [_silhouette(distances, shuffles[key]()) for _ in range(n_permutations)]
        facts[key] = {"n_groups": len(np.unique(own)), **_beside_chance(_silhouette(distances, own), chance)}
    facts["k_means"] = {
        key: _k_means(x, own, names, random_state) for key, own in names.items() if 1 < len(np.unique(own)) < len(x)
    }
    facts["hdbscan"] = _hdbscan(x, names)
    facts["neighbours"] = _neighbours(x, names)
    facts["sentence"] = _sentence(facts)
    return facts


def evenly_by_group(groups: NDArray[Any], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose rows, as many of each group as can be, in order; all where there are no more.

    Parameters
    ----------
    groups : ndarray, shape (n,)
    most : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int
    """
    if len(groups) <= most:
        return np.arange(len(groups))
    order = rng.permutation(len(groups))
    turn = pd.Series(groups[order]).groupby(groups[order]).cumcount().to_numpy()
    return np.sort(order[np.lexsort([np.arange(len(order)), turn])[:most]])


def _shuffled_within(values: NDArray[Any], groups: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    shuffled = values.copy()
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        shuffled[own] = values[rng.permutation(own)]
    return shuffled


def _silhouette(distances: NDArray[np.float64], names: NDArray[Any]) -> float | None:
    if not 1 < len(np.unique(names)) < len(names):
        return None
    by_window = silhouette_samples(distances, names, metric="precomputed")
    # A mean over groups: that over windows is the background's, which is most of them.
    return float(np.mean([by_window[names == name].mean() for name in np.unique(names)]))


def _beside_chance(value: float | None, chance: list[float | None]) -> dict[str, float | None]:
    known = np.array([one for one in chance if one is not None])
    if value is None or not len(known):
        return {"silhouette": value, "chance": None, "p": None}
    p = (1 + int((known >= value).sum())) / (1 + len(known))
    return {"silhouette": value, "chance": float(known.mean()), "p": p}


def _agreement(found: NDArray[Any], names: dict[str, NDArray[Any]]) -> dict[str, dict[str, float]]:
    return {
        key: {
            "ari": float(adjusted_rand_score(own, found)),
            "nmi": float(normalized_mutual_info_score(own, found)),
        }
        for key, own in names.items()
    }


def _k_means(x: NDArray[Any], own: NDArray[Any], names: dict[str, NDArray[Any]], seed: int) -> dict[str, Any]:
    n_clusters = len(np.unique(own))
    found = KMeans(n_clusters, n_init=4, random_state=seed).fit_predict(x)
    return {"n_clusters": n_clusters, **_agreement(found, names)}


def _hdbscan(x: NDArray[Any], names: dict[str, NDArray[Any]]) -> dict[str, Any] | None:
    size = max(5, len(x) // 50)
    if len(x) < 2 * size:
        return None
    found = HDBSCAN(min_cluster_size=size, copy=True).fit_predict(x)
    facts = {"n_clusters": len(set(found.tolist()) - {-1}), "min_cluster_size": size}
    return {**facts, "noise": float((found == -1).mean()), **_agreement(found, names)}


def _neighbours(x: NDArray[Any], names: dict[str, NDArray[Any]]) -> dict[str, Any] | None:
    """Return by class how many of the nearest windows of others are of it, beside all of them."""
    subjects, labels = names["subject"], names["class"]
    if len(np.unique(subjects)) < 2:
        return None
    found = nearest_windows(x, np.arange(len(x)), n_neighbors=NEIGHBOURS, metric="euclidean", apart=subjects)
    asking, others = labels[found["query"].to_numpy(int)], labels[found["neighbour"].to_numpy(int)]
    facts = {}
    for label in np.unique(labels):
        own = subjects[labels == label]
        chance = [float((labels[subjects != subject] == label).mean()) for subject in own]
        facts[str(label)] = {
            "share": float((others[asking == label] == label).mean()),
            "chance": float(np.mean(chance)),
        }
    return {"n_neighbours": NEIGHBOURS, "of_other_subjects": facts}


def _sentence(facts: dict[str, Any]) -> str:
    subject, by_class = facts["subject"], facts["class"]
    told = [
        _told("subject", subject, "shuffled over all windows"),
        _told("class", by_class, "shuffled within subjects"),
    ]
    values = subject["silhouette"], by_class["silhouette"]
    if None in values:
        return f"The embeddings, {'; '.join(told)}."
    # Silhouettes of six subjects and of two classes start from other values by chance.
    above = subject["silhouette"] - subject["chance"], by_class["silhouette"] - by_class["chance"]
    more, less = ("subject", "class") if above[0] >= above[1] else ("class", "subject")
    return (
        f"Above chance, the embeddings lie together more by {more} ({max(above):+.3f}) than by {less} "
        f"({min(above):+.3f}): {'; '.join(told)}."
    )


def _told(name: str, facts: dict[str, Any], how: str) -> str:
    if facts["silhouette"] is None:
        return f"by {name} no silhouette ({facts['n_groups']} group)"
    return f"silhouette by {name} {facts['silhouette']:.3f} (names {how}: {facts['chance']:.3f}, p {facts['p']:.2g})"
