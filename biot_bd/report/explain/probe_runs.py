"""Probes run on one window: what each says, and which could not be asked."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from biot_bd import registry
from biot_bd.exceptions import BiotBdError
from biot_bd.models.attention.layout import TokenLayout
from biot_bd.models.attention.maps import early_middle_late
from biot_bd.models.attention.record import record_attention
from biot_bd.models.attention.token_map import TokenMap
from biot_bd.report.explain.model import Model, Signal

DEFAULT_PROBES = (
    *("attention", "rollout", "grad-attention", "token-ig", "token-occlusion"),
    *("channel-occlusion", "band-occlusion", "energy"),
)
"""What a page shows unless probes are named."""
MOST_FRAMES = 200
"""Beyond this, cells of a picture are too narrow to be seen."""
CANNOT = (ValueError, TypeError, RuntimeError, ImportError, LookupError, BiotBdError)
"""How a probe says that it cannot be asked of a model."""


@dataclass(frozen=True)
class AttentionFlow:
    """The attention maps of one pass over one window.

    Parameters
    ----------
    maps : dict of str to ndarray, shape (1, heads, queries, keys)
        By path of the module, in the order of the calls.
    layouts : dict of str to TokenLayout or None
        What queries and keys are.
    channels : ndarray, shape (n_layers, n_chans, n_chans), or None
        Who attends to whom by channel, rows sum to 1; None where layouts are not known or differ.
    """

    maps: dict[str, NDArray[np.float32]]
    layouts: dict[str, TokenLayout | None]
    channels: NDArray[np.float64] | None

    @property
    def roles(self) -> dict[str, int]:
        """Number of the early, middle and late layer."""
        return early_middle_late(len(self.maps))


@dataclass(frozen=True)
class ProbeRuns:
    """What probes say of one window.

    Parameters
    ----------
    probes : dict of str to object
        Those that could be asked, by name.
    found : dict of str to TokenMap
        What each said.
    left_out : dict of str to str
        Why others could not be asked.
    attention : AttentionFlow or None
        The maps themselves, where the model has attention.
    """

    probes: dict[str, Any]
    found: dict[str, TokenMap]
    left_out: dict[str, str] = field(default_factory=dict)
    attention: AttentionFlow | None = None

    def shown(self, name: str) -> TokenMap:
        """Return what a probe said as it is drawn and put into words: values by sample in pieces as
        long as the frames of another probe.
        """
        found = self.found[name]
        layouts = [one.layout for one in self.found.values() if one.layout.knows_time]
        frames = [one for one in layouts if 1 < one.n_frames <= MOST_FRAMES and one.n_chans == found.layout.n_chans]
        if found.layout.n_frames <= MOST_FRAMES or not found.layout.knows_time or not frames:
            return found
        return found.on(max(frames, key=lambda one: one.n_frames))


def run_probes(
    model: Model,
    signal: Signal,
    names: Sequence[str] | None = None,
    *,
    target: int | None = None,
    step: Callable[[str], None] = lambda name: None,
) -> ProbeRuns:
    """Ask probes about one window.

    Parameters
    ----------
    model : Model
        What is explained.
    signal : Signal
        The window as the network gets it, (1, n_chans, n_times).
    names : sequence of str, optional
        Registered probes, all of which must be able to answer; None: :data:`DEFAULT_PROBES`, those
        that can.
    target : int, optional
        Output that is explained; None: that of a seizure, the predicted one of more than two.
    step : callable
        Told the name of each probe before it is asked.

    Returns
    -------
    ProbeRuns

    Raises
    ------
    ValueError
        A probe that was named cannot be asked of this model, or none can.
    """
    device = next(model.module.parameters()).device
    x = torch.from_numpy(signal.x).to(device)
    runs = ProbeRuns({}, {})
    for name in dict.fromkeys(DEFAULT_PROBES if names is None else names):
        step(name)
        try:
            probe = registry.probes[name]()
            found = probe(model.module, x, target=target)
        except CANNOT as error:
            if names is not None:
                raise ValueError(f"probe {name}: {error}") from error
            runs.left_out[name] = " ".join(str(error).split())
            continue
        runs.probes[name], runs.found[name] = probe, _named(found, signal.ch_names)
    if not runs.found:
        raise ValueError("no probe can be asked of this model: " + "; ".join(map(": ".join, runs.left_out.items())))
    step("attention maps")
    try:
        attention = _attention(model.module, x)
    except CANNOT as error:
        runs.left_out["attention maps"] = " ".join(str(error).split())
        attention = None
    return ProbeRuns(runs.probes, runs.found, runs.left_out, attention)


def default_target(model: Model) -> int | None:
    """Return the output of a seizure, None where there are more than two."""
    return model.classes.index("seizure") if len(model.classes) == 2 else None


def title_of(probe: Any, name: str) -> str:
    """Return what a probe is called, in words for clinicians."""
    title = str(getattr(probe, "title", "") or name.replace("-", " "))
    return title[:1].upper() + title[1:]


def about(probe: Any) -> str:
    """Return the first sentence of a probe's own description."""
    said = inspect.getdoc(probe if inspect.isfunction(probe) else type(probe)) or ""
    first = re.sub(r"\s*\[\d+\]_", "", said.split("\n\n")[0])  # marks of references
    return " ".join(first.replace("`", "").split())


def plain_facts(info: Mapping[str, Any]) -> dict[str, str]:
    """Return those facts of a probe that fit on a line."""
    return {
        name.replace("_", " "): f"{value:.3g}" if isinstance(value, float) else str(value)
        for name, value in info.items()
        if isinstance(value, (str, int, float))
    }


def _named(found: TokenMap, ch_names: Sequence[str]) -> TokenMap:
    """Give channels the names of the data, which the model may not know."""
    return found.named(ch_names) if found.layout.n_chans == len(ch_names) else found


def _attention(module: torch.nn.Module, x: torch.Tensor) -> AttentionFlow | None:
    with torch.no_grad(), record_attention(module) as trace:
        module(x)
    if not len(trace):
        return None
    maps: dict[str, NDArray[np.float32]] = {}
    layouts: dict[str, TokenLayout | None] = {}
    for number, layer in enumerate(trace.maps.layers):
        name = layer if layer not in maps else f"{layer} (call {number})"  # a module may be called twice
        maps[name] = trace.maps[number].float().cpu().numpy()
        layouts[name] = trace.maps.layouts[number]
    try:
        channels = trace.channel_matrix()[:, 0]
    except ValueError:
        channels = None
    return AttentionFlow(maps, layouts, channels)
