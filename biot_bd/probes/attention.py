"""Attention as a probe: what each token receives, by the layers' own maps, and by the often-drawn
softmax(QK^T) under its own name.

An attention map says where a layer looks, not what the decision rests on: on planted evidence it
lights up on a distractor as well.  Compare with an attribution before believing it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from biot_bd.models.attention.attention_record import Kind
from biot_bd.models.attention.layout import TokenLayout
from biot_bd.models.attention.record import record_attention
from biot_bd.models.attention.row_products import rows_times_map
from biot_bd.models.attention.trace import AttentionTrace as AttentionTrace
from biot_bd.probes.attention_rollout import present_tokens
from biot_bd.probes.recorded import BatchValues, RecordingProbe, WindowBatch, maps_over_tokens


class AttentionProbe(RecordingProbe):
    """Attention that each token receives, mean over heads, queries and layers, by exact maps.

    For BIOT the map is that of its linear attention, and the layer's output is rebuilt from it (see
    :func:`biot_bd.record_attention`, which also gives the maps themselves).

    Parameters
    ----------
    layers : int, str or sequence of them, optional
        Layers to take the mean of: numbers (negative from the end), module paths, ``"early"``,
        ``"middle"`` or ``"late"``.  None: all.
    batch_size : int
        Windows a forward pass.
    max_elements : int
        Most numbers recorded in one forward pass.

    See Also
    --------
    QKAttentionProbe : What is often drawn instead.
    RolloutProbe : Attention followed through all layers.

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
    >>> found = AttentionProbe(layers="late")(model, torch.randn(1, 2, 600))
    >>> found.values.shape, bool(abs(found.values.sum() - 1) < 1e-4)
    ((1, 2, 5), True)
    """

    name = "attention"
    title: ClassVar[str] = "where the model looks (attention received)"
    unit = "share of attention"
    _kind: ClassVar[Kind] = "exact"

    def __init__(
        self,
        layers: int | str | Sequence[int | str] | None = None,
        batch_size: int = 16,
        max_elements: int = 2**28,
    ) -> None:
        self.layers = layers
        self.batch_size = batch_size
        self.max_elements = max_elements

    def of_batch(self, model: nn.Module, batch: WindowBatch) -> BatchValues:
        """Return the share of attention that each token receives."""
        with (
            torch.no_grad(),
            record_attention(model, layers=batch.layers, kind=self._kind, max_elements=self.max_elements) as trace,
        ):
            model(batch.x)
            maps = maps_over_tokens(trace, batch.layout)
            present = present_tokens(maps).double()
            everyone = present / present.sum(dim=1, keepdim=True)
            received = torch.stack([rows_times_map(everyone, record) for record in maps.records]).mean(dim=0)
        return BatchValues(received.cpu().numpy(), maps.layers, maps.errors)

    def facts(self, layout: TokenLayout) -> dict[str, Any]:
        """Return the kind of the maps."""
        return {"kind": self._kind, "over": "mean over heads, queries and layers"}


class QKAttentionProbe(AttentionProbe):
    """The often-drawn ``softmax(Q K^T / sqrt(d))`` of linear attention layers.

    This is not what BIOT computes: its correlation with the exact map is 0.3 to 0.5.  It is here
    for comparison with published pictures.

    Parameters
    ----------
    layers : int, str or sequence of them, optional
        Layers to take the mean of: numbers (negative from the end), module paths, ``"early"``,
        ``"middle"`` or ``"late"``.  None: all.
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
    >>> from biot_bd.probes import QKAttentionProbe
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

    name = "attention-qk"
    title = "similarity of queries and keys (not what the model computes)"
    needs = frozenset({"linear-attention"})
    _kind = "qk"
