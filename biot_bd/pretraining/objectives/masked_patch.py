"""A masked autoencoder: encode visible patches alone, let a light decoder predict the others."""

from __future__ import annotations

from biot_bd.models.token_stages import TokenSizes, TokenStages
from biot_bd.pretraining.batch_random import BatchRandom
from biot_bd.pretraining.masked_objective import MaskedObjective, MaskedView, Prediction, encode_visible
from biot_bd.pretraining.masks import Geometry
from biot_bd.pretraining.target_scale import Standardise
from biot_bd.pretraining.vit_decoder import ViTDecoder


class MaskedPatch(MaskedObjective):
    """Reconstruct hidden patches from visible ones, which alone pass the encoder [1]_.

    Made for patches of samples (``"masked-vit"``); spectra work too.  The decoder is a small
    transformer that is thrown away behind pretraining.

    Parameters
    ----------
    sizes : TokenSizes
        Of the model's tokens.
    mask_geometry : {"token", "time", "channel", "block"}
        See :class:`biot_bd.pretraining.Masking`.  Single short patches (``"token"``) are easy for
        linear interpolation; blocks and channels are not.
    mask_ratio : float
        Share of tokens that is hidden.
    block_frames : int
        Length of a block in frames.
    guard_frames : int
        Frames from the nearest visible one that a token needs to be scored.
    standardise : {"channel", "token"} or None
        Scale of the targets; ``"token"`` normalises each patch by its own mean and deviation.
    decoder_embed_dim, decoder_num_layers, decoder_num_heads : int, optional
        Sizes of the decoder; None: those that go with the model.

    Raises
    ------
    ValueError
        Parameters that do not fit each other or the model's tokens.

    See Also
    --------
    biot_bd.pretraining.objectives.masked_spectrum.MaskedSpectrum : Encodes all tokens.

    References
    ----------
    .. [1] He, K. et al. (2022). Masked autoencoders are scalable vision learners. CVPR.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import BIOT
    >>> from biot_bd.pretraining import BatchRandom
    >>> from biot_bd.pretraining.objectives.masked_patch import MaskedPatch
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=2, n_times=1000, n_outputs=2
    ... )
    >>> stages = model.token_stages()
    >>> objective = MaskedPatch(stages.sizes, mask_ratio=0.75)
    >>> told = objective(stages, torch.randn(4, 2, 1000), BatchRandom(1, n=4))
    >>> float(told["masked_fraction"])  # 7 of 9 frames
    0.777...
    """

    def __init__(
        self,
        sizes: TokenSizes,
        mask_geometry: Geometry = "block",
        mask_ratio: float = 0.75,
        block_frames: int = 3,
        guard_frames: int = 0,
        standardise: Standardise | None = "channel",
        decoder_embed_dim: int | None = None,
        decoder_num_layers: int | None = None,
        decoder_num_heads: int | None = None,
    ) -> None:
        super().__init__(sizes, mask_geometry, mask_ratio, block_frames, guard_frames, standardise)
        self.decoder = ViTDecoder(sizes, decoder_embed_dim, decoder_num_layers, decoder_num_heads)

    def predict(self, tokens: TokenStages, view: MaskedView, rng: BatchRandom) -> Prediction:
        """Encode visible tokens, decode all places."""
        encoded, visible = encode_visible(tokens, view)
        return Prediction(self.decoder(encoded, visible, view.present))
