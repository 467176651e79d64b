"""InfoNCE: tell which of the other view's embeddings is of the same window."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(masked: Tensor, whole: Tensor, temperature: float = 0.2) -> Tensor:
    """Return the contrastive loss of two views, as BIOT's official code computes it.

    The mean over windows of the cross-entropy of the right partner among all masked views, for
    logits ``cosine(whole, masked) / temperature`` [1]_, [2]_.  It is ``ln n`` where all embeddings
    are one, and no less than ``ln(1 + (n - 1) * exp(-2 / temperature))``.  Autocast does not reach
    into it.

    Parameters
    ----------
    masked, whole : Tensor, shape (n, features)
        Embeddings of the two views, window by window; they are normalised here.
    temperature : float
        Divides the cosines.

    Returns
    -------
    Tensor, scalar
        float32 for half precisions, else of the type of the embeddings.

    Raises
    ------
    ValueError
        The views differ in shape or are empty, or the temperature is not positive.

    See Also
    --------
    biot_bd.pretraining.of_whole_batch : Embeddings of the windows of other processes.

    References
    ----------
    .. [1] van den Oord, A., Li, Y., Vinyals, O. (2018). Representation Learning with Contrastive
       Predictive Coding. arXiv:1807.03748.
    .. [2] Yang, C., Westover, M. B., Sun, J. (2023). BIOT: Biosignal Transformer for Cross-data
       Learning in the Wild. NeurIPS 36. Code: https://github.com/ycq091044/BIOT

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining import info_nce
    >>> float(info_nce(torch.ones(4, 3), torch.ones(4, 3)))  # ln 4
    1.386...
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    with torch.autocast(masked.device.type, enabled=False):
        logits = cosines(whole, masked) / temperature
        return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def top1(masked: Tensor, whole: Tensor) -> Tensor:
    """Return the share of windows whose masked view is the nearest of all, a scalar.

    Parameters
    ----------
    masked, whole
        As for :func:`info_nce`.

    Raises
    ------
    ValueError
        As there.
    """
    with torch.autocast(masked.device.type, enabled=False):
        nearest = cosines(whole.detach(), masked.detach()).argmax(dim=1)
        return (nearest == torch.arange(len(nearest), device=nearest.device)).float().mean()


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine of each row of ``a`` with each of ``b``, (n, n), in float32 at least."""
    if a.shape != b.shape or a.ndim != 2 or not len(a):
        raise ValueError(
            f"expected two views of shape (n, features), one row a window, got {tuple(b.shape)} and {tuple(a.shape)}"
        )
    a, b = (F.normalize(view.to(torch.promote_types(view.dtype, torch.float32)), dim=1) for view in (a, b))
    return a @ b.T
