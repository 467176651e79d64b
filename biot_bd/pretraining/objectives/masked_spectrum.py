"""Predict the spectra of hidden tokens in the model's own stream of tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from biot_bd.models.token_stages import TokenSizes, TokenStages
from biot_bd.pretraining.batch_random import BatchRandom
from biot_bd.pretraining.masked_objective import MaskedObjective, MaskedView, Prediction
from biot_bd.pretraining.masks import Geometry
from biot_bd.pretraining.present_tokens import encode_present
from biot_bd.pretraining.target_scale import Standardise


class MaskedSpectrum(MaskedObjective):
    """Reconstruct the log spectra of hidden tokens (BIOT, MultiScaleBIOT).

    Hidden tokens give their place to one learnt token before channel and time are added; the whole
    sequence goes through the layers, and a small decoder reads the spectra off what comes out.

    Parameters
    ----------
    sizes : TokenSizes
        Of the model's tokens.
    mask_geometry : {"token", "time", "channel", "block"}
        See :class:`biot_bd.pretraining.Masking`.
    mask_ratio : float
        Share of tokens that is hidden.
    block_frames : int
        Length of a block in frames; BIOT's frame is 1 s, one begins every 0.5 s.
    guard_frames : int
        Frames from the nearest visible one that a token needs to be scored; 1 where frames overlap
        by half and what overlaps shall not count.
    standardise : {"channel", "token"} or None
        Scale of the targets, see :class:`biot_bd.pretraining.MaskedObjective`.

    Raises
    ------
    ValueError
        Parameters that do not fit each other or the model's tokens.

    See Also
    --------
    biot_bd.pretraining.objectives.masked_patch.MaskedPatch : Encodes visible tokens alone.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import BIOT
    >>> from biot_bd.pretraining import BatchRandom
    >>> from biot_bd.pretraining.objectives.masked_spectrum import MaskedSpectrum
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=2, n_times=1000, n_outputs=2
    ... )
    >>> stages = model.token_stages()
    >>> objective = MaskedSpectrum(stages.sizes, mask_ratio=0.3)
    >>> told = objective(stages, torch.randn(4, 2, 1000), BatchRandom(1, n=4))
    >>> float(told["masked_fraction"])  # 3 of 9 frames
    0.333...
    """

    kinds = frozenset({"spectrum"})

    def __init__(
        self,
        sizes: TokenSizes,
        mask_geometry: Geometry = "block",
        mask_ratio: float = 0.5,
        block_frames: int = 3,
        guard_frames: int = 0,
        standardise: Standardise | None = "channel",
    ) -> None:
        super().__init__(sizes, mask_geometry, mask_ratio, block_frames, guard_frames, standardise)
        dim = sizes.embed_dim
        self.mask_token = nn.Parameter(torch.randn(dim) * 0.02)
        self.decoder = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, sizes.n_features)
        )

    def predict(self, tokens: TokenStages, view: MaskedView, rng: BatchRandom) -> Prediction:
        """Put the mask token in place of hidden ones, encode all, decode."""
        embedded = tokens.embed(view.patches)
        seen = torch.where(view.hidden[..., None], self.mask_token.to(embedded.dtype), embedded)
        encoded = encode_present(tokens, tokens.place(seen).flatten(1, 2), tokens.token_mask(view.present))
        decoded: Tensor = self.decoder(encoded)
        return Prediction(decoded.view(view.patches.shape))
