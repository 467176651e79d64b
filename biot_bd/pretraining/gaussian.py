"""Gaussians with independent parts, as variational autoencoders have them."""

from __future__ import annotations

from torch import Tensor


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""Return how far Gaussians are from the standard normal one, part by part.

    .. math:: \mathrm{KL}(N(\mu, \sigma^2) \,\|\, N(0, 1))
       = (\mu^2 + \sigma^2 - 1 - \log \sigma^2) / 2

    Parameters
    ----------
    mean, log_variance : Tensor, any one shape

    Returns
    -------
    Tensor, of that shape
        In nats.

    References
    ----------
    .. [1] Kingma, D. P., Welling, M. (2014). Auto-Encoding Variational Bayes. ICLR.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining.gaussian import kl_to_standard_normal
    >>> kl_to_standard_normal(torch.tensor([0.0, 2.0]), torch.zeros(2))
    tensor([0., 2.])
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance)
