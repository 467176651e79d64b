"""The loss that aligns EEG with images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAME = 1 - 1e-5
"""Cosine from which on two image embeddings are one image's."""


class ImageContrast(nn.Module):
    """InfoNCE between windows and the embeddings of the images that were shown.

    Both directions are averaged, as in CLIP [1]_.  A batch may hold the same image several times;
    then each of these is a right answer, and none is a negative of another: the target of a row is
    the uniform distribution over the rows of the same image.

    Parameters
    ----------
    temperature : float
        Divides the cosines; its logarithm is learnt.

    Raises
    ------
    ValueError
        The temperature is not positive.

    See Also
    --------
    ImageAligner : Trains with it.

    References
    ----------
    .. [1] Radford, A., et al. (2021). Learning Transferable Visual Models From Natural Language
       Supervision. ICML. arXiv:2103.00020.

    Examples
    --------
    EEG that always says the same leaves chance, ln 4:

    >>> import torch
    >>> from biot_bd_things import ImageContrast
    >>> round(ImageContrast()(torch.ones(4, 4), torch.eye(4)).item(), 3)
    1.386
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, found {temperature}")
        self.log_temperature = nn.Parameter(torch.tensor(float(temperature)).log())

    def forward(self, eeg: Tensor, images: Tensor) -> Tensor:
        """Return the loss of windows (n, features) and the images' embeddings (n, features)."""
        eeg, images = F.normalize(eeg.float(), dim=-1), F.normalize(images.float(), dim=-1)
        same = (images @ images.T > SAME).float()
        target = same / same.sum(dim=1, keepdim=True)
        logits = eeg @ images.T / self.log_temperature.exp().clamp(min=0.01)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
