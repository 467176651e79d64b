"""The stages of BIOT: spectra of frames, their projection, their places, its layers."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biot_bd.models import fast_attention
from biot_bd.models.token_stages import TokenSizes, TokenStages


class BIOTStages(TokenStages):
    """The stages of :class:`biot_bd.models.BIOT`.

    A class token, where the model has one, is no token of the grid: :meth:`encode` puts it in
    front, and :meth:`pool` and :meth:`read_out` read it.  ``token_drop_prob`` works in training as
    in the model itself.

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
    >>> tokens = stages.tokens(x)
    >>> torch.allclose(stages.read_out(tokens), stages.embeddings(x), atol=1e-5)
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
            n_features=encoder.n_features,
            embed_dim=encoder.channel_tokens.embedding_dim,
        )

    @property
    def n_special(self) -> int:
        """1 with a class token, else 0."""
        return 0 if self.model.encoder.class_token is None else 1

    @property
    def feature_hz(self) -> NDArray[np.float64]:
        """Frequencies of the bins of a frame's spectrum, or of its spectra side by side."""
        hz: NDArray[np.float64] = self.model.encoder.feature_hz(self.model.sfreq)
        return hz

    def present(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return windows without marks of absent channels, and which channels are present."""
        interpolate = getattr(self.model, "interpolation_layer", None)
        found: tuple[Tensor, Tensor | None] = self.model.present_channels(x if interpolate is None else interpolate(x))
        return found

    def patches(self, x: Tensor) -> Tensor:
        """Return the magnitude spectrum of every frame."""
        encoder = self.model.encoder
        spectrum: Tensor = encoder.spectrum(x).to(encoder.positional_encoding.pe.dtype)
        return spectrum

    def embed(self, patches: Tensor) -> Tensor:
        """Map spectra to tokens without their places."""
        tokens: Tensor = self.model.encoder.patch_embedding.projection(patches)
        return tokens

    def place(self, tokens: Tensor) -> Tensor:
        """Add channel token and position, and drop features in training."""
        encoder = self.model.encoder
        places = encoder.channel_tokens(encoder.index)[:, None]
        placed = tokens + (places + encoder.positional_encoding.pe[0, : tokens.shape[2]])
        dropout = encoder.positional_encoding.dropout
        return fast_attention.dropout(placed, dropout.p, dropout.training)

    def encode(self, tokens: Tensor, mask: Tensor | None = None, places: Tensor | None = None) -> Tensor:
        """Run the layers on placed tokens; a class token comes first in what they give."""
        encoded: Tensor = self.model.encoder.encode_tokens(*self._entering(tokens, mask, places))
        return encoded

    def pool(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the class token, or the mean over tokens that are there."""
        return tokens[:, 0] if self.n_special else fast_attention.token_mean(tokens, mask)

    def read_out(self, tokens: Tensor, mask: Tensor | None = None, places: Tensor | None = None) -> Tensor:
        """Return the embedding of placed tokens, without the last map of each of them."""
        embedding: Tensor = self.model.encoder.encode(*self._entering(tokens, mask, places))
        return embedding

    def _entering(
        self, tokens: Tensor, mask: Tensor | None, places: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return tokens as they enter the encoder, which of them get attention, their numbers."""
        encoder = self.model.encoder
        tokens = encoder.with_class(tokens)
        if self.n_special:
            first = slice(0, self.n_special)
            mask = None if mask is None else torch.cat([torch.ones_like(mask[:, first]), mask], dim=1)
            places = None if places is None else torch.cat([torch.zeros_like(places[..., first]), places + 1], dim=-1)
        return tokens, encoder.drop_tokens(tokens, mask), places
