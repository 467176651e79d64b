"""Attention as a probe: the layers' own maps, and the often-drawn softmax(QK^T) under its own name.

An attention map says where a layer looks, not what the decision rests on: on planted evidence it
lights up on a distractor as well.  Compare with an attribution before believing it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from biot_bd.models.attention._recorder import AttentionRecord
from biot_bd.models.attention.maps import attention_received, channel_attention, early_middle_late
from biot_bd.models.attention.record import AttentionTrace, Kind, attention_layers, record_attention
from biot_bd.probes.base import Explanation, Probe


class AttentionProbe(Probe):
    """Exact attention maps of a model's layers.

    For BIOT the map is that of its linear attention, and the layer's output is rebuilt from it
    before anything is shown (see :func:`biot_bd.record_attention`).

    Parameters
    ----------
    layers : {"early-middle-late", "all"} or sequence of int or str
        Layers to show: by choice, number (negative from the end) or module path.
    heads : {"mean", "all"}
        The mean over heads, or all of them as an axis.
    batch_size : int
        Windows a forward pass.
    max_elements : int
        Most numbers recorded in one forward pass.

    See Also
    --------
    QKAttentionProbe : What is often drawn instead.
    by_channel, received : The maps by channel, and by channel and time.

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
    >>> explanation = AttentionProbe(layers="all")(model, torch.randn(1, 2, 600))
    >>> explanation.dims
    ('window', 'layer', 'query', 'key')
    >>> bool(abs(explanation.values.sum(axis=-1) - 1).max() < 1e-4)
    True
    """

    _kind: Kind = "exact"

    def __init__(
        self,
        layers: Literal["early-middle-late", "all"] | Sequence[int | str] = "early-middle-late",
        heads: Literal["mean", "all"] = "mean",
        batch_size: int = 16,
        max_elements: int = 2**28,
    ) -> None:
        self.layers = layers
        self.heads = heads
        self.batch_size = batch_size
        self.max_elements = max_elements

    def __call__(self, model: nn.Module, x: Tensor, target: int | Sequence[int] | Tensor | None = None) -> Explanation:
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
        Explanation
            ``values`` of float32 with dims ``(window, layer, query, key)``, or with ``head`` behind
            ``layer``.  Rows sum to 1; rows and columns of absent tokens are NaN.  ``info`` holds
            the probe, the layers' roles (``early``, ``middle``, ``late``), the largest
            reconstruction error and, for BIOT, the layout of tokens (``n_chans``, ``n_frames``,
            ``frame_start_s``, ``frame_stop_s``).

        Raises
        ------
        ValueError
            The input or a parameter is wrong, the model has no attention that can be recorded, or
            its layers do not give one map of equal size a window.
        """
        self.check_input(model, x)
        if self.heads not in ("mean", "all"):
            raise ValueError(f"heads must be 'mean' or 'all', got {self.heads!r}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {self.batch_size}")
        x = x.to(next(model.parameters(), x).device)
        layers, roles = self._choose(model, x[:1])
        parts, errors = [], []
        for batch in x.split(int(self.batch_size)):
            trace = self._record(model, batch, layers)
            errors += [record.error for record in trace if record.error is not None]
            parts.append(np.stack([self._map_of(trace, layer, len(batch)) for layer in layers], axis=1))
        dims = (
            ("window", "layer", "query", "key") if self.heads == "mean" else ("window", "layer", "head", "query", "key")
        )
        info = {
            "probe": type(self).__name__,
            "kind": self._kind,
            "roles": roles,
            "reconstruction_error": max(errors, default=None),
            **_layout(model),
        }
        return Explanation(np.concatenate(parts), dims, tuple(layers), info)

    def _choose(self, model: nn.Module, x: Tensor) -> tuple[list[str], dict[str, str]]:
        """Return the names of the layers, and the roles that the automatic choice gave them."""
        known = attention_layers(model, x)
        if not known:
            raise ValueError(f"{type(model).__name__} has no attention that can be recorded")
        if isinstance(self.layers, str):
            if self.layers == "all":
                return list(known), {}
            if self.layers == "early-middle-late":
                roles = {role: known[number] for role, number in early_middle_late(len(known)).items()}
                return list(roles.values()), roles
            raise ValueError(f"layers must be 'early-middle-late', 'all' or a sequence, got {self.layers!r}")
        chosen = [self._layer(layer, known) for layer in self.layers]
        if not chosen or len(set(chosen)) != len(chosen):
            raise ValueError(f"layers must name at least one layer, each once; got {list(self.layers)}")
        return chosen, {}

    @staticmethod
    def _layer(layer: int | str, known: tuple[str, ...]) -> str:
        if isinstance(layer, str) and layer in known:
            return layer
        if not isinstance(layer, str) and -len(known) <= layer < len(known):
            return known[layer]
        raise ValueError(f"no attention layer {layer!r}; there are {len(known)}: {', '.join(known)}")

    def _record(self, model: nn.Module, batch: Tensor, layers: list[str]) -> AttentionTrace:
        mean = (lambda weights: weights.mean(dim=1)) if self.heads == "mean" else None
        with (
            torch.no_grad(),
            record_attention(
                model, layers=layers, kind=self._kind, reduce=mean, max_elements=self.max_elements
            ) as trace,
        ):
            model(batch)
        return trace

    def _map_of(self, trace: AttentionTrace, layer: str, n: int) -> np.ndarray:
        records = trace.of(layer)
        shapes = {tuple(record.weights.shape) for record in trace}
        if len(records) != 1 or len(records[0].weights) != n or len(shapes) != 1:
            raise ValueError(
                f"layer {layer} gave {len(records)} maps of shapes {sorted(shapes)} for {n} windows: this model has no "
                "single map a window (time folded into the batch?); use record_attention, or other layers="
            )
        return _without_absent(records[0])


