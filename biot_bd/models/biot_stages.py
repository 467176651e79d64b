"""The stages of BIOT: spectra of frames, their projection, their places, its layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from biot_bd.models import fast_attention
from biot_bd.models.token_stages import TokenSizes, TokenStages


class BIOTStages(TokenStages):
    """The stages of :class:`biot_bd.models.BIOT`.

    Parameters
    ----------
    model : BIOT

    See Also
    --------
    biot_bd.models.token_stages : Gives them.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import BIOT
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=2, n_times=400, n_outputs=2
    ... ).eval()
    >>> stages, x = model.token_stages(), torch.ones(1, 2, 400)
    >>> tokens = stages.place(stages.embed(stages.patches(x))).flatten(1, 2)
    >>> torch.allclose(stages.pool(stages.encode(tokens)), stages.embeddings(x), atol=1e-5)
    True
    """

    kind = "spectrum"

    @property
    def sizes(self) -> TokenSizes:
        """Sizes of the tokens of a window."""
        encoder, model = self.model.encoder, self.model
        return TokenSizes(
            n_chans=len(model.channel_ids),
            n_frames=encoder.n_frames(model.n_times),
            n_features=encoder.n_fft // 2 + 1,
            embed_dim=encoder.channel_tokens.embedding_dim,
        )

    @property
    def feature_hz(self) -> NDArray[np.float64]:
        """Frequencies of the bins of a frame's spectrum."""
        hz: NDArray[np.float64] = np.fft.rfftfreq(self.model.encoder.n_fft, 1 / self.model.sfreq)
        return hz

    def present(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return windows without marks of absent channels, and which channels are present."""
        found: tuple[Tensor, Tensor | None] = self.model.present_channels(x)
        return found

    def patches(self, x: Tensor) -> Tensor:
        """Return the magnitude spectrum of every frame."""
        spectrum: Tensor = self.model.encoder.spectrum(x)
        return spectrum

    def embed(self, patches: Tensor) -> Tensor:
        """Map spectra to tokens without their places."""
        tokens: Tensor = self.model.encoder.patch_embedding.projection(patches)
        return tokens

    def place(self, tokens: Tensor) -> Tensor:
        """Add channel token and position, and drop features in training."""
        encoder = self.model.encoder
        places = encoder.channel_tokens.weight[encoder.index][:, None]
        placed = tokens + (places + encoder.positional_encoding.pe[0, : tokens.shape[2]])
        dropout = encoder.positional_encoding.dropout
        return fast_attention.dropout(placed, dropout.p, dropout.training)

    def encode(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Run the layers on placed tokens."""
        transformer = self.model.encoder.transformer
        encoded: Tensor = transformer(tokens) if mask is None else transformer(tokens, input_mask=mask)
        return encoded

    def pool(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the mean over tokens that are there."""
        return fast_attention.token_mean(tokens, mask)

    def embeddings(self, x: Tensor) -> Tensor:
        """Return what the head of BIOT is given."""
        x, present = self.present(x)
        features: Tensor = self.model.encoder(x, present)
        return features
