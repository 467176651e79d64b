"""What makes two cross-validations the same study.

Descriptions of their parts, compared in one way.

A study is described by facts (:func:`study_identity`), and two are the same where their facts are;
so a folder written under former names is compared as well as one of today
(:mod:`biot_bd.evaluation.run_versions` translates).  A parameter that a stored description does not
know, and that stands at its default, makes no other study.
"""

from __future__ import annotations

import hashlib
import os
import types
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline

from biot_bd.evaluation.run_facts import Cells, RunFacts
from biot_bd.exceptions import RunFolderError
from biot_bd.training import BIOTClassifier
from biot_bd.training.pretrained import checkpoint_identity

# Set anew in every fold, or without influence on the scores.
_NOT_PART = ("verbose", "n_jobs", "log_dir", "restart_dir", "memory", "pre_dispatch", "data_on_device", "accelerator")
_SET_IN_FOLD = ("random_state", "train_split")
_DEPTH = 6


def final_step(estimator: Any) -> tuple[str, Any]:
    """Return the last estimator inside (nested) pipelines and the prefix of its parameters, e.g.
    ``"net__"``.
    """
    prefix = ""
    while isinstance(estimator, Pipeline):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return prefix, estimator


def identity_of(pipeline: Any) -> Cells:
    """Describe a pipeline without what a fold sets.

    Split and seed of a ``BIOTClassifier`` at its end.
    """
    prefix, last = final_step(pipeline)
    return describe_pipeline(clone(pipeline), prefix if isinstance(last, BIOTClassifier) else None)


def protocol_values(protocol: Mapping[str, Any]) -> Cells:
    """Return the values of a protocol (``Protocol.as_dict()``), without the texts that explain
    them.
    """
    return {name: value for name, value in protocol.items() if name not in ("source", "remarks")}


def describe_pipeline(pipeline: Any, trained_by_us: str | None = None) -> Cells:
    """Describe an estimator by its class and parameters, in what JSON holds, without memory
    addresses.

    Parameters
    ----------
    pipeline : estimator
        Anything with ``get_params``.
    trained_by_us : str, optional
        Prefix (``""`` or ``"step__"``) of the parameters of a ``BIOTClassifier`` whose split and
        seed the fold sets; those are left out.

    Returns
    -------
    dict
        ``{"class": ..., "<parameter>": ...}``, sorted.
    """
    out: Cells = {"class": _path(type(pipeline))}
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
    if isinstance(value, (pd.Series, pd.Index)):
        items = list(value.items() if isinstance(value, pd.Series) else value)
        return {_path(type(value)): describe(items, depth + 1, inside)}
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
            if key in old and key in new:
                lines += differences(old[key], new[key], where)
            elif key in old or not _is_default(key, new[key]):
                lines.append(f"{where}: was {short(old.get(key, 'absent'))}, now is {short(new.get(key, 'absent'))}")
        return lines
    if old == new:
        return []
    return [f"{path}: was {short(old)}, now is {short(new)}"]


@cache
def _defaults() -> Cells:
    return describe_pipeline(BIOTClassifier())


def _is_default(key: str, value: Any) -> bool:
    """Return whether a parameter, of whichever step, is one of ``BIOTClassifier`` at its
    default.
    """
    parts = key.split("__")
    names = ("__".join(parts[at:]) for at in range(len(parts)))
    return any(name in _defaults() and _defaults()[name] == value for name in names)


def refuse_other_study(folder: Any, lines: list[str]) -> None:
    """Raise :class:`RunFolderError` where a folder holds another study.

    ``lines`` say what differs.
    """
    if lines:
        more = f" (and {len(lines) - 8} more)" if len(lines) > 8 else ""
        raise RunFolderError(
            f"{folder} holds another study; name a new folder or delete it. What differs: {'; '.join(lines[:8])}{more}"
        )


def comparable_facts(run: RunFacts, scoring: list[str]) -> Cells:
    """Return what two runs must have in common for their scores to stand side by side, by its
    name in words.
    """
    sides = ("train", "valid", "test", "dropped_recordings")
    stored: Mapping[str, Any] = run
    return {
        "label rule": run["data"]["label_rule"] or "unknown",
        "data": run["data"]["fingerprint"],
        "protocol": protocol_values(stored.get("protocol") or {"name": "custom"}),
        "subjects of the folds": [[split.get(side) or [] for side in sides] for split in run["splits"]],
        "metrics": scoring,
    }


def short(value: Any, most: int = 80) -> str:
    """Return the repr of a value, cut to ``most`` characters."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


def _path(value: Any) -> str:
    """Return an address.

    Of our own things the package and the name, so that moving a file makes no other study.
    """
    module = getattr(value, "__module__", None)
    module = "biot_bd" if module is not None and module.partition(".")[0] == "biot_bd" else module
    return f"{module}:{getattr(value, '__qualname__', type(value).__qualname__)}"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
