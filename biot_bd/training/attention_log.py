"""What TensorBoard shows of attention: the same windows in every epoch, and in every run of the
same data.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Subset

from biot_bd.models.attention.attention_maps import AttentionMaps
from biot_bd.models.attention.map_statistics import effective_rank, entropy
from biot_bd.models.attention.maps import early_middle_late
from biot_bd.models.attention.record import attention_layers, record_attention
from biot_bd.training._validation import uncompiled
from biot_bd.training.resume import array_digest
from biot_bd.windows.torch_dataset import WindowsDataset


@dataclass(frozen=True, eq=False)
class ProbeWindows:
    """The windows whose attention is shown.

    Parameters
    ----------
    x : Tensor, shape (n, n_chans, n_times)
        As the model sees them, without augmentation.
    position : int
        Of their class among the outputs.
    n_of : int
        How many windows of that class there are.
    """

    x: torch.Tensor
    position: int
    n_of: int

    def text(self, classes: Any = None) -> str:
        """Say which windows they are; the same text means the same windows."""
        label = self.position if classes is None else classes[self.position]
        return (
            f"mean of {len(self.x)} windows of class {label}, evenly spaced among the {self.n_of} that fit was given "
            f"(training and validation); content {array_digest(self.x.numpy())}"
        )


def probe_windows(dataset: Any, n: int) -> ProbeWindows | None:
    """Choose the windows to show, by a rule that knows the data only.

    Parameters
    ----------
    dataset : Subset of WindowsDataset
        One side of a fit; the other side, the split and whatever else training was told do not
        matter.
    n : int
        Most windows.

    Returns
    -------
    ProbeWindows or None
        Windows of the last (positive) class, evenly spaced in the order of the data; None for other
        kinds of data sets.
    """
    if not isinstance(dataset, Subset) or not isinstance(dataset.dataset, WindowsDataset):
        return None
    labels = np.asarray(dataset.dataset.y)
    wanted = np.flatnonzero(labels == labels.max())
    chosen = wanted[np.unique(np.linspace(0, len(wanted) - 1, min(n, len(wanted))).astype(int))]
    x = torch.from_numpy(np.array(dataset.dataset.windows.read(chosen), dtype=np.float32))
    return ProbeWindows(x, int(labels.max()), len(wanted))


@dataclass(frozen=True, eq=False)
class LayerAttention:
    """How one layer spreads its attention over the probe windows.

    Parameters
    ----------
    number, n_layers : int
        Which layer of how many, from 1.
    role : str or None
        ``"early"``, ``"middle"``, ``"late"`` or ``"only"``; None for layers that are not drawn.
    ratio : ndarray, shape (n_chans, n_chans) or (n_tokens, n_tokens), or None
        Attention of the rows to the columns as a multiple of uniform attention, mean over windows
        and heads; by channel where the layout of the tokens is known, NaN for what is absent in all
        windows.  None without a role.
    entropy, rank : float
        Mean over windows and heads of :func:`~biot_bd.models.attention.map_statistics.entropy` and
        :func:`~biot_bd.models.attention.map_statistics.effective_rank`.
    """

    number: int
    n_layers: int
    role: str | None
    ratio: NDArray[np.float64] | None
    entropy: float
    rank: float


def layer_attention(module: torch.nn.Module, x: torch.Tensor) -> list[LayerAttention]:
    """Measure the attention of every layer; the module is left as it was.

    Parameters
    ----------
    module : torch.nn.Module
    x : Tensor, shape (n, n_chans, n_times)
        On the module's device.

    Returns
    -------
    list of LayerAttention
        Empty where there is no attention.

    Raises
    ------
    ValueError, RuntimeError, NotImplementedError
        It cannot be recorded, see :func:`biot_bd.record_attention`.
    """
    module = uncompiled(module)
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            layers = attention_layers(module, x[:1])
            # Window by window: the maps of one are all the memory that this takes.
            measured = [_measure(maps, layers) for maps in _recorded(module, x)] if layers else []
    finally:
        for part, training in modes.items():
            part.training = training
    roles = {number: role for role, number in early_middle_late(len(layers)).items()} if layers else {}
    return [
        LayerAttention(
            number + 1,
            len(layers),
            roles.get(number),
            _mean([one[layer][0] for one in measured]) if number in roles else None,
            float(np.mean([one[layer][1] for one in measured])),
            float(np.mean([one[layer][2] for one in measured])),
        )
        for number, layer in enumerate(layers)
    ]


def _recorded(module: torch.nn.Module, x: torch.Tensor) -> Iterator[AttentionMaps]:
    for window in x.split(1):
        with record_attention(module) as trace:
            module(window)
        yield trace.maps


def _measure(maps: AttentionMaps, layers: tuple[str, ...]) -> dict[str, tuple[NDArray[np.float64], float, float]]:
    """Return ratio to uniform, entropy and rank of the first call of each layer, of one window."""
    found = {}
    for layer in layers:
        number = maps.layers.index(layer)
        record = maps.records[number]
        found[layer] = _ratio(maps, number), float(entropy(record).mean()), float(effective_rank(record).mean())
    return found


def _ratio(maps: AttentionMaps, number: int) -> NDArray[np.float64]:
    layout = maps.layouts[number]
    if layout is not None and layout.n_chans > 1:
        weights = maps[number : number + 1].channel_matrix()[0, 0]
    else:
        weights = maps.mean_heads(number)[0].double().cpu().numpy()
        mask = maps.records[number].key_mask
        if mask is not None:
            there = mask[0].cpu().numpy()
            weights = np.where(there[:, None] & there, weights, np.nan)
    return np.asarray(weights * np.isfinite(weights).sum(axis=-1, keepdims=True))


def _mean(ratios: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    with warnings.catch_warnings():  # a channel that is absent in all windows is meant to be NaN
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        return np.asarray(np.nanmean(ratios, axis=0))
