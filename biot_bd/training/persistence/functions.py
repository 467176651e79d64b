"""Functions of others that parameters of a saved pipeline may be: named by address, never pickled.

Callbacks of skorch have functions as defaults (``sink=print``), and scorers are made of metrics.
The few that there are compute or print and do nothing else.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from importlib import import_module
from typing import Any

from biot_bd.exceptions import SavedPipelineError

_DEFAULTS = (
    "builtins:print",
    "skorch.utils:freeze_parameter",
    "skorch.utils:noop",
    "skorch.utils:to_numpy",
    "skorch.utils:train_loss_score",
    "skorch.utils:unfreeze_parameter",
    "skorch.utils:valid_loss_score",
)
_FAMILIES = {"sklearn.metrics": r"\w+_(corrcoef|error|loss|score)", "torch.nn.init": r"\w+_"}
"""Modules, and which of their public functions: metrics of arrays, initial values of weights."""


def is_named(address: str) -> bool:
    """Return whether a saved pipeline may name the function at ``module:name``.

    Nothing is imported.
    """
    module, _, name = address.partition(":")
    known = re.fullmatch(_FAMILIES[module], name) is not None if module in _FAMILIES else address in _DEFAULTS
    return known and not name.startswith("_")


def function_address(function: Any) -> str | None:
    """Return the address of a function that may be named, else None."""
    name = getattr(function, "__name__", None)
    if not callable(function) or isinstance(function, type) or not isinstance(name, str):
        return None
    for module in (getattr(function, "__module__", None), *_FAMILIES):
        if is_named(f"{module}:{name}") and getattr(sys.modules.get(str(module)), name, None) is function:
            return f"{module}:{name}"
    return None


def named_function(address: Any) -> Any:
    """Return the function at an address.

    Raises
    ------
    SavedPipelineError
        It may not be named, or is not installed.
    """
    if not isinstance(address, str) or not is_named(address):
        raise SavedPipelineError(
            f"the saved pipeline names the function {address!r}, which may not be loaded; it was not written by save_pipeline"
        )
    module, _, name = address.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SavedPipelineError(
            f"the saved pipeline needs {address!r}, which this installation lacks: {error}"
        ) from error


def scorer_parts(scorer: Any) -> tuple[Any, Any, bool, dict[str, Any]] | None:
    """Return metric, response method, direction and arguments of a scorer of ``make_scorer``; None
    of anything else.
    """
    names = ("_score_func", "_response_method", "_sign", "_kwargs")
    if not type(scorer).__module__.startswith("sklearn.metrics.") or not all(hasattr(scorer, name) for name in names):
        return None
    metric, response, sign, arguments = (getattr(scorer, name) for name in names)
    return metric, response, sign > 0, dict(arguments)


def scorer_of(metric: Any, response: Any, greater_is_better: bool, arguments: dict[str, Any]) -> Any:
    """Make a scorer of its parts; see :func:`scorer_parts`."""
    from sklearn.metrics import make_scorer  # who only scores does without

    return make_scorer(metric, response_method=response, greater_is_better=greater_is_better, **arguments)


def as_given(value: Any) -> Any:
    """Return a parameter of a callback as it was given.

    skorch's ``ParamMapper`` puts bound methods in the place of ``at=1`` and ``schedule=None`` when
    it is started.
    """
    method = value.func if isinstance(value, partial) else value
    owner = type(getattr(method, "__self__", None))
    if not owner.__module__.startswith("skorch.callbacks"):
        return value
    if method.__name__ == "_epoch_at" and isinstance(value, partial):
        return value.keywords.get("epoch", 1)
    return None if method.__name__ == "_default_schedule" else value
