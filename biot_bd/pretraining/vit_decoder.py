"""The decoder of masked autoencoders: a small transformer that fills in what is hidden."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from biot_bd.models.token_stages import DecoderSizes, TokenSizes
from biot_bd.models.vit_layers import TokenPlaces, ViTLayer, init_linear
from biot_bd.pretraining.visible import Visible


class ViTDecoder(nn.Module):
    """Predict the patches of all tokens from some encoded ones (He et al., 2022).

    Encoded tokens are mapped to the decoder's width and put in their places, a learnt mask token
    goes elsewhere, and all get learnt positions and pass a few layers.

    Parameters
    ----------
    sizes : TokenSizes
        Of the model's tokens; ``sizes.decoder`` says what is not given below.
    embed_dim, num_layers, num_heads : int, optional
        None: those of ``sizes.decoder``, else half the model's width, two layers, heads of 32.
    in_features : int, optional
        Of the encoded tokens; None: the model's ``embed_dim``.

    See Also
    --------
    biot_bd.models.MaskedViT : An encoder whose presets say sizes.

    References
    ----------
    .. [1] He, K. et al. (2022). Masked Autoencoders Are Scalable Vision Learners. CVPR.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import TokenSizes
    >>> from biot_bd.pretraining.vit_decoder import ViTDecoder
    >>> from biot_bd.pretraining.visible import Visible
    >>> sizes = TokenSizes(n_chans=2, n_frames=4, n_features=100, embed_dim=64)
    >>> visible = Visible.of(torch.arange(8).view(1, 2, 4) >= 2)
    >>> ViTDecoder(sizes)(torch.zeros(1, 2, 64), visible).shape
    torch.Size([1, 2, 4, 100])
    """

    def __init__(
        self,
        sizes: TokenSizes,
        embed_dim: int | None = None,
        num_layers: int | None = None,
        num_heads: int | None = None,
        in_features: int | None = None,
    ) -> None:
        super().__init__()
        own = sizes.decoder or _rule(sizes)
        width = own.embed_dim if embed_dim is None else embed_dim
        depth = own.num_layers if num_layers is None else num_layers
        heads = own.num_heads if num_heads is None else num_heads
        self.sizes = sizes
        self.enter = nn.Linear(sizes.embed_dim if in_features is None else in_features, width)
        self.mask_token = nn.Parameter(nn.init.normal_(torch.empty(width), std=0.02))
        self.places = TokenPlaces(sizes.n_chans, sizes.n_frames, width)
        self.layers = nn.ModuleList(ViTLayer(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.predict = nn.Linear(width, sizes.n_features)
        self.apply(init_linear)

    def forward(self, encoded: Tensor, visible: Visible, present: Tensor | None = None) -> Tensor:
        """Return predicted patches, (n, n_chans, n_frames, n_features).

        Parameters
        ----------
        encoded : Tensor, shape (n, k, in_features)
        visible : Visible
            Where they lie.
        present : Tensor of bool, shape (n, n_chans), optional
            False for rows that get no attention; None: all are there.
        """
        n_frames, n_tokens = self.sizes.n_frames, self.sizes.n_tokens
        entered = self.enter(encoded)
        hidden = self.mask_token.to(entered.dtype).expand(len(encoded), n_tokens, -1)
        tokens = visible.put(entered, hidden) + self.places().flatten(0, 1)
        mask = None if present is None else present.repeat_interleave(n_frames, dim=1)
        for layer in self.layers:
            tokens = layer(tokens, mask)
        patches: Tensor = self.predict(self.norm(tokens))
        return patches.unflatten(1, (self.sizes.n_chans, n_frames))


def _rule(sizes: TokenSizes) -> DecoderSizes:
    """Return a decoder for a model that says nothing of one."""
    heads = max(1, sizes.embed_dim // 64)
    return DecoderSizes(32 * heads, 2, heads)
