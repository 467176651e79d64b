"""Labels of windows: read and checked, their order, and which one is the positive class.

A label's place says nothing of what it means.  ``classes_`` and the columns of ``predict_proba``
are sorted, as scikit-learn expects of every classifier; the outputs of a network are in an order of
their own, with the positive class last of two, so that what counts by position (losses, samplers,
scores by epoch) means the same whatever order ``classes`` were given in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from biot_bd.events.texts import Meaning, meaning_of

_HOW = "give BIOTClassifier(classes=...) all labels, or classes=None to take them from y"


def read_labels(y: Any, what: str = "labels") -> NDArray[Any]:
    """Return labels as a plain array.

    Parameters
    ----------
    y : array-like, shape (n,) or (n, 1)
        Whole numbers, booleans or texts, also as a Series, categories or a tensor.
    what : str
        What they are, in messages.

    Returns
    -------
    ndarray, shape (n,)
        Of booleans, numbers or ``str``.

    Raises
    ------
    ValueError
        A label is missing (``None``, NaN, ``pd.NA``, masked), a fraction or infinite; numbers and
        texts are mixed; there are several columns; or they are neither numbers nor texts.

    See Also
    --------
    encode_labels : Positions of labels among the classes.

    Examples
    --------
    >>> import pandas as pd
    >>> from biot_bd.training.labels import read_labels
    >>> read_labels(pd.Series(["sz", "bckg"], dtype="category")).tolist()
    ['sz', 'bckg']
    >>> read_labels([0, None])
    Traceback (most recent call last):
    ...
    ValueError: labels: number 1 is missing (None); leave such windows out, or label them
    """
    masked = np.ma.getmaskarray(y) if np.ma.isMaskedArray(y) else None
    found = np.asarray(y)
    if found.dtype.kind == "T" or (found.dtype.kind == "U" and isinstance(y, (list, tuple))):
        found = np.asarray(y, dtype=object)  # numpy makes texts of the numbers beside texts
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise ValueError(
            f"{what} must be one label a window, shape (n,); found shape {found.shape}"
            + ("; of one-hot rows take y.argmax(axis=1)" if found.ndim == 2 else "")
        )
    missing = pd.isna(found) if masked is None else masked.reshape(-1) | pd.isna(found)
    if missing.any():
        at = int(np.argmax(missing))
        shown = "masked" if masked is not None and masked.reshape(-1)[at] else repr(found[at : at + 1].tolist()[0])
        raise ValueError(f"{what}: number {at} is missing ({shown}); leave such windows out, or label them")
    if found.dtype.kind == "O":
        found = _plain(found, what)
    if found.dtype.kind not in "biufU":
        raise ValueError(f"{what} must be whole numbers or texts, found dtype {found.dtype}")
    if found.dtype.kind == "f":
        whole = np.isfinite(found) & (found == np.round(found))
        if not whole.all():
            raise ValueError(
                f"{what} must be classes, found the number {float(found[np.argmin(whole)])!r}: continuous targets "
                "cannot be classified; turn them into classes, e.g. (y >= 0.5).astype(int)"
            )
    return found


def _plain(found: NDArray[Any], what: str) -> NDArray[Any]:
    """Return objects as an array of what they are, all numbers or all texts."""
    items = found.tolist()
    texts = {isinstance(item, str) for item in items}
    if len(texts) > 1:
        one = next(item for item in items if not isinstance(item, str))
        other = next(item for item in items if isinstance(item, str))
        raise ValueError(f"{what} are numbers and texts ({one!r} and {other!r}); make them all of one kind")
    return np.array(items) if items else found.astype(int)


def output_labels(classes: Iterable[Any] | None, y: ArrayLike | None = None) -> NDArray[Any]:
    """Return the labels in the order of a network's outputs.

    Parameters
    ----------
    classes : iterable or None
        As given to the classifier, in any order; None takes those of ``y``, sorted.
    y : array-like, shape (n,), optional
        Labels of the training windows.

    Returns
    -------
    ndarray, shape (n_classes,)
        Of two, the positive one last: the greater number; of texts the one that names a seizure
        where the other does not, else the last one of ``classes``.  More than two are in the order
        of ``classes``.

    Raises
    ------
    ValueError
        A class is named twice, or is no label (see :func:`read_labels`).

    See Also
    --------
    positive_label : The positive one of two.

    Examples
    --------
    >>> from biot_bd.training.labels import output_labels
    >>> output_labels((1, 0)).tolist(), output_labels(("seizure", "background")).tolist()
    ([0, 1], ['background', 'seizure'])
    """
    if classes is None:
        labels = np.unique(read_labels(y))
    else:
        labels = given_labels(classes)
    if len(labels) == 2 and labels[0] == positive_label(labels):
        labels = labels[::-1].copy()
    return labels


def given_labels(classes: Iterable[Any]) -> NDArray[Any]:
    """Return ``classes`` in the order given, checked; raises ``ValueError``."""
    if isinstance(classes, str) or not isinstance(classes, Iterable):
        raise ValueError(f"classes must be a sequence of labels, or None, found {classes!r}")
    unordered = isinstance(classes, (set, frozenset))
    labels = read_labels(sorted(classes, key=str) if unordered else classes, "classes")
    if len(set(labels.tolist())) != len(labels):
        raise ValueError(f"classes must name each label once, found {labels.tolist()}")
    return labels


def positive_label(classes: NDArray[Any]) -> Any:
    """Return the positive one of two classes (see :func:`output_labels`), else None.

    Parameters
    ----------
    classes : ndarray, shape (n_classes,)
        In the order given, or in that of the outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.training.labels import positive_label
    >>> positive_label(np.array([1, 0])), positive_label(np.array(["ictal", "normal"]))
    (1, 'ictal')
    """
    if len(classes) != 2:
        return None
    pair = classes.tolist()
    if not isinstance(pair[0], str):
        return max(pair)
    for meaning in (Meaning.SEIZURE, Meaning.UNCLEAR):  # "ictal" alone is unclear in an annotation
        found = [label for label in pair if meaning_of(label) is meaning]
        if len(found) == 1:
            return found[0]
    return pair[1]


def sorted_columns(proba: NDArray[Any], outputs: NDArray[Any]) -> NDArray[Any]:
    """Return probabilities of a network's outputs in the order of the sorted labels.

    Parameters
    ----------
    proba : ndarray, shape (n, n_classes)
        Columns as in ``outputs``.
    outputs : ndarray, shape (n_classes,)
        Labels.
    """
    order = np.argsort(outputs)
    return proba if (order == np.arange(len(order))).all() else proba[:, order]


def decide(proba: NDArray[Any], classes: NDArray[Any], positive: Any, threshold: float | None) -> NDArray[Any]:
    """Return the label of each window.

    Parameters
    ----------
    proba : ndarray, shape (n, n_classes)
        Columns as in ``classes``.
    classes : ndarray, shape (n_classes,)
        Sorted labels.
    positive : label or None
        What ``threshold`` is the least probability of.
    threshold : float or None
        None, or no positive label: the most probable one.
    """
    if threshold is None or positive is None:
        return classes[proba.argmax(axis=1)]
    at = classes.tolist().index(positive)
    return classes[np.where(proba[:, at] >= threshold, at, 1 - at)]


def encode_labels(y: Any, classes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the position of each label in ``classes``.

    Parameters
    ----------
    y : array-like, shape (n,)
        Labels: numbers or strings.
    classes : ndarray, shape (n_classes,)
        Known labels.

    Raises
    ------
    ValueError
        A label is unknown, or no label (see :func:`read_labels`).
    """
    labels = read_labels(y).tolist()
    position = {label: i for i, label in enumerate(classes.tolist())}
    unknown = [label for label in dict.fromkeys(labels) if label not in position]
    if unknown:
        shown = ", ".join(repr(label) for label in unknown[:5])
        raise ValueError(
            f"labels {shown} are not among classes={classes.tolist()}; {other_kind(unknown, classes) or _HOW}"
        )
    return np.fromiter((position[label] for label in labels), dtype=np.int64, count=len(labels))


def other_kind(unknown: Iterable[Any], classes: NDArray[Any]) -> str:
    """Say what to do where labels are texts of the numbers in ``classes``, or the other way
    round; else return nothing.
    """
    names = {str(label) for label in classes.tolist()}
    if not all(str(label) in names for label in unknown):
        return ""
    found, wanted = ("numbers", "texts") if classes.dtype.kind == "U" else ("texts", "numbers")
    return f"they are {found} where the classes are {wanted}: make both of one kind, e.g. y.astype({'str' if wanted == 'texts' else 'int'})"


class LabelsOf:
    """Turn positions among a network's outputs into labels, for scorers that compare these with
    predictions.

    Parameters
    ----------
    outputs : ndarray, shape (n_classes,)
        Labels.
    """

    def __init__(self, outputs: NDArray[Any]) -> None:
        self.outputs = outputs

    def __call__(self, y: Any) -> NDArray[Any]:
        """Return the labels of positions, shape (n,); of soft targets those of the most voted."""
        positions = np.asarray(y)
        if positions.ndim == 2:
            positions = positions.argmax(axis=1)
        return self.outputs[positions.astype(np.int64)]
