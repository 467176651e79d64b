"""The signal steps behind the montage as plain torch operations, for graphs of any engine.

Each is a module ``(x, present) -> (x, present)`` that does what the step does with
``on_bad="drop"``: a channel that cannot be scaled becomes absent.  There are no branches on values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from biot_bd.exceptions import ExportError
from biot_bd.signals.base import SignalInfo
from biot_bd.signals.fixed_scaler import FixedScaler, Standardizer
from biot_bd.signals.ignored import IgnoreChannels
from biot_bd.signals.mapper import MontageMapper
from biot_bd.signals.offset import COARSE, OFFSET_SHARE, OFFSET_UV, PERCENTILE
from biot_bd.signals.scaler import EPSILON_UV, FLAT_UV, PercentileScaler


def scaling_graph(steps: Sequence[Any], info: SignalInfo) -> nn.ModuleList:
    """Return the steps of a pipeline in front of its classifier as modules.

    Parameters
    ----------
    steps : sequence of transformers
        A ``MontageMapper`` may come first: it has no place in the graph, whose input are the
        montage's channels.
    info : SignalInfo
        What the first step behind the mapper is given.

    Returns
    -------
    torch.nn.ModuleList
        Modules ``(x, present) -> (x, present)``.

    Raises
    ------
    ExportError
        A step is none of ``PercentileScaler``, ``FixedScaler``, ``Standardizer`` and
        ``IgnoreChannels``.
    """
    made = nn.ModuleList()
    for place, step in enumerate(steps):
        if isinstance(step, MontageMapper) and place == 0:
            continue
        kind = _GRAPHS.get(type(step))
        if kind is None:
            known = ", ".join(one.__name__ for one in _GRAPHS)
            raise ExportError(
                f"step {type(step).__name__}: has no place in a graph, which takes windows of the montage in microvolts; "
                f"behind a MontageMapper it may have {known}: fit a pipeline of these"
            )
        made.append(IgnoringGraph(step, info) if kind is IgnoringGraph else kind(step, info.n_times))
        info = step.output_info(info)
    return made


class PercentileGraph(nn.Module):
    """:class:`~biot_bd.signals.PercentileScaler`, with the offsets of ``signals/offset.py``.

    Parameters
    ----------
    step : PercentileScaler
        Its percentile is taken over.
    n_times : int
        Samples of a window.
    """

    time: Tensor
    slope: Tensor

    def __init__(self, step: PercentileScaler, n_times: int) -> None:
        super().__init__()
        self.q = float(step.q)
        time = torch.arange(n_times, dtype=torch.float64) - (n_times - 1) / 2
        self.register_buffer("time", time.float())
        self.register_buffer("slope", (time / max(1.0, float(time @ time))).float()[:, None])

    def forward(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Scale windows in microvolts; absent and flat channels come out as zeros."""
        x = self._without_offsets(x)
        low, high, fraction = _largest(x.abs(), self.q)
        percentile = low + fraction * (high - low)
        flat = (percentile < FLAT_UV) | (x.amax(dim=-1) - x.amin(dim=-1) < FLAT_UV)
        present = present & ~flat
        factor = torch.where(present, 1 / (percentile + EPSILON_UV), 0.0)
        return x * factor[..., None], present

    def _without_offsets(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=-1, keepdim=True)
        coarse = x[..., ::COARSE].mean(dim=-1, keepdim=True).abs()
        # Whether the percentile of the absolute values is below a limit needs no percentile: how
        # many of them are, and, where that is one too few or many, the two that it lies between.
        limit = mean.abs() / OFFSET_SHARE
        size, n_times = x.abs(), x.shape[-1]
        place = PERCENTILE / 100 * (n_times - 1)
        lower = min(math.floor(place), n_times - 2)
        below = size < limit
        count = below.to(x.dtype).sum(dim=-1, keepdim=True)
        low = torch.where(below, size, 0.0).amax(dim=-1, keepdim=True)
        high = torch.where(below, torch.finfo(x.dtype).max, size).amin(dim=-1, keepdim=True)
        between = (count == lower + 1) & (low + (place - lower) * (high - low) < limit)
        found = (coarse > OFFSET_UV / 2) & (mean.abs() > OFFSET_UV) & ((count > lower + 1) | between)
        share = found.to(x.dtype)
        level = x - mean * share
        return level - torch.matmul(level, self.slope) * share * self.time


class FixedGraph(nn.Module):
    """:class:`~biot_bd.signals.FixedScaler`.

    Parameters
    ----------
    step : FixedScaler
        Its divisor is taken over.
    n_times : int
        Samples of a window.
    """

    def __init__(self, step: FixedScaler, n_times: int) -> None:
        super().__init__()
        self.divisor_uv = float(step.divisor_uv)

    def forward(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Scale windows in microvolts."""
        return x / self.divisor_uv, present


class StandardGraph(nn.Module):
    """:class:`~biot_bd.signals.Standardizer`; a flat channel, which it refuses, becomes absent.

    Parameters
    ----------
    step : Standardizer
        Its clip is taken over.
    n_times : int
        Samples of a window.
    """

    def __init__(self, step: Standardizer, n_times: int) -> None:
        super().__init__()
        self.clip = None if step.clip is None else float(step.clip)

    def forward(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Scale windows in microvolts; absent and flat channels come out as zeros."""
        level = x - x.mean(dim=-1, keepdim=True)
        std = (level * level).mean(dim=-1).sqrt()
        flat = (std < FLAT_UV) | (x.amax(dim=-1) - x.amin(dim=-1) < FLAT_UV)
        present = present & ~flat
        out = level * torch.where(present, 1 / std, 0.0)[..., None]
        return (out if self.clip is None else out.clamp(-self.clip, self.clip)), present


class IgnoringGraph(nn.Module):
    """:class:`~biot_bd.signals.IgnoreChannels`.

    Parameters
    ----------
    step : IgnoreChannels
        Its channels are taken over.
    info : SignalInfo
        What it is given.
    """

    seen: Tensor

    def __init__(self, step: IgnoreChannels, info: SignalInfo) -> None:
        super().__init__()
        seen = torch.ones(info.n_chans, dtype=torch.bool)
        seen[step.positions(info)] = False
        self.register_buffer("seen", seen)

    def forward(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Mark channels as absent; they come out as zeros."""
        return torch.where(self.seen[:, None], x, 0.0), present & self.seen


def _largest(size: Tensor, q: float) -> tuple[Tensor, Tensor, float]:
    """Return the two sorted values that a percentile lies between, and how far above the lower."""
    n_times = size.shape[-1]
    place = q / 100 * (n_times - 1)
    lower = min(math.floor(place), n_times - 1)
    # The upper end is the short one for the percentiles in use.
    values = torch.topk(size, n_times - lower, dim=-1, sorted=True).values
    return values[..., -1], values[..., max(n_times - lower - 2, 0)], place - lower


_GRAPHS: dict[type, Any] = {
    PercentileScaler: PercentileGraph,
    FixedScaler: FixedGraph,
    Standardizer: StandardGraph,
    IgnoreChannels: IgnoringGraph,
}
