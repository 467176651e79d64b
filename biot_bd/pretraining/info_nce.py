"""InfoNCE: tell which of the other view's embeddings is of the same window."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(masked: Tensor, whole: Tensor, temperature: float = 0.2) -> Tensor:
    """Return the contrastive loss of two views, as BIOT's official code computes it.

    Parameters
    ----------
    masked, whole : Tensor, shape (n, features)
        Embeddings of the two views, window by window; they are normalised here.
    temperature : float
        Divides the cosines.

    Returns
    -------
    Tensor, scalar
        Mean over windows of the cross-entropy of the right partner; ``ln n`` at chance.

    Raises
    ------
    ValueError
        The views differ in shape, or the temperature is not positive.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining import info_nce
    >>> float(info_nce(torch.ones(4, 3), torch.ones(4, 3)))  # ln 4
    1.386...
    """
    if masked.shape != whole.shape or masked.ndim != 2:
        raise ValueError(
            f"expected two views of shape (n, features), found {tuple(masked.shape)} and {tuple(whole.shape)}"
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, found {temperature}")
    cosines = F.normalize(whole, dim=1) @ F.normalize(masked, dim=1).T
    return F.cross_entropy(cosines / temperature, torch.arange(len(cosines), device=cosines.device))
