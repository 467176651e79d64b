"""Whether attributions add up to what they explain."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from biot_bd.probes.question import as_array


def completeness(values: NDArray[Any], explained: Tensor) -> dict[str, Any]:
    """Return how far attributions are from adding up, as facts for ``info``.

    Parameters
    ----------
    values : ndarray, shape (n, ...)
        Attributions; NaN for what is absent.
    explained : Tensor, shape (n,)
        What those of each window should add up to: its score minus that of the baseline.

    Returns
    -------
    dict
        ``difference``: that, for each window; ``completeness_error``: the largest difference;
        ``completeness_error_relative``: the sum of the differences over the sum of what is
        explained, in sizes.
    """
    wanted = as_array(explained).astype(np.float64)
    found = np.nansum(values.reshape(len(values), -1), axis=1, dtype=np.float64)
    errors = np.abs(found - wanted)
    size = np.abs(wanted).sum()
    return {
        "difference": wanted.tolist(),
        "completeness_error": float(errors.max()),
        "completeness_error_relative": float(errors.sum() / size) if size > 0 else None,
    }
