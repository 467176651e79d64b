"""Where tokens enter BIOT: its own front and layers, without hooks, absent channels masked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from biot_bd.models.attention.tokens import TokenSite


@dataclass(frozen=True)
class BIOTTokenSite(TokenSite):
    """The token site of :class:`biot_bd.models.BIOT`.

    Tokens of absent channels keep their mask.  Every token carries its own channel and frame, so
    dropping all tokens of a channel is exactly its absence.

    Parameters
    ----------
    path, drops, batch_first
        As for :class:`TokenSite`.

    See Also
    --------
    TokenSite : What it does.

    Examples
    --------
    >>> from biot_bd.models import BIOT
    >>> BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=2, n_times=400, n_outputs=2
    ... ).token_site()
    BIOTTokenSite(path='encoder.transformer', drops=True, batch_first=True)
    """

    path: str = "encoder.transformer"

    def read(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return the tokens of windows, shape (n, n_tokens, embed_dim); see
        :meth:`TokenSite.read`.
        """
        biot: Any = model
        tokens: Tensor = biot.encoder.tokens(biot.present_channels(x)[0])
        return tokens

    def run(self, model: nn.Module, x: Tensor, tokens: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return the logits of windows with other tokens; see :meth:`TokenSite.run`.

        Raises
        ------
        ValueError
            As there, and where a window keeps tokens of absent channels only.
        """
        biot: Any = model
        layout = self.layout(model, x.shape[-1])
        self._check(model, x, tokens, layout)
        present = biot.present_channels(x)[1]
        mask = biot.encoder.token_mask(present, tokens)
        tokens, mask, places = self._some(model, tokens, mask, kept, layout)
        if torch.is_grad_enabled():
            features = biot.encoder.encode(tokens, mask, places)
        else:
            features = biot.encoder.infer_tokens(tokens, mask, biot.inference_plan.micro_batch, places)
        logits: Tensor = biot.final_layer(features)
        return logits
