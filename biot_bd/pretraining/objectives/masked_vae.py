"""A masked variational autoencoder: visible tokens to Gaussians, samples of these to patches."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from biot_bd.models.token_stages import TokenSizes, TokenStages
from biot_bd.models.vit_layers import init_linear
from biot_bd.pretraining.batch_random import BatchRandom
from biot_bd.pretraining.gaussian import kl_to_standard_normal
from biot_bd.pretraining.interpolation import by_channel
from biot_bd.pretraining.masked_objective import MaskedObjective, MaskedView, Prediction, encode_visible, mean_error
from biot_bd.pretraining.masks import Geometry
from biot_bd.pretraining.target_scale import Standardise
from biot_bd.pretraining.visible import Visible
from biot_bd.pretraining.vit_decoder import ViTDecoder

_LOG_VARIANCES = (-12.0, 6.0)  # beyond them float32 loses the divergence, or a sample the mean
_ACTIVE = 0.01  # Burda et al.


class MaskedVAE(MaskedObjective):
    r"""Reconstruct hidden patches through a Gaussian latent of each visible token.

    Only visible tokens pass the encoder.  Each becomes a Gaussian
    :math:`q(z_i \mid x_\mathrm{visible})` of ``latent_dim`` independent parts; the decoder is given
    a sample of each in its place, a mask token elsewhere, and predicts all patches.  A latent a
    token, rather than one a window, lets it carry what interpolation would use; the prior is
    :math:`N(0, I)` for each, and what belongs together in a window is the decoder's part.

    The loss of a window is, each a mean over values,

    .. math:: \mathrm{MSE}_\mathrm{hidden} + w\, \mathrm{MSE}_\mathrm{visible}
       + \beta\, \mathrm{KL}(q(z \mid x_\mathrm{visible}) \,\|\, N(0, I)) / n_\mathrm{values}

    With :math:`w = (1 - f) / f`, where :math:`f` is the hidden share, that is the negative evidence
    bound of a Gaussian likelihood, up to a factor and a constant; :math:`\beta f / 2` is the
    variance of its noise, in the scale of the targets.

    Parameters
    ----------
    sizes : TokenSizes
    latent_dim : int
        Parts of a token's latent.
    beta : float
        Weight of the divergence.  Large: the latent says nothing (posterior collapse, which
        ``active_units`` tells).  0: an autoencoder with noise that it can learn to drown.
    free_bits : float
        Nats of each latent part, mean over a window's tokens, that cost nothing [1]_.
    visible_weight : float
        :math:`w`.  0: only hidden patches are learnt, and :meth:`sample` has nothing to put in
        the places that it draws as visible.
    mask_geometry, mask_ratio, block_frames, guard_frames, standardise
        As for :class:`biot_bd.pretraining.MaskedObjective`.
    decoder_embed_dim, decoder_num_layers, decoder_num_heads : int, optional
        Of the decoder; None: what the model's preset says.

    Raises
    ------
    ValueError
        A size below 1, or a negative weight.

    See Also
    --------
    biot_bd.models.MaskedViT : The encoder that it was made for.
    biot_bd.Pretrainer : ``Pretrainer("masked-vit", "masked-vae", objective__beta=0.1)``.

    Notes
    -----
    In eval mode the latent is its mean, so predictions are the same each time.  Logs, beside those
    of :class:`biot_bd.pretraining.MaskedObjective`: ``kl`` in nats a window; ``kl_token`` in nats a
    visible token; ``reconstruction``, the MSE of hidden patches; ``active_units``, the latent parts
    whose posterior mean varies over windows by more than 0.01, mean over places [2]_.

    References
    ----------
    .. [1] Kingma, D. P. et al. (2016). Improved Variational Inference with Inverse Autoregressive
       Flow. NeurIPS.
    .. [2] Burda, Y., Grosse, R., Salakhutdinov, R. (2016). Importance Weighted Autoencoders. ICLR.
    .. [3] Higgins, I. et al. (2017). beta-VAE. ICLR.
    .. [4] He, K. et al. (2022). Masked Autoencoders Are Scalable Vision Learners. CVPR.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import MaskedViT
    >>> from biot_bd.pretraining import BatchRandom
    >>> from biot_bd.pretraining.objectives.masked_vae import MaskedVAE
    >>> model = MaskedViT(n_chans=2, n_times=400, embed_dim=16, num_layers=1, num_heads=2)
    >>> stages = model.token_stages()
    >>> objective = MaskedVAE(stages.sizes, latent_dim=4)
    >>> found = objective(stages, torch.randn(3, 2, 400), BatchRandom(0, n=3))
    >>> found["kl"].shape, objective.sample(BatchRandom(0, n=5)).shape
    (torch.Size([]), torch.Size([5, 2, 4, 100]))
    """

    def __init__(
        self,
        sizes: TokenSizes,
        latent_dim: int = 32,
        beta: float = 0.1,
        free_bits: float = 0.0,
        visible_weight: float = 0.25,
        mask_geometry: Geometry = "token",
        mask_ratio: float = 0.75,
        block_frames: int = 3,
        guard_frames: int = 0,
        standardise: Standardise | None = "channel",
        decoder_embed_dim: int | None = None,
        decoder_num_layers: int | None = None,
        decoder_num_heads: int | None = None,
    ) -> None:
        super().__init__(sizes, mask_geometry, mask_ratio, block_frames, guard_frames, standardise)
        if latent_dim < 1 or min(beta, free_bits, visible_weight) < 0:
            raise ValueError(
                f"masked-vae: latent_dim={latent_dim} must be at least 1, and beta={beta}, free_bits={free_bits} and "
                f"visible_weight={visible_weight} at least 0"
            )
        self.latent_dim, self.beta, self.free_bits, self.visible_weight = latent_dim, beta, free_bits, visible_weight
        self.posterior = nn.Linear(sizes.embed_dim, 2 * latent_dim)
        init_linear(self.posterior)
        self.decoder = ViTDecoder(
            sizes, decoder_embed_dim, decoder_num_layers, decoder_num_heads, in_features=latent_dim
        )

    def predict(self, tokens: TokenStages, view: MaskedView, rng: BatchRandom) -> Prediction:
        """Predict all patches from samples of the visible tokens' latents."""
        encoded, visible = encode_visible(tokens, view)
        mean, log_variance = self.posterior(encoded).float().chunk(2, dim=-1)
        log_variance = log_variance.clamp(*_LOG_VARIANCES)
        patches = self.decoder(self._latent(mean, log_variance, visible, rng), visible, view.present)
        kl = kl_to_standard_normal(mean, log_variance)
        penalties = self._divergence(kl, view, visible) + self._visible_error(patches, view)
        return Prediction(patches, penalties, self._told(mean, kl, visible))

    def _latent(self, mean: Tensor, log_variance: Tensor, visible: Visible, rng: BatchRandom) -> Tensor:
        """Return a sample in training, the mean else."""
        if not self.training:
            return mean
        noise = rng.normal(self.sizes.n_chans, self.sizes.n_frames, self.latent_dim)
        return torch.addcmul(mean, visible.take(noise), (0.5 * log_variance).exp())

    def _divergence(self, kl: Tensor, view: MaskedView, visible: Visible) -> Tensor:
        """Return what each window pays for its latent, (n,)."""
        n_visible = visible.counts()
        of_part = _present(kl, visible).sum(1) / n_visible[:, None]
        paid = of_part.clamp(min=self.free_bits).sum(1) * n_visible
        n_values = (view.visible | view.hidden).sum((1, 2)) * self.sizes.n_features
        return self.beta * paid / n_values

    def _visible_error(self, patches: Tensor, view: MaskedView) -> Tensor:
        return self.visible_weight * mean_error(patches.float() - view.scale.target(view.content), view.visible)

    def _told(self, mean: Tensor, kl: Tensor, visible: Visible) -> dict[str, Tensor]:
        of_window = _present(kl.detach(), visible).sum((1, 2))
        mean = mean.detach()
        return {
            "kl": of_window.mean(),
            "kl_token": (of_window / visible.counts()).mean(),
            "latent_seen": self._by_place(torch.ones_like(mean[..., :1]), visible),
            "latent_mean": self._by_place(mean, visible),
            "latent_square": self._by_place(mean.square(), visible),
        }

    def _by_place(self, values: Tensor, visible: Visible) -> Tensor:
        """Return the mean over windows of what visible tokens say, 0 for hidden ones."""
        nothing = values.new_zeros(len(values), self.sizes.n_tokens, values.shape[-1])
        return visible.put(values, nothing).mean(0)

    def derive(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        """Return skill and chance, the error by its name here, and the active parts."""
        seen = means["latent_seen"].clamp(min=1e-12)
        variance = means["latent_square"] / seen - (means["latent_mean"] / seen).square()
        share = means["latent_seen"] / means["latent_seen"].sum()
        active = int(((variance * share).sum(0) > _ACTIVE).sum())
        return {**super().derive(means), "reconstruction": float(means["mse"]), "active_units": float(active)}

    @torch.no_grad()
    def sample(self, rng: BatchRandom) -> Tensor:
        """Draw windows from the prior.

        Parameters
        ----------
        rng : BatchRandom
            Its ``n`` says how many; the same seed gives the same windows.

        Returns
        -------
        Tensor, shape (n, n_chans, n_frames, n_features)
            Patches by channel, in the scale of the targets; of a model of signals
            ``flatten(2, 3)`` gives signals.
        """
        visible = Visible.of(self.masking.hidden(rng))
        latent = visible.take(rng.normal(self.sizes.n_chans, self.sizes.n_frames, self.latent_dim))
        patches: Tensor = self.decoder(latent.to(self.decoder.mask_token), visible)
        return by_channel(patches, self.sizes.patch_chans)


def _present(values: Tensor, visible: Visible) -> Tensor:
    """Return values (n, k, d) with 0 where a window is filled up."""
    return values if visible.mask is None else values.masked_fill(~visible.mask[..., None], 0.0)
