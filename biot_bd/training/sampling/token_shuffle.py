"""Windows whose channels, or whose pieces of time, are in a random order."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from braindecode.augmentation import Transform
from torch import Tensor

WHICH = ("channels", "time", "all")


def _operation(x: Tensor, y: Tensor, channels: Tensor | None, times: Tensor | None) -> tuple[Tensor, Tensor]:
    """Reorder windows (n, n_chans, n_times): window i gets ``x[i, channels[i]][:, times[i]]``."""
    if channels is not None:
        x = x.gather(1, channels[..., None].expand_as(x))
    if times is not None:
        x = x.gather(2, times[:, None].expand_as(x))
    return x, y


class TokenShuffle(Transform):
    """Put channels, pieces of time, or both into a random order, another for each window.

    What a model learns in spite of it does not depend on where (or when) something is.  It is a
    regularisation and a question to a model, not an augmentation of EEG: no recording looks so.

    Parameters
    ----------
    probability : float
        Share of the windows that are reordered.
    which : {"channels", "time", "all"}
        What is reordered.  ``"time"`` cuts the window into pieces, the same for all channels; what
        is left over at its end stays there.
    n_samples_piece : int
        Length of a piece in samples.  With that of a frame of BIOT, and frames that do not overlap
        (``hop_length`` equal to it), tokens are reordered exactly.
    random_state : int or RandomState, optional
        Not used inside a classifier, whose own decides.

    Raises
    ------
    ValueError
        ``which`` is another word, or a piece has less than one sample or more than half a window.

    See Also
    --------
    biot_bd.BIOTClassifier : ``augment=("TokenShuffle", {"which": "channels"})``.
    braindecode.augmentation.ChannelsShuffle : Moves channels, each window's alike.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.training import TokenShuffle
    >>> x = torch.arange(6.0).reshape(1, 1, 6)
    >>> TokenShuffle(which="time", n_samples_piece=2, random_state=0)(x).tolist()
    [[[4.0, 5.0, 2.0, 3.0, 0.0, 1.0]]]
    """

    operation = staticmethod(_operation)  # type: ignore[assignment]

    def __init__(
        self,
        probability: float = 1.0,
        which: Literal["channels", "time", "all"] = "all",
        n_samples_piece: int = 200,
        random_state: Any = None,
    ) -> None:
        if which not in WHICH:
            raise ValueError(f"TokenShuffle: which must be one of {', '.join(WHICH)}, found {which!r}")
        if n_samples_piece < 1:
            raise ValueError(f"TokenShuffle: n_samples_piece must be at least 1, found {n_samples_piece}")
        super().__init__(probability=probability, random_state=random_state)
        self.which = which
        self.n_samples_piece = n_samples_piece

    def get_augmentation_params(self, *batch: Tensor) -> dict[str, Tensor | None]:
        """Draw the orders of a batch, ``channels`` (n, n_chans) and ``times`` (n, n_times)."""
        x = batch[0]
        n, n_chans, n_times = x.shape
        n_pieces = n_times // self.n_samples_piece
        if self.which != "channels" and n_pieces < 2:
            raise ValueError(
                f"TokenShuffle: windows of {n_times} samples have fewer than two pieces of "
                f"n_samples_piece={self.n_samples_piece}"
            )
        channels = times = None
        if self.which != "time":
            channels = torch.as_tensor(self.rng.random_sample((n, n_chans)).argsort(axis=1), device=x.device)
        if self.which != "channels":
            pieces = self.rng.random_sample((n, n_pieces)).argsort(axis=1)
            moved = pieces[..., None] * self.n_samples_piece + np.arange(self.n_samples_piece)
            rest = np.arange(n_pieces * self.n_samples_piece, n_times)
            order = np.concatenate([moved.reshape(n, -1), np.broadcast_to(rest, (n, len(rest)))], axis=1)
            times = torch.as_tensor(order, device=x.device)
        return {"channels": channels, "times": times}
