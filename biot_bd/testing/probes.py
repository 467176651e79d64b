"""Check a probe: ``probe(model, x, target) -> TokenMap``, which leaves the model as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.base import input_facts
from biot_bd.testing._base import attempt, build, describe, pickled, require

NEEDS = frozenset({"attention", "linear-attention", "tokens", "gradients"})


class _SmallModel(nn.Module):
    """A differentiable model with batch norm and dropout, whose modes a probe could disturb."""

    def __init__(self, n_chans: int, n_outputs: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_chans, 8, kernel_size=25, stride=5)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(torch.nn.functional.elu(self.norm(self.conv(x)))).mean(dim=-1))


def check_probe(
    probe: type,
    parameters: Mapping[str, Any] | None = None,
    *,
    model: nn.Module | None = None,
    n_chans: int = 6,
    n_times: int = 400,
) -> None:
    """Check a class given to ``register_probes``.

    Parameters
    ----------
    probe : type
        A class; an instance is called as ``probe(model, x, target=None)``.
    parameters : mapping, optional
        Constructor parameters to test with.
    model : torch.nn.Module, optional
        What to explain, for probes that need a certain model; a small convolutional one by default.
        It is put into eval mode.  One that says ``accepts_absent_channels = True`` is also given a
        window with an absent channel.
    n_chans, n_times : int
        Shape of the test windows ``(3, n_chans, n_times)``.

    Raises
    ------
    ConformanceError
        It returns no TokenMap of these windows, channels and seconds with finite values (NaN in
        absent channels), is not repeatable with the same seed, cannot be pickled, takes no class
        for each window as ``target``, says other things of a window among other windows, or changes
        its input, the model's outputs, weights, gradients, modes or hooks.

    See Also
    --------
    biot_bd.hookspecs.register_probes : The hook for such classes.
    biot_bd.probes.Probe, biot_bd.probes.TokenMap : Their base, and what they return.

    Examples
    --------
    Attention probes need a model with attention; others are tried on a small convolutional one.

    >>> from biot_bd import BIOT, AttentionProbe
    >>> from biot_bd.testing import check_probe
    >>> size = {"embed_dim": 16, "num_heads": 2, "num_layers": 1}
    >>> model = BIOT(n_outputs=2, n_chans=4, n_times=800, sfreq=200, **size)
    >>> check_probe(AttentionProbe, model=model, n_chans=4, n_times=800)
    """
    name = describe(probe)
    instance = build(probe, parameters)
    require(callable(instance), f"{name}: its instances cannot be called")
    _check_words(instance, name)
    if model is None:
        model = _SmallModel(n_chans)
    model.eval()
    x = torch.randn(3, n_chans, n_times, generator=torch.Generator().manual_seed(0))
    before, state = x.clone(), _state(model, x)
    found = _explain(instance, name, model, x, None, "target=None")
    _check_map(found, name, model, x)
    require(torch.equal(x, before) and not x.requires_grad, f"{name}: changed its input")
    _check_state(state, _state(model, x), name)
    again = _explain(instance, name, model, x, None, "second call")
    require(_same(found, again), f"{name}: two calls with one seed differ")
    _check_mates(instance, name, model, x)
    _check_targets(instance, name, model, x)
    if getattr(model, "accepts_absent_channels", False):
        _check_absent(instance, name, model, x)
    _check_state(state, _state(model, x), name)
    copy = _explain(pickled(instance, name), name, model, x, None, "after pickling")
    require(_same(found, copy), f"{name}: values differ after pickling")


def _same(one: TokenMap, other: TokenMap) -> bool:
    return np.array_equal(one.values, other.values, equal_nan=True)


def _close(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two maps of a window are the same but for the rounding of other batches."""
    atol = 1e-4 * float(np.abs(expected).max()) + 1e-12
    return found.shape == expected.shape and np.allclose(found, expected, rtol=1e-3, atol=atol)


def _check_words(instance: Any, name: str) -> None:
    """Where a class says what it is called and what it needs, pictures and tests rely on it."""
    title: Any = getattr(instance, "title", None)
    needs: Any = getattr(instance, "needs", frozenset())
    require(
        title is None or (isinstance(title, str) and title.strip() != ""), f"{name}: title must be words, got {title!r}"
    )
    require(
        isinstance(needs, (set, frozenset)) and needs <= NEEDS,
        f"{name}: needs must be a set out of {sorted(NEEDS)}, got {needs!r}",
    )


def _check_mates(instance: Any, name: str, model: nn.Module, x: Tensor) -> None:
    """What is said of a window does not depend on the others that are given with it."""
    others = x.clone()
    others[1:] = 3 * x[1:].flip(0) + 1
    expected = _explain(instance, name, model, x, 0, "target=0").values[0]
    for what, given in (("alone", x[:1]), ("among other windows", others)):
        found = _explain(instance, name, model, given, 0, what)
        require(
            _close(found.values[0], expected),
            f"{name}: the first window {what} is explained otherwise; a baseline, for instance, must not come from "
            "the windows explained with it",
        )


