"""Where tokens enter a model with stages: read them there, and run others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from biot_bd.models.attention.tokens import TokenSite
from biot_bd.models.token_stages import token_stages


@dataclass(frozen=True)
class StagesTokenSite(TokenSite):
    """The token site of a model whose logits are ``final_layer`` of its pooled tokens.

    Parameters
    ----------
    path, drops, batch_first
        As for :class:`TokenSite`.

    See Also
    --------
    biot_bd.models.token_stages : What it goes through.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import MaskedViT
    >>> model = MaskedViT(
    ...     n_chans=2, n_times=400, embed_dim=16, num_layers=1, num_heads=2
    ... ).eval()
    >>> site, x = model.token_site(), torch.ones(1, 2, 400)
    >>> torch.allclose(site.run(model, x, site.read(model, x)), model(x), atol=1e-6)
    True
    """

    def read(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return the tokens of windows, (n, n_tokens, embed_dim); see :meth:`TokenSite.read`."""
        stages = token_stages(model)
        x, _ = stages.present(x)
        return stages.tokens(x)

    def run(self, model: nn.Module, x: Tensor, tokens: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return the logits of windows with other tokens; see :meth:`TokenSite.run`.

        Raises
        ------
        ValueError
            As there, and where a window keeps tokens of absent channels only.
        """
        stages, layout = token_stages(model), self.layout(model, x.shape[-1])
        self._check(model, x, tokens, layout)
        mask = stages.token_mask(stages.present(x)[1])
        tokens, mask, places = self._some(model, tokens, mask, kept, layout)
        head: Any = model.final_layer
        logits: Tensor = head(stages.read_out(tokens, mask, places))
        return logits