class QKAttentionProbe(AttentionProbe):
    """The often-drawn ``softmax(Q K^T / sqrt(d))`` of linear attention layers.

    This is not what BIOT computes: its correlation with the exact map is 0.3 to 0.5.  It is here
    for comparison with published pictures.

    Parameters
    ----------
    layers : {"early-middle-late", "all"} or sequence of int or str
        Layers to show: by choice, number (negative from the end) or module path.
    heads : {"mean", "all"}
        The mean over heads, or all of them as an axis.
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

    _kind: Kind = "qk"


def by_channel(explanation: Explanation) -> np.ndarray:
    """Reduce maps over BIOT's tokens to channel x channel
    (:func:`biot_bd.models.attention.maps.channel_attention`).

    Parameters
    ----------
    explanation : Explanation
        Of an attention probe on BIOT.

    Returns
    -------
    ndarray, shape (window, layer, [head,] n_chans, n_chans)
        Rows sum to 1.

    Raises
    ------
    ValueError
        The explanation is not over tokens of known layout.

    See Also
    --------
    received : By channel and time.

    Examples
    --------
    >>> import numpy as np
    >>> uniform = np.full((1, 1, 6, 6), 1 / 6)
    >>> layout = {"n_chans": 2, "n_frames": 3}
    >>> by_channel(
    ...     Explanation(uniform, ("window", "layer", "query", "key"), ("only",), layout)
    ... )[0, 0]
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    return channel_attention(explanation.values, *_tokens(explanation))


def received(explanation: Explanation) -> Explanation:
    """Attention received by channel and frame, uniform attention being 1
    (:func:`attention_received`).

    Parameters
    ----------
    explanation : Explanation
        Of an attention probe on BIOT.

    Returns
    -------
    Explanation
        With ``(channel, frame)`` in place of ``(query, key)``.

    Raises
    ------
    ValueError
        The explanation is not over tokens of known layout.

    See Also
    --------
    by_channel : Channel to channel.

    Examples
    --------
    >>> import numpy as np
    >>> uniform = np.full((1, 1, 6, 6), 1 / 6)
    >>> layout = {"n_chans": 2, "n_frames": 3}
    >>> found = received(
    ...     Explanation(uniform, ("window", "layer", "query", "key"), ("only",), layout)
    ... )
    >>> found.dims, float(found.values.mean().round(6))
    (('window', 'layer', 'channel', 'frame'), 1.0)
    """
    values = attention_received(explanation.values, *_tokens(explanation))
    return Explanation(values, (*explanation.dims[:-2], "channel", "frame"), explanation.layers, explanation.info)


def _tokens(explanation: Explanation) -> tuple[int, int]:
    if explanation.dims[-2:] != ("query", "key") or "n_frames" not in explanation.info:
        raise ValueError(
            f"needs maps (..., query, key) over tokens of known layout, as of BIOT; got dims {explanation.dims}"
        )
    return explanation.info["n_chans"], explanation.info["n_frames"]


def _without_absent(record: AttentionRecord) -> np.ndarray:
    """Return the maps as float32 with NaN in the rows and columns of absent tokens."""
    weights = record.weights.float()
    if record.key_mask is not None:
        present = record.key_mask[:, :, None] & record.key_mask[:, None, :]
        present = present.reshape(len(weights), *[1] * (weights.ndim - 3), *present.shape[1:])
        weights = weights.masked_fill(~present, torch.nan)
    return weights.cpu().numpy()


def _layout(model: Any) -> dict[str, Any]:
    if not hasattr(model, "token_layout"):
        return {}
    layout = model.token_layout()
    first = slice(layout.n_frames)
    return {
        "n_chans": layout.n_chans,
        "n_frames": layout.n_frames,
        "frame_start_s": layout.start_s[first].tolist(),
        "frame_stop_s": layout.stop_s[first].tolist(),
    }
