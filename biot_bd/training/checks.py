"""Small questions that ``BIOTClassifier`` asks of its parameters and of the two sides of its split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.class_weight import compute_class_weight
from torch.utils.data import Subset

__all__ = ["check_sides", "class_weights", "persons_of", "resolve_device"]


def resolve_device(device: Any) -> Any:
    """Return the device that ``"auto"`` stands for; other devices as they are."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def persons_of(side: Subset | None, groups: ArrayLike | None) -> tuple[str, ...]:
    """Return the persons of one side of a split, sorted; none where they are unknown."""
    if side is None or groups is None:
        return ()
    return tuple(sorted({str(person) for person in np.asarray(groups, dtype=object)[side.indices]}))


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
                "choose other validation persons, or train_split=None for a fixed number of epochs"
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
