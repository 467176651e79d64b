"""Small questions that ``BIOTClassifier`` asks of its parameters and of the two sides of its
split.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.class_weight import compute_class_weight
from torch.utils.data import Subset

from biot_bd.models.inference_plan import PRECISIONS
from biot_bd.training.labels import given_labels, other_kind
from biot_bd.training.seen_windows import SEEN_SUBJECTS


def resolve_device(device: Any) -> Any:
    """Return the device that ``"auto"`` or None (torch's default) means; others as they are."""
    if device is None:
        return str(torch.get_default_device())
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def plain_scalar(value: Any) -> Any:
    """Return a scalar of numpy as Python's; other values as they are."""
    return value.item() if isinstance(value, np.generic) else value


def uncompiled(module: Any) -> Any:
    """Return the module itself where it is compiled."""
    return getattr(module, "_orig_mod", module)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message that names what is closest to an unknown name.

    Empty where nothing is.
    """
    if (now := name.replace("person", "subject")) != name and now in known:
        return f"; it is now {now!r}"
    return "".join(f"; did you mean {near!r}?" for near in get_close_matches(name, known, n=1))


def check_device(device: Any) -> None:
    """Raise ``ValueError`` if torch cannot use a device on this machine."""
    try:
        torch.empty(0, device=resolve_device(device))
    except (RuntimeError, AssertionError, TypeError) as error:
        found = "a CUDA GPU" if torch.cuda.is_available() else "no CUDA GPU"
        raise ValueError(
            f"device={device!r} cannot be used here ({found}; {str(error).splitlines()[0]}); take 'auto' or 'cpu'"
        ) from error


def check_compiler(device: Any) -> None:
    """Raise ``ValueError`` if ``torch.compile`` lacks what it compiles with for a device.

    It would say so in the first forward pass only, and at length.
    """
    if torch.device(resolve_device(device)).type == "cuda":
        from torch.utils._triton import has_triton

        found, wanted = has_triton(), "triton and a GPU that it supports"
    else:
        from torch._inductor.cpp_builder import get_cpp_compiler

        wanted = "a C++ compiler (g++, or what the variable CXX names)"
        try:
            found = bool(get_cpp_compiler())
        except RuntimeError:
            found = False
    if not found:
        raise ValueError(
            f"compile=True needs {wanted} on {device!r}, which is not here; install it or take compile=False"
        )


def launched_processes() -> int:
    """Return how many processes a launcher (torchrun, accelerate) says that it started."""
    said = os.environ.get("WORLD_SIZE", "")
    return int(said) if said.isdecimal() else 1


def resolve_optimizer(optimizer: Any) -> Any:
    """Return the class that a name in ``torch.optim`` stands for; a class as it is.

    Raises
    ------
    ValueError
        No optimizer of that name; the message lists them.
    """
    if not isinstance(optimizer, str):
        if callable(optimizer):
            return optimizer
        raise ValueError(f"optimizer must be a class of torch.optim or its name, found {optimizer!r}")
    base = torch.optim.Optimizer
    classes = inspect.getmembers(torch.optim, inspect.isclass)
    known = {name: cls for name, cls in classes if issubclass(cls, base) and cls is not base}
    if optimizer in known:
        return known[optimizer]
    raise ValueError(
        f"optimizer={optimizer!r} is not known; there are {', '.join(known)}{did_you_mean(optimizer, known)}"
    )


def check_names(prefix: str, made: Any, given: Mapping[str, Any], leave: Sequence[str] = ()) -> None:
    """Raise if a parameter with a prefix is none that the constructor has.

    Parameters
    ----------
    prefix : str
        Of the parameters, e.g. ``"optimizer"``.
    made : class, callable or object
        What they are for; of an object its class counts.
    given : mapping
        Parameters by name, without the prefix.
    leave : sequence of str
        Names that somebody else understands.

    Raises
    ------
    ValueError
        Names the parameter and those that there are.
    """
    made = made if isinstance(made, type) or inspect.isroutine(made) else type(made)
    known = inspect.signature(made).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    unknown = [name for name in given if name.partition("__")[0] not in (*known, *leave)]
    if unknown:
        names = ", ".join(f"{prefix}__{name}" for name in known if name != "params")
        raise ValueError(f"{prefix}__{unknown[0]}: {made.__name__} takes {names or 'no parameters'}")


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_disabled(callbacks: Any) -> bool:
    return isinstance(callbacks, str) and callbacks == "disable"


def _is_callback(value: Any) -> bool:
    return hasattr(value, "on_train_begin")  # skorch is not imported for it: a scorer does without


_SETTINGS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "lr": ("a number of at least 0", lambda v: isinstance(v, torch.Tensor) or (_is(v, Real) and 0 <= v < math.inf)),
    "max_epochs": ("a whole number of epochs", lambda v: _is(v, Integral) and v >= 0),
    "batch_size": ("a positive whole number, or -1 for all", lambda v: _is(v, Integral) and (v >= 1 or v == -1)),
    "patience": ("a positive number of epochs or None", lambda v: v is None or (_is(v, Integral) and v >= 1)),
    "gradient_clip_norm": ("positive or None", lambda v: v is None or (_is(v, Real) and v > 0)),
    "validation_fraction": ("a number between 0 and 1", lambda v: _is(v, Real)),
    "monitor": ("the name of a column of the history", lambda v: isinstance(v, str)),
    "verbose": ("a whole number (1 prints a line an epoch)", lambda v: isinstance(v, Integral)),
    "callbacks": (
        'a callback, or a list of callbacks and names, e.g. ["accuracy"]',
        lambda v: v is None or isinstance(v, (list, tuple)) or _is_callback(v) or _is_disabled(v),
    ),
    "precision": (f"one of auto, {', '.join(PRECISIONS)}", lambda v: v in ("auto", *PRECISIONS)),
    "data_on_device": ("'auto', False or True", lambda v: isinstance(v, bool) or (isinstance(v, str) and v == "auto")),
    "seen_subjects": ("'raise', 'warn' or 'allow'", lambda v: isinstance(v, str) and v in SEEN_SUBJECTS),
    "micro_batch": (
        "a positive whole number of windows, None (the whole batch) or 'auto'",
        lambda v: v is None or v == "auto" or (_is(v, Integral) and v >= 1),
    ),
}
"""What each setting must be, in words and as a test."""


def check_settings(values: Mapping[str, Any]) -> None:
    """Raise if a setting of the training has a wrong type or an impossible value.

    Parameters
    ----------
    values : mapping
        Parameters of a net by name; those that are not looked at are left alone.

    Raises
    ------
    ValueError
        Names the parameter, what it must be and what it is.
    """
    for name, (what, fits) in _SETTINGS.items():
        if name in values and not fits(values[name]):
            raise ValueError(f"{name} must be {what}, found {values[name]!r}")


def subject_codes(
    groups: ArrayLike | None, n: int, taker: str, or_else: str = ""
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the names of all subjects, sorted, and the position of each window's subject among
    them.

    Parameters
    ----------
    groups : array-like, shape (n,), or None
        Subject of each window.
    n : int
        Windows.
    taker : str
        What needs the subjects.
    or_else : str
        What one may do where there are none, beside naming them.

    Raises
    ------
    ValueError
        Subjects are unknown, not one a window, or missing for a window.
    """
    if groups is None:
        raise ValueError(
            f"{taker} needs the subject of each training window, and the data carry none: use Windows, or pass "
            f"fit(X, y, groups=subjects), or a SubjectArray (biot_bd.signals){or_else}"
        )
    subjects = np.asarray(groups, dtype=object)
    if subjects.shape != (n,):
        raise ValueError(
            f"{taker}: groups must name one subject a window: expected shape ({n},), found {subjects.shape}"
        )
    codes, found = pd.factorize(subjects)  # a look a subject, not a window: there may be millions
    empty = [i for i, subject in enumerate(found) if subject == ""]
    missing = np.isin(codes, [-1, *empty])
    if missing.any():
        window = int(np.argmax(missing))
        raise ValueError(f"{taker}: training window {window} has no subject in groups ({subjects[window]!r})")
    names, positions = np.unique([str(subject) for subject in found], return_inverse=True)
    return names, positions.reshape(-1)[codes]


def subjects_of(side: Subset | None, groups: ArrayLike | None) -> tuple[str, ...]:
    """Return the subjects of one side of a split, sorted; none where they are unknown."""
    if side is None or groups is None:
        return ()
    return tuple(sorted({str(subject) for subject in np.asarray(groups, dtype=object)[side.indices]}))


def check_sides(train: Subset, valid: Subset, classes: NDArray[Any], monitor: str | None) -> None:
    """Raise if a class is missing where it is needed.

    Parameters
    ----------
    train, valid : torch.utils.data.Subset
        Of a data set with ``y`` (positions in ``classes``).
    classes : ndarray
        Labels.
    monitor : str or None
        Score that needs every class in validation, if there is one.

    Raises
    ------
    ValueError
        Names the side and the class.
    """
    sides = [("training", train, "")]
    if monitor is not None:
        sides.append(("validation", valid, f"so {monitor} is not defined; "))
    y = np.asarray(train.dataset.y)  # type: ignore[attr-defined]
    for name, side, hint in sides:
        missing = sorted(set(np.unique(y)) - set(y[side.indices]))
        if missing:
            absent = ", ".join(repr(classes.tolist()[i]) for i in missing)
            raise ValueError(
                f"the {name} side ({len(side)} windows) has no window of class {absent}, {hint}"
                "choose other validation subjects, or train_split=None for a fixed number of epochs"
            )


def class_weights(
    class_weight: Any,
    classes: NDArray[Any],
    y: NDArray[np.int64],
    counts: Sequence[float],
    given: Iterable[Any] | None = None,
) -> list[float] | None:
    """Return one weight a class, or None.

    Parameters
    ----------
    class_weight : None, "balanced", mapping or Series by label, or sequence
        As given to the classifier; labels left out of a mapping weigh 1.
    classes : ndarray, shape (n_classes,)
        Labels.
    y : ndarray of int, shape (n,)
        Training targets, positions in ``classes``.
    counts : sequence of float, shape (n_classes,)
        How often each class is seen in an epoch.
    given : iterable, optional
        Labels in the order of a sequence of weights; sorted by default.

    Raises
    ------
    ValueError
        Wrong number of weights, negative ones, unknown labels, or ``"balanced"`` and a class
        without windows.
    """
    if class_weight is None:
        return None
    labels = classes.tolist()
    if isinstance(class_weight, str):
        if len(np.unique(y)) < len(labels):
            raise ValueError(f"class_weight={class_weight!r}: a class has no training windows")
        numbers = np.arange(len(labels))
        return compute_class_weight(class_weight, classes=numbers, y=numbers, sample_weight=counts).tolist()
    by_label = _weights_by_label(class_weight, sorted(labels) if given is None else given_labels(given).tolist())
    unknown = [label for label in by_label if label not in labels]
    if unknown:
        raise ValueError(
            f"class_weight names {', '.join(map(repr, unknown))}, which are not among classes={sorted(labels)}"
            + ("; texts and numbers are different labels" if other_kind(unknown, classes) else "")
        )
    if not all(math.isfinite(w) and w >= 0 for w in by_label.values()):
        raise ValueError(f"class_weight must hold {len(labels)} numbers >= 0, one a class; found {by_label}")
    return [by_label.get(label, 1.0) for label in labels]


def _weights_by_label(class_weight: Any, labels: list[Any]) -> dict[Any, float]:
    """Return the weights that are given, by label; a sequence has them in the order of
    ``labels``.
    """
    if isinstance(class_weight, pd.Series):
        if not class_weight.index.is_unique:
            raise ValueError(f"class_weight names a label twice: {class_weight.index.tolist()}")
        class_weight = class_weight.to_dict()
    try:
        if isinstance(class_weight, Mapping):
            return {label: float(weight) for label, weight in class_weight.items()}
        if isinstance(class_weight, (set, frozenset, pd.DataFrame)) or np.ma.is_masked(class_weight):
            raise TypeError(f"a {type(class_weight).__name__} says not which weight is whose")
        weights = [float(weight) for weight in class_weight]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"class_weight must be 'balanced', numbers by label or one a class, found {class_weight!r} ({error})"
        ) from error
    if len(weights) != len(labels):
        raise ValueError(f"class_weight must hold {len(labels)} numbers >= 0, one a class; found {weights}")
    return dict(zip(labels, weights, strict=True))
