"""What a masked objective says of hidden tokens, beside what was there and what a guess says."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Reconstruction:
    """Patches of windows: as they are, as predicted, and as their neighbours would suggest.

    Parameters
    ----------
    original, predicted, interpolated : Tensor, shape (n, n_chans, n_frames, n_features)
        In the objective's own scale.  ``predicted`` and ``interpolated`` mean something where
        ``hidden`` is True.
    hidden : Tensor of bool, shape (n, n_chans, n_frames)
        Tokens that the model did not see and had to predict.
    present : Tensor of bool, shape (n, n_chans), or None
        Channels that are there; None: all.
    kind : str
        ``"spectrum"`` or ``"signal"``: what patches hold.
    unit : str
        Of the values, in words, e.g. ``"log magnitude, standardised a token"``.

    See Also
    --------
    score_reconstruction : Scores them.
    reconstruction_figure : Draws them.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining import Reconstruction
    >>> x, hidden = torch.randn(3, 2, 4, 25), torch.ones(3, 2, 4, dtype=torch.bool)
    >>> Reconstruction(x, 0.9 * x, 0 * x, hidden, None, "signal", "scaled").kind
    'signal'
    """

    original: Tensor
    predicted: Tensor
    interpolated: Tensor
    hidden: Tensor
    present: Tensor | None
    kind: str
    unit: str
