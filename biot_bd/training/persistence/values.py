"""Parameters and classes of saved pipelines as JSON, read back without running anything that a
file says.

Only classes are built that are registered, or public in biot_bd, a plugin, scikit-learn's
transformers, torch's and braindecode's modules, torch's optimizers and skorch's callbacks: a file
cannot name anything else. Reading imports the packages that a value needs and no others, so a
scorer does not pay for a trainer.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd

from biot_bd import registry
from biot_bd.exceptions import SavedPipelineError
from biot_bd.training.persistence.addresses import public_address, shows
from biot_bd.training.persistence.functions import (
    as_given,
    function_address,
    named_function,
    scorer_of,
    scorer_parts,
)
from biot_bd.training.persistence.run_settings import reaches_out

_SAFE_PACKAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("biot_bd.", ("builtins:object",)),
    ("sklearn.", ("sklearn.base:TransformerMixin",)),
    ("torch.optim.", ("torch.optim:Optimizer", "torch.optim.lr_scheduler:LRScheduler")),
    ("torch.nn.", ("torch.nn:Module",)),
    ("braindecode.models.", ("torch.nn:Module",)),
    ("braindecode.augmentation.", ("braindecode.augmentation:Transform",)),
    ("skorch.callbacks.", ("skorch.callbacks:Callback", "torch.optim.lr_scheduler:LRScheduler")),
)
"""Packages whose classes may be named, and what such a class must derive from."""

_SPLITS = ("biot_bd.training.valid_splits:FixedSubjects", "biot_bd.training.valid_splits:SubjectValidSplit")
_ESTIMATORS = ("sklearn.base:BaseEstimator", "skorch.callbacks:Callback")
_SAFE_KINDS = (
    *_ESTIMATORS,
    *_SPLITS,
    "torch.nn:Module",
    "torch.optim:Optimizer",
    "torch.optim.lr_scheduler:LRScheduler",
)
_BUILT = (*_ESTIMATORS, *_SPLITS, "braindecode.augmentation:Transform")
LONGEST_TEXT_BYTES = 4 * 10_000
KINDS = ("models", "losses", "objectives", "callbacks", "montages", "label_rules", "frozen_probes")
"""Registries whose names a saved pipeline may hold."""


def _derives(cls: type, paths: tuple[str, ...]) -> bool:
    """Return whether a class derives from one of those at ``module:name``.

    A base that nobody imported has no subclasses.
    """
    places = (path.split(":") for path in paths)
    bases = [getattr(sys.modules[module], name) for module, name in places if hasattr(sys.modules.get(module), name)]
    return issubclass(cls, tuple(bases))


# --- classes --------------------------------------------------------------------------------------


def class_to_json(cls: type) -> dict[str, Any]:
    """Name a class as :func:`class_from_json` finds it again.

    Raises SavedPipelineError where it would not be loaded.
    """
    for kind in KINDS:
        name = registry.registries[kind].name_of(cls)
        if name is not None:
            return {"$registered": [kind, name]}
    own = f"{cls.__module__}:{cls.__qualname__}"
    path = public_address(cls) or own
    if not _is_safe(path, cls):
        raise SavedPipelineError(
            f"{own} is neither registered nor public in biot_bd, a plugin, scikit-learn's "
            "transformers, torch, braindecode or skorch; register it through a plugin (register_models, register_losses or "
            "register_callbacks) to save it"
        )
    return {"$class": path}


def _is_of_plugin(module: str) -> bool:
    return module.partition(".")[0] in {p.module.partition(".")[0] for p in entry_points(group=registry.PLUGINS_GROUP)}


def safe_bases(path: str) -> tuple[str, ...]:
    """Return what a class at this address must derive from; none: it may not be named.

    Nothing of others is imported.
    """
    module, _, name = path.partition(":")
    if not re.fullmatch(r"[\w.]+", module) or not re.fullmatch(r"\w+(\.\w+)*", name):
        return ()
    bases = next((bases for prefix, bases in _SAFE_PACKAGES if f"{module}.".startswith(prefix)), ())
    if bases and shows(module, name):
        return bases
    return ("builtins:object",) if _is_of_plugin(module) else ()


def _is_safe(path: str, cls: Any) -> bool:
    """Return whether a path is of a listed package, names a class of the listed kind, and is its
    public address.
    """
    bases = safe_bases(path)
    if not bases or not isinstance(cls, type) or not _derives(cls, bases):
        return False
    own = f"{cls.__module__}:{cls.__qualname__}"
    # A plugin need not show its classes anywhere else than where it defines them.
    if path != public_address(cls) and not (path == own and _is_of_plugin(cls.__module__)):
        return False
    return is_dataclass(cls) or _derives(cls, _SAFE_KINDS)


def _check_alone(value: Mapping[str, Any]) -> None:
    """Raise where an entry says two things, so that who looks at one of them cannot be misled."""
    if set(value) != ({"$object", "params"} if "$object" in value else set(list(value)[:1])) or not value:
        raise SavedPipelineError(
            f"the saved pipeline holds an entry of {', '.join(map(repr, value)) or 'nothing'}, expected one tag; "
            "it was not written by save_pipeline"
        )


def class_from_json(spec: dict[str, Any]) -> Any:
    """Return the class, or the registered object, that a saved pipeline names.

    Raises
    ------
    SavedPipelineError
        It may not be loaded, or is not installed.
    biot_bd.exceptions.UnknownNameError
        No plugin registers it.
    """
    _check_alone(spec)
    if "$registered" in spec:
        kind, name = spec["$registered"]
        if kind not in KINDS:
            raise SavedPipelineError(f"the saved pipeline names a registry {kind!r}; known are {', '.join(KINDS)}")
        return registry.registries[kind][name]
    path = str(spec.get("$class"))
    found: Any = None
    if safe_bases(path):  # nothing else is imported
        module, _, qualname = path.partition(":")
        try:
            found = attrgetter(qualname)(import_module(module))
        except (ImportError, AttributeError) as error:
            raise SavedPipelineError(
                f"the saved pipeline needs {path!r}, which this installation lacks: {error}"
            ) from error
    if not _is_safe(path, found):
        raise SavedPipelineError(
            f"the saved pipeline names {path!r}, which may not be loaded; it was not written by save_pipeline"
        )
    return found


# --- values ---------------------------------------------------------------------------------------


class _Unsavable(SavedPipelineError):
    """What cannot be written, and the way to it."""

    def __init__(self, what: str, path: tuple[str, ...] = ()) -> None:
        super().__init__(f"{'__'.join(path)}: {what}" if path else what)
        self.what, self.path = what, path


@contextmanager
def inside(*names: str) -> Iterator[None]:
    """Name a step or parameter in an error about what is written in the block.

    Raises
    ------
    SavedPipelineError
        The error of the block; ``step__parameter`` is what stands before it.
    """
    try:
        yield
    except ValueError as error:
        what, path = (error.what, error.path) if isinstance(error, _Unsavable) else (str(error), ())
        raise _Unsavable(what, (*names, *path)) from error.__cause__


def _items_to_json(values: Sequence[Any]) -> list[Any]:
    """Write the values of a list; names of pairs and of classes tell which one cannot be."""
    if len(values) == 2 and isinstance(values[0], str):
        return [to_json(value) for value in values]
    written = []
    for number, value in enumerate(values):
        pair = isinstance(value, (tuple, list)) and len(value) == 2 and isinstance(value[0], str)
        own = type(value).__name__ if hasattr(value, "get_params") else str(number)
        with inside(value[0] if pair else own):
            written.append(to_json(value))
    return written


def to_json(value: Any) -> Any:
    """Write a parameter or fitted attribute as JSON that :func:`from_json` reads back.

    Raises
    ------
    SavedPipelineError
        It has no such form; what is inside of it and cannot be written is named.
    """
    if isinstance(value, np.generic):
        return {"$scalar": [value.dtype.str, to_json(value.item())]}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, tuple):
        return {"$tuple": _items_to_json(value)}
    if isinstance(value, list):
        return _items_to_json(value)
    if isinstance(value, dict):
        return {"$dict": [[to_json(k), to_json(v)] for k, v in value.items()]}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufU":
        return {"$array": [value.dtype.str, list(value.shape), [to_json(v) for v in value.ravel().tolist()]]}
    if isinstance(value, pd.Series):
        return {"$series": [[to_json(k), to_json(v)] for k, v in value.items()]}
    if isinstance(value, pd.Index):
        return to_json(tuple(value.tolist()))
    if isinstance(value, np.dtype) and value.kind in "biufU":
        return {"$dtype": value.str}
    if isinstance(value, type):
        return class_to_json(value)
    return _function_to_json(value) or _object_to_json(value)


def _function_to_json(value: Any) -> dict[str, Any] | None:
    """Write a function that may be named, also with arguments or as a scorer; None of others."""
    address = function_address(value)
    if address is not None:
        return {"$function": address}
    if type(value) is partial and function_address(value.func) is not None:
        return {"$partial": [to_json(value.func), to_json(list(value.args)), to_json(value.keywords)]}
    parts = scorer_parts(value)
    return None if parts is None else {"$scorer": [to_json(part) for part in parts]}


def _object_to_json(value: Any) -> dict[str, Any]:
    for kind in KINDS:
        name = registry.registries[kind].name_of(value)
        if name is not None:
            return {"$value_of": [kind, name]}
    if _derives(type(value), _SPLITS):
        params = dict(vars(value))
    elif _derives(type(value), _ESTIMATORS):
        params = {name: as_given(given) for name, given in value.get_params(deep=False).items()}
    elif _derives(type(value), ("braindecode.augmentation:Transform",)):
        # It imports braindecode, as whoever made one did.
        from biot_bd.training.sampling.augmentation import transform_parameters

        params = transform_parameters(value)
    elif is_dataclass(value):
        params = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
    else:
        raise SavedPipelineError(f"found {_shown(value)}, which cannot be written as plain data; {_instead(value)}")
    return {"$object": (cls := class_to_json(type(value))), "params": _params_to_json(params, _of_run(cls))}


def _of_run(cls: Mapping[str, Any]) -> bool:
    """Return whether a written class is a callback that no loading takes over."""
    return reaches_out(str(cls.get("$class")))


def _params_to_json(params: Mapping[str, Any], partly: bool) -> dict[str, Any]:
    """Write parameters by name, perhaps without those that cannot be written."""
    written = {}
    for name, value in params.items():
        try:
            with inside(name):
                written[name] = to_json(value)
        except SavedPipelineError:
            if not partly:
                raise
    return written


def _shown(value: Any) -> str:
    name = getattr(value, "__qualname__", None)
    if name is None or isinstance(value, type):
        text = repr(value)
        return f"{type(value).__name__}" if "\n" in text or len(text) > 100 else text
    return f"the function {name} of {getattr(value, '__module__', None)}"


def _instead(value: Any) -> str:
    if callable(value) and not hasattr(value, "get_params"):
        return (
            "no code is saved: take a class of a plugin, or what names and numbers describe, as "
            "LRScheduler('ExponentialLR', gamma=0.9)"
        )
    return "take numbers, texts, or a class that a plugin registers"


def plain_dtype(text: Any, kinds: str = "biufU") -> np.dtype[Any]:
    """Return the dtype that a text names: of numbers or texts, of a size that a value may have.

    Raises SavedPipelineError of others: one of them may be as large as memory.
    """
    try:
        found = np.dtype(str(text))
    except TypeError as error:
        raise SavedPipelineError(f"the saved pipeline names the dtype {text!r}, which does not exist") from error
    if found.kind not in kinds or found.itemsize > LONGEST_TEXT_BYTES:
        raise SavedPipelineError(f"the saved pipeline names the dtype {text!r}, expected one of numbers or texts")
    return found


READERS: dict[str, Callable[[Any], Any]] = {
    "$value_of": lambda content: class_from_json({"$registered": content}),
    "$float": float,
    "$tuple": lambda content: tuple(from_json(content)),
    "$dict": lambda content: {from_json(k): from_json(v) for k, v in content},
    "$series": lambda content: pd.Series([from_json(v) for _, v in content], index=[from_json(k) for k, _ in content]),
    "$scalar": lambda content: plain_dtype(content[0]).type(from_json(content[1])),
    "$array": lambda content: np.array(from_json(content[2]), dtype=plain_dtype(content[0])).reshape(content[1]),
    "$dtype": plain_dtype,
    "$function": named_function,
    "$partial": lambda content: partial(
        named_function(content[0]["$function"]), *from_json(content[1]), **from_json(content[2])
    ),
    "$scorer": lambda content: scorer_of(named_function(content[0]["$function"]), *map(from_json, content[1:])),
}
"""How the content of a tagged entry is read; entries of classes and objects aside."""


def from_json(value: Any) -> Any:
    """Return the value that :func:`to_json` wrote; raises as :func:`class_from_json` does."""
    if isinstance(value, list):
        return [from_json(v) for v in value]
    if not isinstance(value, dict):
        return value
    _check_alone(value)
    if "$object" in value:
        return build(value["$object"], value["params"])
    if "$class" in value or "$registered" in value:
        return class_from_json(value)
    (tag, content), *_ = value.items()
    if tag not in READERS:
        raise SavedPipelineError(
            f"the saved pipeline holds an unknown entry {tag!r}; it was written by another version"
        )
    return READERS[tag](content)


def build(cls: dict[str, Any], params: dict[str, Any]) -> Any:
    """Build the object of a named class from its written parameters.

    Only of the kinds that :func:`to_json` writes as objects: a network or an optimizer is never a
    parameter.
    """
    found = class_from_json(cls)
    if (
        not isinstance(found, type)
        or not (is_dataclass(found) or _derives(found, _BUILT))
        or reaches_out(f"{found.__module__}:{found.__qualname__}")
    ):
        raise SavedPipelineError(
            f"the saved pipeline asks for an object of {cls}, which may not be built on loading; "
            "it was not written by save_pipeline"
        )
    return found(**{k: from_json(v) for k, v in params.items()})


def load_transformer(spec: Mapping[str, Any]) -> Any:
    """Build a fitted transformer of its saved step."""
    step = build(spec["class"], spec["params"])
    for key, value in spec["fitted"].items():
        setattr(step, key, from_json(value))
    return step
