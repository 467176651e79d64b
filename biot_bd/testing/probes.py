"""Check a probe: ``probe(model, x, target) -> Explanation``, which leaves the model as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biot_bd.probes.base import Explanation
from biot_bd.testing._base import attempt, build, describe, pickled, require


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
        It is put into eval mode.
    n_chans, n_times : int
        Shape of the test windows ``(3, n_chans, n_times)``.

    Raises
    ------
    ConformanceError
        It returns no Explanation with finite values by window, is not repeatable with the same
        seed, cannot be pickled, takes no class for each window as ``target``, or changes its input,
        the model's outputs, weights, gradients, modes or hooks.

    See Also
    --------
    biot_bd.hookspecs.register_probes : The hook for such classes.
    biot_bd.probes.Probe, biot_bd.probes.Explanation : Their base, and what they return.

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
    if model is None:
        model = _SmallModel(n_chans)
    model.eval()
    x = torch.randn(3, n_chans, n_times, generator=torch.Generator().manual_seed(0))
    before, state = x.clone(), _state(model, x)
    explanation = _explain(instance, name, model, x, None, "target=None")
    _check_explanation(explanation, name, x)
    require(torch.equal(x, before) and not x.requires_grad, f"{name}: changed its input")
    _check_state(state, _state(model, x), name)
    again = _explain(instance, name, model, x, None, "second call")
    require(np.array_equal(explanation.values, again.values), f"{name}: two calls with one seed differ")
    _check_targets(instance, name, model, x)
    _check_state(state, _state(model, x), name)
    copy = _explain(pickled(instance, name), name, model, x, None, "after pickling")
    require(np.array_equal(explanation.values, copy.values), f"{name}: values differ after pickling")


def _check_targets(instance: Any, name: str, model: nn.Module, x: Tensor) -> None:
    """A target may be one class for all windows, or one for each."""
    single = [_explain(instance, name, model, x, target, f"target={target}") for target in (0, 1)]
    for explanation in single:
        _check_explanation(explanation, name, x)
    each = [0, 1, 0]
    for target in (each, torch.tensor(each)):
        mixed = _explain(instance, name, model, x, target, f"target={target!r}")
        for window, chosen in enumerate(each):
            require(
                np.allclose(_window(mixed, window), _window(single[chosen], window), rtol=1e-3, atol=1e-5),
                f"{name}: window {window} with target={target!r} differs from the same window with target={chosen}",
            )


def _window(explanation: Explanation, window: int) -> np.ndarray:
    return np.take(explanation.values, window, axis=explanation.dims.index("window"))


def _explain(instance: Any, name: str, model: nn.Module, x: Tensor, target: Any, case: str) -> Explanation:
    torch.manual_seed(0)
    grad_enabled = torch.is_grad_enabled()
    explanation = attempt(f"{name}: {case}: explaining {tuple(x.shape)}", instance, model, x, target)
    require(
        isinstance(explanation, Explanation),
        f"{name}: {case}: expected biot_bd.probes.base.Explanation, got {type(explanation).__name__}",
    )
    require(torch.is_grad_enabled() == grad_enabled, f"{name}: {case}: left gradients switched on or off")
    return explanation


def _check_explanation(explanation: Explanation, name: str, x: Tensor) -> None:
    # The Explanation itself has checked that names, axes, layers and info fit each other.
    values, sizes = explanation.values, explanation.sizes
    require("window" in sizes, f"{name}: dims {explanation.dims} lack 'window'; every window gets its own explanation")
    require(bool(np.isfinite(values).all()), f"{name}: values are not all finite, though no channel is absent")
    for dim, size in (("window", x.shape[0]), ("channel", x.shape[1])):
        require(sizes.get(dim, size) == size, f"{name}: {sizes.get(dim)} along {dim!r}, but x has {size}")


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
