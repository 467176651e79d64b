"""Which image was shown: retrieval from a gallery, with chance beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest


def ranks(eeg: ArrayLike, gallery: ArrayLike, shown: ArrayLike) -> NDArray[np.int64]:
    """Return the place of the right image among the gallery, from 1, by cosine.

    Parameters
    ----------
    eeg : array of shape (n, n_features)
        What :class:`ImageAligner` makes of windows.
    gallery : array of shape (n_images, n_features)
        Embeddings of the images to choose from.
    shown : array of int, shape (n,)
        Which of them was shown.

    Returns
    -------
    ndarray of int64, shape (n,)
        1: it is the nearest.  Ties count against it.

    Raises
    ------
    ValueError
        Shapes do not go together, or values are not finite.

    See Also
    --------
    retrieval : The table made of it.

    Examples
    --------
    >>> from biot_bd_things import ranks
    >>> ranks([[1.0, 0.1]], [[1.0, 0.0], [0.0, 1.0]], [1]).tolist()
    [2]
    """
    x, images, right = np.asarray(eeg, dtype=np.float64), np.asarray(gallery, dtype=np.float64), np.asarray(shown)
    if x.ndim != 2 or images.ndim != 2 or x.shape[1] != images.shape[1] or right.shape != (len(x),):
        raise ValueError(f"expected (n, f), (n_images, f) and (n,); found {x.shape}, {images.shape} and {right.shape}")
    if right.size and (right.min() < 0 or right.max() >= len(images)):
        raise ValueError(f"shown: expected numbers from 0 to {len(images) - 1}, found {right.min()} to {right.max()}")
    for what, values in (("eeg", x), ("gallery", images)):
        if not np.isfinite(values).all():  # no comparison with NaN holds, so each would be the nearest
            row = int(np.argmin(np.isfinite(values).all(axis=1)))
            raise ValueError(f"{what}: row {row} is not finite; the encoder diverged, or its input was not finite")
    cosines = unit_vectors(x) @ unit_vectors(images).T
    own = cosines[np.arange(len(x)), right]
    return (cosines >= own[:, None]).sum(axis=1).astype(np.int64)


def unit_vectors(x: NDArray[Any]) -> NDArray[Any]:
    """Return rows of length 1; a row of zeros stays one."""
    return x / np.linalg.norm(x, axis=1, keepdims=True).clip(min=1e-12)


def retrieval(
    eeg: ArrayLike, gallery: ArrayLike, shown: ArrayLike, subjects: ArrayLike, *, top: tuple[int, ...] = (1, 5)
) -> pd.DataFrame:
    """Return how often the right image is among the first, by subject and in all.

    Parameters
    ----------
    eeg, gallery, shown
        As for :func:`ranks`.
    subjects : array of shape (n,)
        Whose each window is.
    top : tuple of int
        How many of the first count.

    Returns
    -------
    pandas.DataFrame
        A row a subject, and ``all``: ``n`` windows, ``top1`` and so on (shares), ``chance1`` and so
        on (k of the gallery), ``p1`` and so on (one-sided binomial test against chance; windows of
        one image are not independent, so take it for one subject with averaged windows), and
        ``median_rank``.

    Raises
    ------
    ValueError
        As :func:`ranks`, or subjects of another number.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd_things import retrieval
    >>> table = retrieval(np.eye(4), np.eye(4), np.arange(4), ["a", "a", "b", "b"], top=(1,))
    >>> table[["subject", "n", "top1", "chance1"]].values.tolist()
    [['a', 2, 1.0, 0.25], ['b', 2, 1.0, 0.25], ['all', 4, 1.0, 0.25]]
    """
    found, whose = ranks(eeg, gallery, shown), np.asarray(subjects).astype(str)
    if whose.shape != found.shape:
        raise ValueError(f"subjects: expected one a window, {len(found)}, found {whose.shape}")
    n_images = len(np.asarray(gallery))
    rows = []
    for name in [*sorted(set(whose.tolist())), "all"]:
        places = found if name == "all" else found[whose == name]
        row: dict[str, Any] = {"subject": name, "n": len(places)}
        for k in top:
            hits, chance = int((places <= k).sum()), min(1.0, k / n_images)
            row |= {
                f"top{k}": hits / len(places),
                f"chance{k}": chance,
                f"p{k}": float(binomtest(hits, len(places), chance, "greater").pvalue),
            }
        rows.append(row | {"median_rank": float(np.median(places))})
    return pd.DataFrame(rows)
