"""The stages of a masked vision transformer: stretches of signal, their map, places, layers."""

from __future__ import annotations

from torch import Tensor

from biot_bd.models.fast_attention import token_mean
from biot_bd.models.token_stages import TokenSizes, TokenStages


class MaskedViTStages(TokenStages):
    """The stages of :class:`biot_bd.models.MaskedViT`.

    Parameters
    ----------
    model : MaskedViT

    See Also
    --------
    biot_bd.models.token_stages : Gives them.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import MaskedViT
    >>> model = MaskedViT(
    ...     n_chans=2, n_times=400, embed_dim=16, num_layers=1, num_heads=2
    ... ).eval()
    >>> stages, x = model.token_stages(), torch.arange(800.0).view(1, 2, 400)
    >>> stages.patches(x)[0, 1, 0, :3]
    tensor([400., 401., 402.])
    """

    kind = "signal"

    @property
    def sizes(self) -> TokenSizes:
        """Sizes of the tokens of a window."""
        model = self.model
        return TokenSizes(
            n_chans=model.n_token_rows,
            n_frames=model.n_times // model.patch_samples,
            n_features=model.patch_embedding.in_features,
            embed_dim=model.embed_dim,
            patch_chans=model.n_chans // model.n_token_rows,
            decoder=model.decoder_sizes,
        )

    def present(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return windows without marks of absent channels, and which rows are present."""
        found: tuple[Tensor, Tensor | None] = self.model.present_channels(x)
        return found

    def patches(self, x: Tensor) -> Tensor:
        """Return stretches of signal; of all channels one behind the other where tokens are."""
        patches = x.unflatten(2, (-1, self.model.patch_samples))
        return patches if self.model.channels == "each" else patches.transpose(1, 2).flatten(2)[:, None]

    def embed(self, patches: Tensor) -> Tensor:
        """Map patches linearly."""
        tokens: Tensor = self.model.patch_embedding(patches)
        return tokens

    def place(self, tokens: Tensor) -> Tensor:
        """Add the learnt positions, and drop features in training."""
        placed: Tensor = self.model.dropout(tokens + self.model.places())
        return placed

    def encode(self, tokens: Tensor, mask: Tensor | None = None, places: Tensor | None = None) -> Tensor:
        """Run the layers and the norm behind them; tokens know their places themselves."""
        for layer in self.model.layers:
            tokens = layer(tokens, mask)
        encoded: Tensor = self.model.norm(tokens)
        return encoded

    def pool(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the mean over tokens that are there."""
        return token_mean(tokens, mask)
