"""What makes two cross-validations the same study: a fingerprint of its parts, and what differs."""

from __future__ import annotations

import hashlib
import os
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from biot_bd.training.pretrained import checkpoint_identity

# Set anew in every fold, or without influence on the scores.
_NOT_PART = ("verbose", "n_jobs", "log_dir", "restart_dir", "memory", "pre_dispatch")
_SET_IN_FOLD = ("random_state", "train_split")
_DEPTH = 6


def describe_pipeline(pipeline: Any, trained_by_us: str | None = None) -> dict[str, Any]:
    """Describe an estimator by its class and parameters, in what JSON holds, without memory addresses.

    Parameters
    ----------
    pipeline : estimator
        Anything with ``get_params``.
    trained_by_us : str, optional
        Prefix (``""`` or ``"step__"``) of the parameters of a ``BIOTClassifier`` whose split and seed the
        fold sets; those are left out.

    Returns
    -------
    dict
        ``{"class": ..., "<parameter>": ...}``, sorted.
    """
    out: dict[str, Any] = {"class": _path(type(pipeline))}
    ours = {f"{trained_by_us}{name}" for name in _SET_IN_FOLD} if trained_by_us is not None else set()
    params = pipeline.get_params(deep=True)
    # Estimators inside have their parameters in the same dictionary, so their class is enough.
    inside = frozenset(id(value) for value in params.values() if isinstance(value, BaseEstimator))
    for name, value in sorted(params.items()):
        if name.rpartition("__")[2] not in _NOT_PART and name not in ours:
            out[name] = describe(value, inside=inside)
        if name.rpartition("__")[2] == "pretrained" and isinstance(value, (str, os.PathLike)):
            out[name] = checkpoint_identity(value)  # its content, wherever it lies
    return out


def describe(value: Any, depth: int = 0, inside: frozenset[int] = frozenset()) -> Any:
    """Return a stable JSON form of a parameter: equal objects give equal forms in every process.

    Parameters
    ----------
    value : object
    depth : int
        How deep in another object it stands; below six levels only classes are named.
    inside : frozenset of int
        ``id`` of estimators described elsewhere; of these only the class is named.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if depth >= _DEPTH or id(value) in inside:
        return _path(type(value))
    if isinstance(value, Mapping):
        return {str(key): describe(item, depth + 1, inside) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(item, depth + 1, inside) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((describe(item, depth + 1, inside) for item in value), key=str)
    if isinstance(value, types.LambdaType) and value.__name__ == "<lambda>":
        return f"{_path(value)} {_hash(value.__code__.co_code + repr(value.__code__.co_consts).encode())}"
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)):
        return _path(value)
    return _describe_object(value, depth, inside)


def _describe_object(value: Any, depth: int, inside: frozenset[int]) -> Any:
    if hasattr(value, "detach") and hasattr(value, "numpy"):  # a torch tensor, without importing torch
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        content = repr(value.tolist()).encode() if value.dtype == object else np.ascontiguousarray(value).tobytes()
        return f"array {value.shape} {value.dtype} {_hash(content)}"
    if isinstance(value, BaseEstimator):
        return {
            "class": _path(type(value)),
            **{k: describe(v, depth + 1, inside) for k, v in value.get_params().items()},
        }
    if hasattr(value, "func") and hasattr(value, "keywords"):  # functools.partial
        return {"partial": [describe(item, depth + 1, inside) for item in (value.func, value.args, value.keywords)]}
    state = {k: v for k, v in sorted(getattr(value, "__dict__", {}).items()) if not k.startswith("__")}
    if state:
        return {"class": _path(type(value)), **{k: describe(v, depth + 1, inside) for k, v in state.items()}}
    text = repr(value)
    return _path(type(value)) if " at 0x" in text else f"{_path(type(value))} {text}"


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """List what differs between two descriptions, one line each: ``name: was ..., now is ...``."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        lines: list[str] = []
        for key in sorted({*old, *new}):
            where = f"{path}.{key}" if path else str(key)
            if key not in old or key not in new:
                lines.append(f"{where}: was {_short(old.get(key, 'absent'))}, now is {_short(new.get(key, 'absent'))}")
            else:
                lines += differences(old[key], new[key], where)
        return lines
    if old == new:
        return []
    return [f"{path}: was {_short(old)}, now is {_short(new)}"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _path(value: Any) -> str:
    return f"{getattr(value, '__module__', None)}:{getattr(value, '__qualname__', type(value).__qualname__)}"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
