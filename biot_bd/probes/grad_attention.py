"""Gradient times attention, followed through the layers: where the model looks for its decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biot_bd.models.attention.attention_maps import AttentionMaps
from biot_bd.models.attention.layout import TokenLayout
from biot_bd.models.attention.record import record_attention
from biot_bd.models.attention.row_products import rows_times_matrix
from biot_bd.probes.attention_rollout import readout_shares
from biot_bd.probes.branches import branches
from biot_bd.probes.explained_output import UNITS, Output, check_output, explained_output
from biot_bd.probes.question import logits_of
from biot_bd.probes.recorded import BatchValues, RecordingProbe, WindowBatch, maps_over_tokens
from biot_bd.probes.rollout_probe import check_readout


class GradAttentionProbe(RecordingProbe):
    r"""Relevance by gradient times exact attention, of the method of Chefer et al.

    As in [1]_, with :math:`A_l` the map of layer :math:`l` and :math:`z` the logit margin of
    the target, let :math:`C_l` be the mean over heads of :math:`\max(\partial z / \partial
    A_l \odot A_l, 0)`.  From :math:`R = I`, each layer in its order takes :math:`R` to
    :math:`R + C_l R`.  The relevance of the tokens is :math:`r^T (R - I)`, where :math:`r` is
    what the head reads: :math:`1/N` for the mean over tokens, or the class token.  The
    identity is left out, as it gives every token the same.

    Only what speaks for the target counts, so values are 0 or above, and of a model that decides by
    what speaks against it they show rests: ``signed=True`` subtracts the relevance of :math:`-z`
    (with two classes, that for the other class).  Where a layer has modules side by side, each for
    its part of the features (CBraMod), they are taken as heads of one layer.

    Parameters
    ----------
    output : {"margin", "logit"}
        What :math:`z` is: with two classes, a single logit is ambiguous, as both may move together.
    signed : bool
        Whether what speaks against the target is subtracted.  False: as published.
    readout : {"mean", "class"}, optional
        What the head reads; None: as the layout of the model's tokens says.
    batch_size : int
        Windows a forward and backward pass; all their maps are kept, and a gradient for each.
    max_elements : int
        Most numbers in the maps of one pass.

    See Also
    --------
    RolloutProbe : Follows attention without asking what for.

    References
    ----------
    .. [1] Chefer, H., Gur, S. & Wolf, L. (2021). Generic Attention-model Explainability for
       Interpreting Bi-Modal and Encoder-Decoder Transformers. ICCV.

    Examples
    --------
    >>> import torch
    >>> from biot_bd import BIOT
    >>> from biot_bd.probes import GradAttentionProbe
    >>> model = BIOT(
    ...     n_outputs=2,
    ...     n_chans=2,
    ...     n_times=600,
    ...     sfreq=200,
    ...     embed_dim=16,
    ...     num_heads=2,
    ...     num_layers=2,
    ... ).eval()
    >>> found = GradAttentionProbe()(model, torch.randn(3, 2, 600), target=1)
    >>> found.values.shape, found.target, bool((found.values >= 0).all())
    ((3, 2, 5), (1, 1, 1), True)
    """

    name = "grad-attention"
    title = "where the model looks for its decision (gradient x attention)"
    unit = "relevance"
    needs = frozenset({"attention", "gradients"})

    def __init__(
        self,
        output: Output = "margin",
        signed: bool = False,
        readout: str | None = None,
        batch_size: int = 8,
        max_elements: int = 2**28,
    ) -> None:
        self.output = output
        self.signed = signed
        self.readout = readout
        self.batch_size = batch_size
        self.max_elements = max_elements

    def check_parameters(self) -> None:
        """Check the output and the read-out."""
        check_output(self.output)
        check_readout(self.readout)

    def of_batch(self, model: nn.Module, batch: WindowBatch) -> BatchValues:
        """Return the relevance of each token for the target."""
        with record_attention(model, grad=True, max_elements=self.max_elements) as trace:
            scores = logits_of(model, batch.x)
        chosen = self.targets(scores, batch.target)
        maps = maps_over_tokens(trace, batch.layout)
        gradients = torch.autograd.grad(
            explained_output(scores, chosen, self.output).sum(),
            [record.weights for record in maps.records],
            allow_unused=True,  # a map that the output does not depend on
        )
        readout = self.readout or batch.layout.readout
        relevance = _followed(maps, gradients, readout)
        if self.signed:
            relevance -= _followed(maps, [None if one is None else -one for one in gradients], readout)
        return BatchValues(relevance.cpu().numpy(), maps.layers, maps.errors, tuple(chosen.tolist()))

    def facts(self, layout: TokenLayout) -> dict[str, Any]:
        """Return what was explained."""
        return {"kind": "exact", "of": UNITS[self.output], "readout": self.readout or layout.readout}


@torch.no_grad()
def _followed(maps: AttentionMaps, gradients: Sequence[Tensor | None], readout: str) -> Tensor:
    """Return ``r @ (R - I)``, from the left: a vector times a matrix for each layer, the latest
    first.
    """
    read = readout_shares(maps, readout)
    relevance = torch.zeros_like(read)
    for layer in reversed(branches(maps)):
        heads = [maps.records[number].shape[1] for number in layer]
        gained = torch.zeros_like(read)
        for number, own in zip(layer, heads, strict=True):
            gradient = gradients[number]
            if gradient is None:
                continue
            record = maps.records[number]
            share = (gradient * record.weights).clamp_min_(0).mean(dim=1)
            gained += rows_times_matrix(read + relevance, share.double(), record) * (own / np.sum(heads))
        relevance = relevance + gained
    return relevance
