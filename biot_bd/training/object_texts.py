"""What objects are, in one line without addresses: the ``repr`` of nets, callbacks and what they
are given.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from biot_bd.models.weight_identity import weight_digests

SHORT = 20
"""Most numbers of an array that are written out."""

DEEPEST = 12
"""Most levels of objects in objects that are told."""

_TORCH_OWN = frozenset(vars(nn.Module())) | {"rng"}  # braindecode's transforms draw from the generator of fit


class ParametersRepr:
    """A ``repr`` that shows the parameters which are not their defaults, for classes with
    ``get_params``.
    """

    def __repr__(self) -> str:
        return object_text(self)


def object_text(value: Any) -> str:
    """Return one line that tells an object from others of its class, the same in every process.

    Parameters
    ----------
    value : object
        Functions and classes are told by address, arrays and weights by digest where they are
        long, objects by their parameters that are not defaults, or by their attributes.

    Returns
    -------
    str

    See Also
    --------
    ParametersRepr : Makes it the ``repr`` of a class.

    Examples
    --------
    >>> from functools import partial
    >>> from skorch.callbacks import GradientNormClipping
    >>> from biot_bd.training.object_texts import object_text
    >>> object_text([GradientNormClipping(2.0), partial(max, 1)])
    '[GradientNormClipping(gradient_clip_value=2.0), partial(builtins.max, 1)]'
    """
    return _text(value, ())


def _text(value: Any, above: tuple[int, ...]) -> str:
    if id(value) in above or len(above) > DEEPEST:
        return "..."
    inside = (*above, id(value))
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return repr(value.item() if isinstance(value, np.generic) else value)
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(sorted(f"{_text(k, inside)}: {_text(v, inside)}" for k, v in value.items())) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(_text(item, inside) for item in value)) + "}"
    if type(value) in (list, tuple):
        items = ", ".join(_text(item, inside) for item in value)
        return f"[{items}]" if isinstance(value, list) else f"({items}{',' if len(value) == 1 else ''})"
    if isinstance(value, functools.partial):
        given = [*map(str, (_text(a, inside) for a in value.args)), *_pairs(value.keywords.items(), inside)]
        return f"partial({', '.join([_text(value.func, inside), *given])})"
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        return _address(value, inside)
    return _object_text(value, inside)


def _object_text(value: Any, inside: tuple[int, ...]) -> str:
    kind = type(value).__name__
    if isinstance(value, (np.ndarray, torch.Tensor)):
        array = np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)
        return f"{kind}({_array(array, inside)})"
    if isinstance(value, (np.random.RandomState, np.random.Generator)):
        state = value.get_state(legacy=False) if isinstance(value, np.random.RandomState) else value.bit_generator.state
        return f"{kind}({_digest(repr(sorted(_flat(state))))})"
    if isinstance(value, torch.Generator):
        return f"{kind}({_digest(value.get_state().numpy().tobytes())})"
    if isinstance(value, nn.Module):
        return f"{kind}({', '.join(_module(value, inside))})"
    if hasattr(value, "get_params"):
        shown = _pairs(changed_parameters(value).items(), inside)
        weights = getattr(value, "module_", None)  # of a net that was fitted
        shown += [f"weights={_weights(weights)}"] if isinstance(weights, nn.Module) else []
        return f"{kind}({', '.join(shown)})"
    if hasattr(value, "process_index") and hasattr(value, "num_processes"):  # an Accelerator holds all that it prepared
        return f"{kind}(num_processes={value.num_processes})"
    if hasattr(value, "to_numpy"):  # tables of pandas, whose repr leaves rows out
        names = [list(map(str, axis)) for axis in value.axes] if hasattr(value, "axes") else []
        return f"{kind}({_digest(_text([names, value.to_numpy().tolist()], inside))})"
    if isinstance(getattr(value, "fingerprint", None), str):  # Windows
        return f"{kind}({_digest(value.fingerprint)})"
    own = type(value).__repr__
    text = "" if own is object.__repr__ else repr(value)
    if text and " at 0x" not in text:
        return text
    state = {name: part for name, part in getattr(value, "__dict__", {}).items() if not name.endswith("_")}
    return f"{kind}({', '.join(_pairs(sorted(state.items()), inside))})"


def changed_parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters of an object with ``get_params`` that are not their defaults."""
    defaults: dict[str, Any] = {}
    for cls in reversed(type(estimator).__mro__):
        if "__init__" in vars(cls) and cls is not object:
            defaults |= {name: p.default for name, p in inspect.signature(cls.__init__).parameters.items()}  # type: ignore[misc]
    params = estimator.get_params(deep=False)
    return {name: value for name, value in params.items() if name not in defaults or not _same(value, defaults[name])}


def _same(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and _text(value, ()) == _text(default, ()))


def _pairs(items: Iterable[tuple[Any, Any]], inside: tuple[int, ...]) -> list[str]:
    return [f"{name}={_text(value, inside)}" for name, value in items]


def _module(module: nn.Module, inside: tuple[int, ...]) -> list[str]:
    """Return what tells a module: its attributes, and a digest of parts and weights."""
    plain = {name: value for name, value in vars(module).items() if name not in _TORCH_OWN}
    found = _pairs(sorted((name.lstrip("_"), value) for name, value in plain.items()), inside)
    return found + (
        [f"weights={_weights(module)}"] if len(module.state_dict()) or any(True for _ in module.children()) else []
    )


def _weights(module: nn.Module) -> str:
    return _digest(repr(module) + repr(sorted(weight_digests(module).items())))


def _array(array: np.ndarray[Any, Any], inside: tuple[int, ...]) -> str:
    if array.size <= SHORT or array.dtype == object:
        return f"{_text(array.tolist(), inside)}, {array.dtype}"
    return f"shape {array.shape}, {array.dtype}, {_digest(np.ascontiguousarray(array).tobytes())}"


def _flat(state: Any) -> list[str]:
    if isinstance(state, Mapping):
        return [f"{key} {part}" for key, value in state.items() for part in _flat(value)]
    return [str(state.tolist() if isinstance(state, np.ndarray) else state)]


def _address(value: Any, inside: tuple[int, ...]) -> str:
    """Return where a class or function is found; one without a name of its own by its content."""
    path = f"{getattr(value, '__module__', None) or 'builtins'}.{value.__qualname__}"
    code = getattr(value, "__code__", None)
    if code is None or "<" not in path:
        return path
    cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    kept = _text([getattr(value, "__defaults__", None), cells], inside)
    return f"{path} {_digest(code.co_code + repr((code.co_names, _constants(code))).encode() + kept.encode())}"


def _constants(code: Any) -> list[Any]:
    return [_constants(item) if hasattr(item, "co_code") else item for item in code.co_consts]


def _digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:12]
