"""What visible neighbours suggest for hidden tokens: the guess that a model has to beat."""

from __future__ import annotations

import torch
from torch import Tensor


def interpolate(
    patches: Tensor, hidden: Tensor, present: Tensor | None = None, *, kind: str = "spectrum", patch_chans: int = 1
) -> Tensor:
    """Fill hidden tokens from visible ones of the same window.

    Spectra: between the nearest visible frame on each side, feature by feature, by distance (their
    mean where the token lies in the middle).  Signals: between the nearest visible sample on each
    side.  At an end the nearest visible one is repeated.  A channel that is hidden throughout gets
    the mean of the window's other channels, these filled in first.

    Parameters
    ----------
    patches : Tensor, shape (n, n_chans, n_frames, n_features)
        The values at hidden tokens are not looked at.
    hidden : Tensor of bool, shape (n, n_chans, n_frames)
        Tokens to fill.
    present : Tensor of bool, shape (n, n_chans), optional
        Channels that are there; absent ones are neither filled nor asked.
    kind : {"spectrum", "signal"}
        What a token's features are.
    patch_chans : int
        Channels that one token of signals spans (``TokenSizes.patch_chans``).

    Returns
    -------
    Tensor, of the shape of ``patches``
        Visible tokens as they were; 0 in absent channels.

    Raises
    ------
    ValueError
        A kind that there is not.

    See Also
    --------
    biot_bd.pretraining.Masking : Hides tokens.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining import interpolate
    >>> frames = torch.tensor([0.0, 9.0, 9.0, 6.0]).view(1, 1, 4, 1)
    >>> hidden = torch.tensor([[[False, True, True, False]]])
    >>> interpolate(frames, hidden).flatten()
    tensor([0., 2., 4., 6.])
    """
    if kind not in ("spectrum", "signal"):
        raise ValueError(f"kind must be 'spectrum' or 'signal', found {kind!r}")
    if kind == "spectrum":
        return _fill(patches, hidden, present)
    n, n_chans, n_frames, n_features = patches.shape
    n_samples = n_features // patch_chans
    signals = by_channel(patches, patch_chans).flatten(2, 3)[..., None]
    hidden_samples = rows_by_channel(hidden, patch_chans).repeat_interleave(n_samples, 2)
    filled = _fill(signals, hidden_samples, None if present is None else rows_by_channel(present, patch_chans))
    apart = filled.view(n, n_chans, patch_chans, n_frames, n_samples)
    return apart.transpose(2, 3).reshape(patches.shape)


def by_channel(patches: Tensor, patch_chans: int) -> Tensor:
    """Split tokens of several channels, to (n, rows * patch_chans, n_frames, n_samples)."""
    return patches.unflatten(-1, (patch_chans, -1)).transpose(2, 3).flatten(1, 2)


def rows_by_channel(rows: Tensor, patch_chans: int) -> Tensor:
    """Repeat what is said of rows (n, rows, ...) for the channels of each."""
    return rows.repeat_interleave(patch_chans, 1)


def _fill(values: Tensor, hidden: Tensor, present: Tensor | None) -> Tensor:
    """Interpolate (n, n_chans, length, k) along its length, then across channels."""
    visible = ~hidden if present is None else ~hidden & present[..., None]
    along, some = _along(values, visible), visible.any(2)[..., None, None]
    along = along.masked_fill(~some, 0.0)
    across = along.sum(1, keepdim=True) / some.sum(1, keepdim=True).clamp(min=1)
    filled = torch.where(some, along, across)
    return filled if present is None else filled.masked_fill(~present[..., None, None], 0.0)


def _along(values: Tensor, visible: Tensor) -> Tensor:
    """Interpolate along the length; what stands in a row without anything visible means nothing."""
    length = visible.shape[2]
    place = torch.arange(length, device=visible.device).expand(visible.shape)
    before = place.masked_fill(~visible, -1).cummax(2).values
    after = place.masked_fill(~visible, length).flip(2).cummin(2).values.flip(2)
    left = torch.where(before >= 0, before, after).clamp(max=length - 1)
    right = torch.where(after < length, after, before).clamp(min=0)
    share = ((place - left).to(values.dtype) / (right - left).clamp(min=1))[..., None]
    return torch.lerp(_at(values, left), _at(values, right), share)


def _at(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(2, index[..., None].expand_as(values))
