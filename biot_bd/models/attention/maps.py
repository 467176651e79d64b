"""Attention maps over tokens made smaller: by channel, by channel and frame; which layers to show.

Tokens lie channel by channel (``token = channel * n_frames + frame``), as in BIOT.  Rows and
columns of absent tokens may be NaN; they are left out of every mean.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import ArrayLike


def early_middle_late(n_layers: int) -> dict[str, int]:
    """Choose the layers to show of a model of any depth.

    Parameters
    ----------
    n_layers : int
        Number of attention layers, 1 or more.

    Returns
    -------
    dict of str to int
        ``early``, ``middle`` and ``late`` with their layer numbers; two layers have no ``middle``,
        and a single layer is called ``only``.

    Raises
    ------
    ValueError
        There is no layer.

    See Also
    --------
    attention_layers : The layers that a model has.
    biot_bd.probes.AttentionProbe : Shows these by default.

    Examples
    --------
    >>> from biot_bd.models import early_middle_late
    >>> early_middle_late(4)
    {'early': 0, 'middle': 2, 'late': 3}
    >>> early_middle_late(1)
    {'only': 0}
    """
    if n_layers < 1:
        raise ValueError(f"a model needs one attention layer or more to choose from, got {n_layers}")
    if n_layers == 1:
        return {"only": 0}
    if n_layers == 2:
        return {"early": 0, "late": 1}
    return {"early": 0, "middle": n_layers // 2, "late": n_layers - 1}


def attention_received(weights: ArrayLike | torch.Tensor, n_chans: int, n_frames: int) -> np.ndarray:
    """Attention that each token receives from all tokens, times their number, by channel and frame.

    Parameters
    ----------
    weights : array or Tensor, shape (..., n_tokens, n_tokens)
        Rows (queries) sum to 1; rows and columns of absent tokens are NaN.
    n_chans, n_frames : int
        Layout of the tokens.

    Returns
    -------
    ndarray, shape (..., n_chans, n_frames)
        1 everywhere for uniform attention, 1 on average always; NaN for absent channels.

    Raises
    ------
    ValueError
        The map does not have ``n_chans * n_frames`` rows and columns.

    See Also
    --------
    channel_attention : Who attends to whom, by channel.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.models import attention_received
    >>> weights = np.full((4, 4), 0.25)  # 2 channels x 2 frames, uniform
    >>> attention_received(weights, n_chans=2, n_frames=2)
    array([[1., 1.],
           [1., 1.]])
    """
    values = _square(weights, n_chans, n_frames)
    received = _nanmean(values, axis=-2)
    n_present = (~np.isnan(received)).sum(axis=-1, keepdims=True)
    return (received * n_present).reshape(*values.shape[:-2], n_chans, n_frames)


def channel_attention(weights: ArrayLike | torch.Tensor, n_chans: int, n_frames: int) -> np.ndarray:
    """Attention that each channel pays to each: mean over its queries, sum over the other's keys.

    Parameters
    ----------
    weights : array or Tensor, shape (..., n_tokens, n_tokens)
        Rows (queries) sum to 1; rows and columns of absent tokens are NaN.
    n_chans, n_frames : int
        Layout of the tokens.

    Returns
    -------
    ndarray, shape (..., n_chans, n_chans)
        Rows sum to 1; rows and columns of absent channels are NaN.

    Raises
    ------
    ValueError
        The map does not have ``n_chans * n_frames`` rows and columns.

    See Also
    --------
    attention_received : How much each token gets.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.models import channel_attention
    >>> own = np.kron(
    ...     np.eye(2), np.full((2, 2), 0.5)
    ... )  # each channel attends to its own 2 frames
    >>> channel_attention(own, n_chans=2, n_frames=2)
    array([[1., 0.],
           [0., 1.]])
    """
    values = _square(weights, n_chans, n_frames)
    blocks = values.reshape(*values.shape[:-2], n_chans, n_frames, n_chans, n_frames)
    # Channels are absent as a whole, so the plain sum keeps their NaN.
    return _nanmean(blocks.sum(axis=-1), axis=-2)


def _square(weights: ArrayLike | torch.Tensor, n_chans: int, n_frames: int) -> np.ndarray:
    if isinstance(weights, torch.Tensor):
        weights = weights.detach().float().cpu().numpy()
    values = np.asarray(weights)
    n_tokens = n_chans * n_frames
    if values.ndim < 2 or values.shape[-2:] != (n_tokens, n_tokens):
        raise ValueError(
            f"a map over {n_chans} channels x {n_frames} frames has {n_tokens} queries and keys, got shape {values.shape}"
        )
    return values


def _nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    with warnings.catch_warnings():  # the mean over an absent channel is NaN, and meant to be
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        return np.nanmean(values, axis=axis)