def _check_targets(instance: Any, name: str, model: nn.Module, x: Tensor) -> None:
    """A target may be one class for all windows, or one for each."""
    single = [_explain(instance, name, model, x, target, f"target={target}") for target in (0, 1)]
    for found in single:
        _check_map(found, name, model, x)
    each = [0, 1, 0]
    for target in (each, torch.tensor(each)):
        mixed = _explain(instance, name, model, x, target, f"target={target!r}")
        if mixed.target is not None:
            require(mixed.target == tuple(each), f"{name}: asked for target={target!r}, its map says {mixed.target}")
        for window, chosen in enumerate(each):
            require(
                _close(mixed.values[window], single[chosen].values[window]),
                f"{name}: window {window} with target={target!r} differs from the same window with target={chosen}",
            )


def _check_absent(instance: Any, name: str, model: nn.Module, x: Tensor) -> None:
    """An absent channel is NaN, in its window only."""
    given = x.clone()
    given[1, 1] = torch.nan
    found = _explain(instance, name, model, given, 0, "a window without channel 1")
    if found.layout.n_chans != x.shape[1]:
        return
    values = found.without_bands().values
    absent = np.isnan(values).all(axis=-1)
    expected = np.isnan(given.numpy()).all(axis=-1)
    require(
        np.array_equal(absent, expected) and bool(np.isfinite(values[~expected]).all()),
        f"{name}: channel 1 of window 1 is absent, so it and nothing else must be NaN; NaN were "
        f"{[tuple(map(int, place)) for place in np.argwhere(absent)]} (window, channel)",
    )


def _explain(instance: Any, name: str, model: nn.Module, x: Tensor, target: Any, case: str) -> TokenMap:
    torch.manual_seed(0)
    grad_enabled = torch.is_grad_enabled()
    found = attempt(f"{name}: {case}: explaining {tuple(x.shape)}", instance, model, x, target)
    require(
        isinstance(found, TokenMap),
        f"{name}: {case}: expected biot_bd.probes.TokenMap, got {type(found).__name__}",
    )
    require(torch.is_grad_enabled() == grad_enabled, f"{name}: {case}: left gradients switched on or off")
    return found


def _check_map(found: TokenMap, name: str, model: nn.Module, x: Tensor) -> None:
    # The TokenMap itself has checked that values, layout, bands and info fit each other.
    require(len(found) == len(x), f"{name}: {len(found)} windows in the map, but x has {len(x)}")
    require(bool(np.isfinite(found.values).all()), f"{name}: values are not all finite, though no channel is absent")
    layout = found.layout
    require(
        layout.n_chans in (1, x.shape[1]),
        f"{name}: its layout has {layout.n_chans} channels, but x has {x.shape[1]} (1 stands for all of them mixed)",
    )
    sfreq, _ = input_facts(model, x.shape[1])
    if sfreq is not None and layout.knows_time:
        length_s = x.shape[2] / sfreq
        inside = layout.frame_start_s.min() >= 0 and layout.frame_stop_s.max() <= length_s + 0.5 / sfreq
        require(
            inside,
            f"{name}: frames from {layout.frame_start_s.min():g} to {layout.frame_stop_s.max():g} s, but a window lasts "
            f"{length_s:g} s",
        )


def _state(model: nn.Module, x: Tensor) -> dict[str, Any]:
    with torch.no_grad():
        outputs = model(x).clone()
    return {
        "outputs": outputs,
        "weights and buffers": {key: value.clone() for key, value in model.state_dict().items()},
        "gradients": {key: p.grad is None for key, p in model.named_parameters()},
        "requires_grad": {key: p.requires_grad for key, p in model.named_parameters()},
        "training modes": {key: m.training for key, m in model.named_modules()},
        "hooks": {key: _hooks(m) for key, m in model.named_modules()},
    }


def _hooks(module: nn.Module) -> list[int]:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [len(getattr(module, kind)) for kind in kinds]


def _check_state(before: dict[str, Any], after: dict[str, Any], name: str) -> None:
    require(torch.equal(before["outputs"], after["outputs"]), f"{name}: the model's outputs changed")
    weights, now = before["weights and buffers"], after["weights and buffers"]
    changed = [key for key in weights if not torch.equal(weights[key], now[key])]
    require(not changed, f"{name}: changed the model's weights or buffers {changed}")
    for what in ("gradients", "requires_grad", "training modes", "hooks"):
        changed = [key or "(the model)" for key in before[what] if before[what][key] != after[what].get(key)]
        require(not changed, f"{name}: left other {what} than it found in {changed}")
