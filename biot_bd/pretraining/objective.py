"""What a pretraining objective is: a module with heads of its own that scores a batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Sampler

from biot_bd.models.token_stages import TokenSizes, TokenStages
from biot_bd.pretraining.batch_random import BatchRandom
from biot_bd.pretraining.reconstruction import Reconstruction


class Objective(nn.Module):
    """Base of pretraining objectives.

    A subclass takes :class:`biot_bd.models.TokenSizes` first and plain keyword parameters behind,
    makes its heads (mask token, decoder, projector), and returns a loss.

    Parameters
    ----------
    sizes : TokenSizes
        Of the model's tokens.

    Attributes
    ----------
    kinds : frozenset of str
        Kinds of patches (:attr:`biot_bd.models.TokenStages.kind`) that it can be asked about.
    supervised : bool
        Whether ``forward`` takes ``targets``, (n, 2): number of the corpus and label in it.
    across_windows : bool
        Whether a window's loss depends on the windows beside it.

    See Also
    --------
    biot_bd.Pretrainer : Trains a model by objectives.
    biot_bd.hookspecs.register_objectives : How a plugin adds one.
    biot_bd.testing.check_objective : Checks one in a plugin's tests.

    Examples
    --------
    A whole objective: how loud a window is, from its embedding.

    >>> import torch
    >>> from torch import nn
    >>> from biot_bd.models import BIOT, token_stages
    >>> from biot_bd.pretraining import BatchRandom, Objective
    >>> class WindowLevel(Objective):
    ...     def __init__(self, sizes):
    ...         super().__init__(sizes)
    ...         self.head = nn.Linear(sizes.embed_dim, 1)
    ...
    ...     def forward(self, tokens, x, rng):
    ...         level = tokens.patches(x).log1p().mean((1, 2, 3))
    ...         error = self.head(tokens.embeddings(x))[:, 0] - level
    ...         return {"loss": error.square().mean(), "level": level.mean()}
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=2, n_times=400, n_outputs=2
    ... )
    >>> stages = token_stages(model)
    >>> told = WindowLevel(stages.sizes)(stages, torch.randn(5, 2, 400), BatchRandom(0, n=5))
    >>> sorted(told), told["loss"].shape
    (['level', 'loss'], torch.Size([]))
    """

    kinds: frozenset[str] = frozenset({"spectrum", "signal"})
    supervised: bool = False
    across_windows: bool = False

    def __init__(self, sizes: TokenSizes) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, tokens: TokenStages, x: Tensor, rng: BatchRandom) -> dict[str, Tensor]:
        """Score a batch.

        Parameters
        ----------
        tokens : TokenStages
            Of the model that is trained.
        x : Tensor, shape (n, n_chans, n_times)
            A channel that is NaN throughout is absent.
        rng : BatchRandom
            All chance comes from here; validation hands the same numbers every epoch.

        Returns
        -------
        dict of str to Tensor
            ``"loss"``, a mean over windows of what each window gives, and whatever else shall be
            told: means over the windows of the batch, detached, of any shape.
        """
        raise NotImplementedError

    def batches(self, targets: NDArray[np.int64], batch_size: int, drop_last: bool) -> Sampler[list[int]] | None:
        """Return the batches of an epoch where they are not just any windows; None: they are.

        Parameters
        ----------
        targets : ndarray of int
            Of the training windows, (n, 2) where the objective is supervised.
        batch_size : int
            Windows of a batch, of all processes together.
        drop_last : bool
            Whether incomplete batches are left out.

        Returns
        -------
        Sampler of list of int, or None
            With ``len``; positions among the training windows.  All its random numbers come from
            torch's global generator before it gives out the first batch of an epoch.
        """
        return None

    def derive(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        """Return what follows from an epoch's means (of what ``forward`` returned) as a whole.

        E.g. ``skill`` and ``chance``, the loss of somebody who knows nothing.  They join the scalar
        means in the history; means with dimensions are left out there.
        """
        return {}

    def reconstruct(self, tokens: TokenStages, x: Tensor, rng: BatchRandom) -> Reconstruction:
        """Return what a masked objective predicts of hidden tokens; others raise ``TypeError``."""
        raise TypeError(f"{type(self).__name__} reconstructs nothing")
