"""Small questions that ``BIOTClassifier`` asks of its parameters and of the two sides of its split."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.class_weight import compute_class_weight
from torch.utils.data import Subset


def resolve_device(device: Any) -> Any:
    """Return the device that ``"auto"`` stands for; other devices as they are."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def uncompiled(module: Any) -> Any:
    """Return the module itself where it is compiled."""
    return getattr(module, "_orig_mod", module)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message that names what is closest to an unknown name; empty where nothing is."""
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
    known = {
        name: value
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, base) and value is not base
    }
    if optimizer in known:
        return known[optimizer]
    raise ValueError(
        f"optimizer={optimizer!r} is not known; there are {', '.join(sorted(known))}{did_you_mean(optimizer, known)}"
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


def check_settings(values: Mapping[str, Any]) -> None:
    """Raise if a setting of the training has a wrong type or an impossible value.

    Parameters
    ----------
    values : mapping
        Parameters of the classifier by name; those that are not looked at are left alone.

    Raises
    ------
    ValueError
        Names the parameter, what it must be and what it is.
    """
    rate, clip = values["lr"], values["gradient_clip_norm"]
    patience, callbacks = values["patience"], values["callbacks"]
    if not isinstance(rate, torch.Tensor) and not (_is(rate, Real) and math.isfinite(rate) and rate >= 0):
        raise ValueError(f"lr must be a number of at least 0, found {rate!r}")
    if not _is(values["max_epochs"], Integral) or values["max_epochs"] < 0:
        raise ValueError(f"max_epochs must be a whole number of epochs, found {values['max_epochs']!r}")
    if not _is(values["batch_size"], Integral) or (values["batch_size"] < 1 and values["batch_size"] != -1):
        raise ValueError(f"batch_size must be a positive whole number, or -1 for all, found {values['batch_size']!r}")
    if patience is not None and (not _is(patience, Integral) or patience < 1):
        raise ValueError(f"patience must be a positive number of epochs or None, found {patience!r}")
    if clip is not None and not (_is(clip, Real) and clip > 0):
        raise ValueError(f"gradient_clip_norm must be positive or None, found {clip!r}")
    if not _is(values["validation_fraction"], Real):
        raise ValueError(
            f"validation_fraction must be a number between 0 and 1, found {values['validation_fraction']!r}"
        )
    if not isinstance(values["monitor"], str):
        raise ValueError(f"monitor must be the name of a column of the history, found {values['monitor']!r}")
    if not isinstance(values["verbose"], Integral):
        raise ValueError(f"verbose must be a whole number (1 prints a line an epoch), found {values['verbose']!r}")
    if isinstance(callbacks, (str, Mapping)) and callbacks != "disable":
        raise ValueError(f'callbacks must be a list, e.g. ["name"], found {callbacks!r}')


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


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
    class_weight: Any, classes: NDArray[Any], y: NDArray[np.int64], counts: Sequence[float] | None = None
) -> list[float] | None:
    """Return one weight a class, or None.

    Parameters
    ----------
    class_weight : None, "balanced", mapping from labels, or sequence
        As given to the classifier; labels left out of a mapping weigh 1.
    classes : ndarray, shape (n_classes,)
        Labels.
    y : ndarray of int, shape (n,)
        Training targets, positions in ``classes``.
    counts : sequence of float, shape (n_classes,), optional
        How often each class is seen in an epoch, where that is not how often it is in ``y``.

    Raises
    ------
    ValueError
        Wrong number of weights, negative ones, unknown labels, or ``"balanced"`` and a class without windows.
    """
    if class_weight is None:
        return None
    labels = classes.tolist()
    if isinstance(class_weight, str):
        if len(np.unique(y)) < len(labels):
            raise ValueError(f"class_weight={class_weight!r}: a class has no training windows")
        if counts is None:
            return compute_class_weight(class_weight, classes=np.arange(len(labels)), y=y).tolist()
        numbers = np.arange(len(labels))
        return compute_class_weight(class_weight, classes=numbers, y=numbers, sample_weight=counts).tolist()
    if isinstance(class_weight, Mapping):
        unknown = sorted(str(label) for label in set(class_weight) - set(labels))
        if unknown:
            raise ValueError(f"class_weight names {', '.join(unknown)}, which are not among classes={labels}")
        weights = [float(class_weight.get(label, 1.0)) for label in labels]
    else:
        weights = [float(w) for w in class_weight]
    if len(weights) != len(labels) or not all(math.isfinite(w) and w >= 0 for w in weights):
        raise ValueError(f"class_weight must hold {len(labels)} numbers >= 0, one a class; found {weights}")
    return weights
