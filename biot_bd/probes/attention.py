"""Attention as a probe: what each token receives, by the layers' own maps, and by the often-drawn
softmax(QK^T) under its own name.

An attention map says where a layer looks, not what the decision rests on: on planted evidence it
lights up on a distractor as well.  Compare with an attribution before believing it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from biot_bd.models.attention.attention_maps import AttentionMaps
from biot_bd.models.attention.attention_record import Kind
from biot_bd.models.attention.record import record_attention
from biot_bd.models.attention.token_map import TokenMap
from biot_bd.models.attention.trace import AttentionTrace as AttentionTrace
from biot_bd.probes.base import Probe


class AttentionProbe(Probe):
    """Attention that each token receives, mean over heads, queries and layers, by exact maps.

    For BIOT the map is that of its linear attention, and the layer's output is rebuilt from it (see
    :func:`biot_bd.record_attention`, which also gives the maps themselves).

    Parameters
    ----------
    layers : sequence of int or str, optional
        Layers to take the mean of: numbers (negative from the end) or module paths.  None: all.
    batch_size : int
        Windows a forward pass.
    max_elements : int
        Most numbers recorded in one forward pass.

    See Also
    --------
    QKAttentionProbe : What is often drawn instead.

    Examples
    --------
    >>> import torch
    >>> from biot_bd import BIOT, AttentionProbe
    >>> model = BIOT(
    ...     n_outputs=2,
    ...     n_chans=2,
    ...     n_times=600,
    ...     sfreq=200,
    ...     embed_dim=16,
    ...     num_heads=2,
    ...     num_layers=3,
    ... ).eval()
    >>> found = AttentionProbe()(model, torch.randn(1, 2, 600))
    >>> found.values.shape, bool(abs(found.values.sum() - 1) < 1e-4)
    ((1, 2, 5), True)
    """

    _name = "attention"
    _kind: Kind = "exact"

    def __init__(
        self, layers: Sequence[int | str] | None = None, batch_size: int = 16, max_elements: int = 2**28
    ) -> None:
        self.layers = layers
        self.batch_size = batch_size
        self.max_elements = max_elements

    def __call__(self, model: nn.Module, x: Tensor, target: int | Sequence[int] | Tensor | None = None) -> TokenMap:
        """Record the maps of all windows.

        Parameters
        ----------
        model : torch.nn.Module
            In eval mode.
        x : Tensor of float, shape (n, n_chans, n_times)
            Windows; absent channels NaN.
        target : int, sequence of int or Tensor, optional
            Not used: attention is the same whatever class one asks about.

        Returns
        -------
        TokenMap
            Shares that sum to 1 over the tokens of a window.

        Raises
        ------
        ValueError
            The input or a parameter is wrong, the model has no attention that can be recorded, or
            the layout of its tokens is not known.
        """
        self.check_input(model, x)
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {self.batch_size}")
        x = x.to(next(model.parameters(), x).device)
        layout = self.layout_of_tokens(model, x)
        parts: list[np.ndarray] = []
        errors: list[float] = []
        layers: tuple[str, ...] = ()
        for batch in x.split(int(self.batch_size)):
            maps = self._record(model, batch)
            layers = maps.layers
            errors += [record.error for record in maps.records if record.error is not None]
            parts.append(np.mean([maps.received(number) for number in range(len(maps))], axis=0))
        info = {"kind": self._kind, "layers": layers, "reconstruction_error": max(errors, default=None)}
        return TokenMap(np.concatenate(parts), layout, probe=self._name, unit="share of attention", info=info)

    def _record(self, model: nn.Module, batch: Tensor) -> AttentionMaps:
        with (
            torch.no_grad(),
            record_attention(model, layers=self.layers, kind=self._kind, max_elements=self.max_elements) as trace,
        ):
            model(batch)
        return trace.maps


class QKAttentionProbe(AttentionProbe):
    """The often-drawn ``softmax(Q K^T / sqrt(d))`` of linear attention layers.

    This is not what BIOT computes: its correlation with the exact map is 0.3 to 0.5.  It is here
    for comparison with published pictures.

    Parameters
    ----------
    layers : sequence of int or str, optional
        Layers to take the mean of: numbers (negative from the end) or module paths.  None: all.
    batch_size : int
        Windows a forward pass.
    max_elements : int
        Most numbers recorded in one forward pass.

    See Also
    --------
    AttentionProbe : What the layers compute.

    Examples
    --------
    >>> import torch
    >>> from biot_bd import BIOT
    >>> model = BIOT(
    ...     n_outputs=2,
    ...     n_chans=2,
    ...     n_times=600,
    ...     sfreq=200,
    ...     embed_dim=16,
    ...     num_heads=2,
    ...     num_layers=3,
    ... ).eval()
    >>> QKAttentionProbe()(model, torch.randn(1, 2, 600)).info["kind"]
    'qk'
    """

    _name = "attention-qk"
    _kind: Kind = "qk"
