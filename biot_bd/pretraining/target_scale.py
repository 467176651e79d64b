"""In which scale hidden tokens are predicted: as they are, or standardised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Standardise = Literal["channel", "token"]

_LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class TargetScale:
    """Means and spreads by which a batch's targets are standardised.

    Nothing of a hidden token reaches the model through them: they change what is asked for, not
    what is seen.

    Parameters
    ----------
    by : {"channel", "token"} or None
        ``"channel"``: minus the mean of the channel's visible numbers (of the window's, where the
        channel is hidden throughout), over the root mean square of all its deviations from it:
        levels have to be predicted, and no window's error is beyond bounds.  ``"token"``: by each
        token's own mean and deviation, as masked autoencoders do with pixels (He et al., 2022): its
        level is not asked for, its shape alone.  None: nothing is changed.
    mean, std : Tensor, shape (n, n_chans, 1, 1)
        Of each channel as said; with ``by="token"``, ``std`` is the root mean square of its visible
        tokens' own deviations.

    See Also
    --------
    biot_bd.pretraining.MaskedObjective : Scores predictions in this scale.

    References
    ----------
    He, K. et al. (2022). Masked autoencoders are scalable vision learners. CVPR.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining.target_scale import TargetScale
    >>> content = torch.tensor([[[[1.0, 3.0], [9.0, 7.0]]]])
    >>> scale = TargetScale.of(content, torch.tensor([[[True, False]]]), by="channel")
    >>> scale.target(content)
    tensor([[[[-0.2294,  0.2294],
              [ 1.6059,  1.1471]]]])
    """

    by: Standardise | None
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, content: Tensor, visible: Tensor, by: Standardise | None) -> TargetScale:
        """Measure the visible tokens of a batch.

        Parameters
        ----------
        content : Tensor, shape (n, n_chans, n_frames, n_features)
        visible : Tensor of bool, shape (n, n_chans, n_frames)
        by : {"channel", "token"} or None
        """
        check_standardise(by)
        mean = _visible_mean(content.mean(-1), visible)
        if by == "token":
            variance = _visible_mean(content.var(-1, correction=0), visible)
        else:
            variance = (content - mean).square().mean((2, 3), keepdim=True)
        return cls(by, mean, (variance + _LEAST_VARIANCE).sqrt())

    def target(self, content: Tensor) -> Tensor:
        """Return what is asked for, of the shape of ``content``."""
        if self.by is None:
            return content
        if self.by == "channel":
            return (content - self.mean) / self.std
        variance, mean = torch.var_mean(content, -1, correction=0, keepdim=True)
        return (content - mean) / (variance + _LEAST_VARIANCE).sqrt()

    def guess(self, content: Tensor) -> Tensor:
        """Return a guess of somebody who does not see the token, in the scale of the target.

        By token it is centred by its own mean and divided by the spread of the channel's visible
        tokens: a smooth guess divided by its own spread would be farther off.
        """
        if self.by is None:
            return content
        centre = self.mean if self.by == "channel" else content.mean(-1, keepdim=True)
        return (content - centre) / self.std


def check_standardise(by: str | None) -> None:
    """Raise ``ValueError`` where a scale is asked for that there is not."""
    if by is not None and by not in get_args(Standardise):
        raise ValueError(f"standardise must be 'channel', 'token' or None; found {by!r}")


def _visible_mean(numbers: Tensor, visible: Tensor) -> Tensor:
    """Return the mean over a channel's visible tokens, or the window's, (n, n_chans, 1, 1)."""
    weight = visible.to(numbers.dtype)
    total, count = (numbers * weight).sum(2, keepdim=True), weight.sum(2, keepdim=True)
    of_window = total.sum(1, keepdim=True) / count.sum(1, keepdim=True).clamp(min=1)
    return torch.where(count > 0, total / count.clamp(min=1), of_window)[..., None]
