"""What all checks share: the error, requirements, parameters of a constructor."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Mapping
from typing import Any

from biot_bd.exceptions import ConformanceError

#: Name of the check for each registry: what a plugin registers there must pass it.
CHECKS = {
    "datasets": "check_dataset",
    "readers": "check_reader",
    "montages": "check_montage",
    "label_rules": "check_label_rule",
    "models": "check_model",
    "losses": "check_loss",
    "metrics": "check_metric",
    "probes": "check_probe",
    "callbacks": "check_callback",
    "objectives": "check_objective",
    "exporters": "check_exporter",
    "engines": "check_engine",
    "frozen_probes": "check_frozen_probe",
    "model_stores": "check_model_store",
}


def require(kept: Any, message: str) -> None:
    """Raise :class:`ConformanceError` with ``message`` unless ``kept`` is true."""
    if not kept:
        raise ConformanceError(message)


def describe(obj: Any) -> str:
    """Return a short name of ``obj`` for messages."""
    return getattr(obj, "__qualname__", None) or type(obj).__name__


def attempt(what: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call ``function``.

    Turn any exception into a :class:`ConformanceError` that says what was being done.
    """
    try:
        return function(*args, **kwargs)
    except ConformanceError:
        raise
    except Exception as error:
        raise ConformanceError(f"{what} raised {type(error).__name__}: {error}") from error


def parameters_of(cls: Any, name: str) -> dict[str, inspect.Parameter]:
    """Return the parameters of a constructor by name; each of them must have one."""
    # A class without a constructor of its own shows that of its base: (*args, **kwargs) for torch's
    # modules.
    if cls.__init__ is object.__init__ or getattr(cls.__init__, "__module__", "") == "torch.nn.modules.module":
        return {}
    found = dict(inspect.signature(cls).parameters)
    for parameter in found.values():
        require(
            parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD),
            f"{name}: the constructor takes {parameter}; name every parameter, so that a misspelt one raises",
        )
    return found


def refused(what: str, error: type[Exception], function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Raise :class:`ConformanceError` unless ``function`` raises ``error``.

    ``what`` says what it is called with.
    """
    try:
        function(*args, **kwargs)
    except error:
        return
    except Exception as other:
        raise ConformanceError(f"{what} must raise {error.__name__}, got {type(other).__name__}: {other}") from other
    raise ConformanceError(f"{what} must raise {error.__name__}; nothing was raised")


def require_subclass(cls: Any, base: type, base_name: str) -> str:
    """Return the name of a class for messages; raise unless it is a subclass of ``base``."""
    name = describe(cls)
    found = inspect.isclass(cls) and issubclass(cls, base)
    require(found, f"{name}: expected a subclass of {base_name}, got {cls!r}")
    return name


def build(cls: Any, parameters: Mapping[str, Any] | None = None, *, supplied: Mapping[str, Any] | None = None) -> Any:
    """Check that ``cls`` has a plain constructor and build an instance.

    Parameters
    ----------
    cls : type
        The class under test.
    parameters : mapping, optional
        Values for constructor parameters that have no default, or that the test wants otherwise.
    supplied : mapping, optional
        Values that the package itself hands over; those the constructor does not name are left out.

    Raises
    ------
    ConformanceError
        ``cls`` is no class, takes ``*args`` or ``**kwargs``, lacks a default or cannot be built.
    """
    name = describe(cls)
    require(inspect.isclass(cls), f"{name}: expected a class to register, got an instance of {type(cls).__name__}")
    given = dict(parameters or {})
    known = parameters_of(cls, name)
    for key, parameter in known.items():
        require(
            parameter.kind is not parameter.POSITIONAL_ONLY,
            f"{name}: parameter {key!r} is positional only; parameters are set by keyword",
        )
    unknown = sorted(set(given) - set(known))
    require(not unknown, f"{name}: the constructor has no parameter {unknown}; it has {sorted(known)}")
    given = {key: value for key, value in (supplied or {}).items() if key in known} | given
    missing = [key for key, p in known.items() if p.default is p.empty and key not in given]
    require(
        not missing, f"{name}: parameters without default: {missing}; give them defaults or pass parameters={{...}}"
    )
    return attempt(f"{name}({', '.join(f'{k}={v!r}' for k, v in given.items())})", cls, **given)


def pickled(obj: Any, what: str) -> Any:
    """Return ``obj`` after a trip through pickle, as worker processes see it."""
    text = attempt(f"{what}: pickling (worker processes get copies)", pickle.dumps, obj)
    return attempt(f"{what}: unpickling", pickle.loads, text)
