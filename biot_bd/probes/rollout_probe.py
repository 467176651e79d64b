"""Rollout as a probe: attention followed from the read-out to the tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from biot_bd.models.attention.layout import TokenLayout
from biot_bd.models.attention.record import record_attention
from biot_bd.probes.attention_rollout import Fusion, rollout
from biot_bd.probes.recorded import BatchValues, RecordingProbe, WindowBatch, maps_over_tokens


class RolloutProbe(RecordingProbe):
    """Attention flow: the layers' exact maps multiplied, the residual path included.

    It says where attention flows from, whatever the class: on planted signals it lights up on a
    distractor as much as on the evidence.  See :func:`biot_bd.probes.rollout` for the formula.

    Parameters
    ----------
    fusion : {"mean", "max", "min"}
        Of the heads of a layer.  The mean over linear attention needs no map at all.
    residual : float
        Share of the residual path, from 0 to below 1.
    readout : {"mean", "class"}, optional
        What the head reads; None: as the layout of the model's tokens says.
    batch_size : int
        Windows a forward pass.
    max_elements : int
        Most numbers recorded in one forward pass.

    See Also
    --------
    biot_bd.probes.rollout : The same of maps.
    GradAttentionProbe : Attention that matters for a class.

    References
    ----------
    .. [1] Abnar, S. & Zuidema, W. (2020). Quantifying Attention Flow in Transformers. ACL.

    Examples
    --------
    >>> import torch
    >>> from biot_bd import BIOT
    >>> from biot_bd.probes import RolloutProbe
    >>> model = BIOT(
    ...     n_outputs=2,
    ...     n_chans=2,
    ...     n_times=600,
    ...     sfreq=200,
    ...     embed_dim=16,
    ...     num_heads=2,
    ...     num_layers=2,
    ... ).eval()
    >>> found = RolloutProbe()(model, torch.randn(3, 2, 600))
    >>> found.values.shape, found.info["readout"], found.by_time().shape
    ((3, 2, 5), 'mean', (3, 5))
    """

    name = "rollout"
    title = "where the model looks (attention flow)"
    unit = "share of attention flow"

    def __init__(
        self,
        fusion: Fusion = "mean",
        residual: float = 0.5,
        readout: str | None = None,
        batch_size: int = 16,
        max_elements: int = 2**28,
    ) -> None:
        self.fusion = fusion
        self.residual = residual
        self.readout = readout
        self.batch_size = batch_size
        self.max_elements = max_elements

    def check_parameters(self) -> None:
        """Check the read-out."""
        check_readout(self.readout)

    def of_batch(self, model: nn.Module, batch: WindowBatch) -> BatchValues:
        """Return the share of attention flow that comes from each token."""
        with torch.no_grad(), record_attention(model, max_elements=self.max_elements) as trace:
            model(batch.x)
        maps = maps_over_tokens(trace, batch.layout)
        values = rollout(maps, self.fusion, self.residual, self.readout or batch.layout.readout)
        return BatchValues(values, maps.layers, maps.errors)

    def facts(self, layout: TokenLayout) -> dict[str, Any]:
        """Return how layers and heads were joined."""
        return {
            "kind": "exact",
            "fusion": self.fusion,
            "residual": self.residual,
            "readout": self.readout or layout.readout,
        }


def check_readout(readout: str | None) -> None:
    """Raise where a read-out is none that a probe has.

    Raises
    ------
    ValueError
        It is another one.
    """
    if readout not in (None, "mean", "class"):
        raise ValueError(f"readout must be 'mean', 'class' or None (as the model has it), got {readout!r}")
