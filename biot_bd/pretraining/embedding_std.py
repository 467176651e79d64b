"""How far embeddings of windows differ: 0 says that a model has collapsed."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def embedding_std(embeddings: Tensor) -> Tensor:
    """Return the standard deviation over windows of normalised embeddings, 0 to about 1.

    Embeddings are brought to length 1, and the mean over features of their standard deviations is
    multiplied by ``sqrt(features)``: 0 where all windows have one embedding (a collapsed model), 1
    where they point in all directions alike, whatever their length [1]_.

    Parameters
    ----------
    embeddings : Tensor, shape (n, features)

    Returns
    -------
    Tensor, scalar, float32
        Without graph; 0 for one window.

    References
    ----------
    .. [1] Chen, X., He, K. (2021). Exploring Simple Siamese Representation Learning. CVPR.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining import embedding_std
    >>> float(embedding_std(torch.ones(8, 4)))
    0.0
    """
    normalised = F.normalize(embeddings.detach().float(), dim=1)
    return normalised.std(dim=0, correction=0).mean() * normalised.shape[1] ** 0.5
