"""Signals to compare a window with: what its channels could have held instead.

References
----------
.. [1] Theiler, J. et al. (1992). Testing for nonlinearity in time series: the method of surrogate
   data. Physica D 58, 77-94.
.. [2] Prichard, D., Theiler, J. (1994). Generating surrogate data for time series with several
   simultaneously measured variables. Physical Review Letters 73, 951-954.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Baseline = Literal["phase-surrogate", "interictal-mean", "zero"]

MOST = 256
"""Most windows of a background that are read."""


def check_baseline(baseline: str, background: Any) -> None:
    """Check the name of a baseline, and that there is a background where it needs one.

    Raises
    ------
    ValueError
        It is none of the three, or the background is missing or has no use.
    """
    if baseline not in get_args(Baseline):
        raise ValueError(f"baseline must be one of {', '.join(get_args(Baseline))}; got {baseline!r}")
    if (baseline == "interictal-mean") != (background is not None):
        need = "needs background=, windows without seizures" if background is None else "takes no background="
        raise ValueError(f"baseline={baseline!r} {need}")


def baselines_of(
    x: Tensor, baseline: Baseline, *, n_baselines: int, background: Any, random_state: int
) -> list[Tensor]:
    """Return signals to start from, each (n, n_chans, n_times), NaN where ``x`` is.

    Parameters
    ----------
    x : Tensor, shape (n, n_chans, n_times)
    baseline : {"phase-surrogate", "interictal-mean", "zero"}
    n_baselines : int
        Surrogates, or windows of the background, evenly spread.
    background : array or Windows, shape (m, n_chans, n_times), optional
    random_state : int

    Returns
    -------
    list of Tensor

    Raises
    ------
    ValueError
        The background has another shape, or no window with all the channels of ``x``.
    """
    if baseline == "phase-surrogate":
        return [phase_surrogate(x, random_state + number) for number in range(n_baselines)]
    if baseline == "zero":
        warnings.warn(
            "baseline='zero' compares with a dead channel, which no recording of a working electrode holds; on planted "
            "evidence it pointed to the wrong channel: use 'phase-surrogate'",
            stacklevel=2,
        )
        return [x * 0]
    windows = background_windows(background, x)
    whole = windows.isfinite().all(dim=-1)
    fits = [row for row in range(len(windows)) if bool((whole[row] | x.isnan().all(dim=-1)).all())]
    if not fits:
        raise ValueError(f"none of the {len(windows)} windows of background= has all channels of the windows explained")
    return [torch.where(x.isnan(), x, windows[fits[row]]) for row in spread(len(fits), n_baselines)]


def background_windows(background: Any, x: Tensor) -> Tensor:
    """Return the background as a tensor like ``x``; of many windows 256, evenly spread.

    Raises
    ------
    ValueError
        It has another shape, or no window.
    """
    given = background if hasattr(background, "shape") else np.asarray(background)
    if len(given.shape) != 3 or tuple(given.shape[1:]) != tuple(x.shape[1:]) or not len(given):
        raise ValueError(
            f"background must be windows of shape (m, {x.shape[1]}, {x.shape[2]}), m > 0, as the model takes them; got "
            f"{tuple(given.shape)}"
        )
    chosen = given[spread(len(given), MOST)]
    return (chosen if isinstance(chosen, Tensor) else torch.as_tensor(np.asarray(chosen))).to(x)


def spread(n: int, at_most: int) -> NDArray[np.int64]:
    """Return numbers from 0 to ``n - 1``, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(at_most, n)).round().astype(int))


def phase_surrogate(x: Tensor, random_state: int) -> Tensor:
    """Return signals with the amplitude spectrum of ``x`` and other phases [1]_.

    The same random angles are added to the phases of all channels and windows, so that the relation
    between channels stays [2]_, and what a window gets depends on no other window, nor on the order
    of channels.

    Parameters
    ----------
    x : Tensor, shape (n, n_chans, n_times)
        Absent channels NaN, and so they stay.
    random_state : int

    Returns
    -------
    Tensor, shape (n, n_chans, n_times)
    """
    n_times = x.shape[-1]
    angles: NDArray[Any] = np.random.default_rng(random_state).uniform(0, 2 * np.pi, n_times // 2 + 1)
    angles[0] = 0  # the mean stays
    if n_times % 2 == 0:
        angles[-1] = 0  # a real number, too
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    turn = torch.polar(torch.ones(len(angles), dtype=wide.dtype), torch.as_tensor(angles, dtype=wide.dtype))
    return torch.fft.irfft(torch.fft.rfft(wide) * turn.to(x.device), n=n_times).to(x.dtype)
