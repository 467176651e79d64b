"""Embeddings in two dimensions, to be drawn."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from biot_bd.exceptions import MissingExtraError

METHODS = ("pca", "tsne", "umap")
_ENOUGH_FEATURES = 50


def project(
    embeddings: ArrayLike, method: str = "pca", *, metric: str = "cosine", random_state: int = 0
) -> NDArray[np.float32]:
    """Map embeddings to the plane.

    Parameters
    ----------
    embeddings : array-like, shape (n, n_features)
        Three windows or more.
    method : {"pca", "tsne", "umap"}
        ``"umap"`` needs the extra ``maps``.
    metric : {"cosine", "euclidean"}
        Distance that t-SNE and UMAP keep; principal components have none.
    random_state : int
        The same number, the same map.

    Returns
    -------
    ndarray of float32, shape (n, 2)

    Raises
    ------
    ValueError
        An unknown method, fewer than three windows, or values that are not finite.
    MissingExtraError
        umap-learn is not installed.

    See Also
    --------
    biot_bd.embedding.cluster_facts : Numbers, which a map does not give.

    Notes
    -----
    Of many features, t-SNE and UMAP get the first 50 principal components where the distance is
    Euclidean.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.embedding import project
    >>> project(np.random.default_rng(0).normal(size=(10, 4))).shape
    (10, 2)
    """
    x = np.asarray(embeddings, dtype=np.float32)
    if method not in METHODS:
        raise ValueError(f"no map {method!r}; there are {', '.join(METHODS)}")
    if x.ndim != 2 or len(x) < 3:
        raise ValueError(f"a map needs three windows or more, one row each; found shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("embeddings that are not finite; leave these windows out")
    if method == "pca":
        return np.asarray(_components(x, 2, random_state), dtype=np.float32)
    if metric == "euclidean" and x.shape[1] > _ENOUGH_FEATURES < len(x):
        x = _components(x, _ENOUGH_FEATURES, random_state)
    if method == "tsne":
        perplexity = min(30.0, (len(x) - 1) / 3)
        made = TSNE(perplexity=perplexity, metric=metric, init="pca", random_state=random_state).fit_transform(x)
    else:
        made = _umap(x, metric, random_state)
    return np.asarray(made, dtype=np.float32)


def _components(x: NDArray[np.float32], n: int, seed: int) -> Any:
    n_there = min(n, *x.shape)
    found = PCA(n_there, random_state=seed).fit_transform(x)
    return np.pad(found, ((0, 0), (0, n - n_there)))


def _umap(x: NDArray[np.float32], metric: str, seed: int) -> Any:
    try:
        from umap import UMAP
    except ImportError as error:
        raise MissingExtraError("map 'umap' needs the package umap-learn: pip install 'biot-bd[maps]'") from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value")  # of a seed, which we want
        return UMAP(n_neighbors=min(15, len(x) - 1), metric=metric, random_state=seed, init="pca").fit_transform(x)
