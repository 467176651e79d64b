"""Recalibration: a curve from a model's probabilities to better calibrated ones, fitted on
validation subjects.

scikit-learn's ``CalibratedClassifierCV`` fits the curve around a frozen model; here it is kept as
plain numbers, so that it can be stored as JSON beside the model (nothing is pickled) and applied to
probabilities of any source: windows, stored predictions, a stream.  Test subjects have no way in:
all fitting takes the validation part only.

References
----------
Platt, Probabilistic outputs for support vector machines, 1999 (``"sigmoid"``).
Zadrozny and Elkan, Transforming classifier scores into accurate multiclass probability estimates,
KDD 2002 (``"isotonic"``).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from biot_bd.evaluation.fold import probabilities
from biot_bd.evaluation.metrics.calibration import checked
from biot_bd.events.detector import RECALIBRATION_FILE
from biot_bd.json_values import naming
from biot_bd.models.checkpoints.provenance import Provenance
from biot_bd.runs import read_json, write_json
from biot_bd.windows import Windows

METHODS = ("sigmoid", "isotonic")
FEW_ISOTONIC = 1000
"""Below so many windows a step curve follows the noise (scikit-learn's guide)."""


@dataclass(frozen=True)
class Recalibration:
    """A monotone curve of probabilities.

    Parameters
    ----------
    method : {"sigmoid", "isotonic"}
        ``1 / (1 + exp(a p + b))``, or linear interpolation between knots.
    x, y : tuple of float
        Of ``"isotonic"``: knots, ascending; beyond them the curve is level.
    a, b : float or None
        Of ``"sigmoid"``.
    subjects : tuple of str
        Validation subjects it was fitted on.
    n_windows, n_seizure_windows : int
        Their windows.

    See Also
    --------
    recalibrate : Fits one.

    Examples
    --------
    >>> from biot_bd.evaluation import Recalibration
    >>> curve = Recalibration("isotonic", x=(0.0, 0.5, 1.0), y=(0.0, 0.1, 1.0))
    >>> curve([0.25, 0.75]).tolist()
    [0.05, 0.55]
    """

    method: str
    a: float | None = None
    b: float | None = None
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    subjects: tuple[str, ...] = ()
    n_windows: int = 0
    n_seizure_windows: int = 0

    def __post_init__(self) -> None:
        numbers = [self.a, self.b] if self.method == "sigmoid" else [*self.x, *self.y]
        known = self.method in METHODS and all(value is not None and np.isfinite(value) for value in numbers)
        ordered = len(self.x) == len(self.y) and np.all(np.diff(self.x) > 0)
        if not known or not ordered or (self.method == "isotonic" and not self.x):
            raise ValueError(
                f"no curve of probabilities: method {self.method!r}, a={self.a}, b={self.b}, {len(self.x)} knots"
            )

    def __call__(self, proba: ArrayLike) -> NDArray[np.float64]:
        """Return recalibrated probabilities of class 1, of the same shape.

        Raises
        ------
        ValueError
            A probability is not finite.
        """
        p = np.asarray(proba, dtype=np.float64)
        if not np.isfinite(p).all():
            raise ValueError("probabilities that are not finite cannot be recalibrated")
        if self.a is not None and self.b is not None:
            return expit(-(self.a * p + self.b))
        return np.interp(p, self.x, self.y)

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON holds them."""
        unused = ("x", "y") if self.method == "sigmoid" else ("a", "b")
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items() if k not in unused}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Recalibration:
        """Read what :meth:`as_dict` gave.

        Raises
        ------
        ValueError
            It is no such thing.
        """
        try:
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
            if "persons" in values:  # the word of commit fb8defb
                values["subjects"] = values.pop("persons")
            return cls(**values)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"no stored recalibration: {error}") from error


class _Given(ClassifierMixin, BaseEstimator):
    """Hand on probabilities that are known already: X of shape (n, 1) holds those of class 1."""

    def __init__(self) -> None:
        self.classes_ = np.array([0, 1])

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: ArrayLike, y: ArrayLike) -> _Given:
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        proba = np.asarray(X, dtype=np.float64)[:, 0]
        return np.column_stack([1 - proba, proba])

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        return (np.asarray(X)[:, 0] >= 0.5).astype(np.int64)


def fit_recalibration(
    y_true: ArrayLike, proba: ArrayLike, method: str = "sigmoid", *, subjects: Sequence[str] = ()
) -> Recalibration:
    """Fit a curve on the windows of validation subjects.

    Parameters
    ----------
    y_true : array of shape (n_windows,)
        Labels, 0 or 1.
    proba : array of shape (n_windows,)
        The model's probabilities of class 1.
    method : {"sigmoid", "isotonic"}, default="sigmoid"
    subjects : sequence of str
        Who they are, for the record.

    Returns
    -------
    Recalibration

    Raises
    ------
    ValueError
        Unknown method, shapes that differ, probabilities outside [0, 1], or fewer than two windows
        of a class.
    """
    if method not in METHODS:
        raise ValueError(f"no recalibration {method!r}; there are {', '.join(METHODS)}")
    y, p = checked(y_true, proba)
    counts = [int((y == label).sum()) for label in (0, 1)]
    if min(counts) < 2:
        raise ValueError(
            f"recalibration needs two background and two seizure windows of validation subjects, found {counts[0]} and {counts[1]}"
        )
    # The estimator is frozen, so the folds change nothing: two are the fewest that scikit-learn
    # takes.
    fitted = CalibratedClassifierCV(FrozenEstimator(_Given()), method=method, cv=2, ensemble=False).fit(p[:, None], y)
    (calibrator,) = fitted.calibrated_classifiers_[0].calibrators
    if method == "sigmoid":
        shape: dict[str, Any] = {"a": float(calibrator.a_), "b": float(calibrator.b_)}
    else:
        shape = {"x": tuple(map(float, calibrator.X_thresholds_)), "y": tuple(map(float, calibrator.y_thresholds_))}
    return Recalibration(method, **shape, subjects=tuple(subjects), n_windows=len(y), n_seizure_windows=counts[1])


class RecalibratedClassifier(ClassifierMixin, BaseEstimator):
    """A fitted classifier with recalibrated probabilities.

    Parameters
    ----------
    estimator : fitted classifier
        With ``predict_proba`` and the classes 0 and 1.
    recalibration : Recalibration
        The curve that its probabilities of a seizure go through.

    See Also
    --------
    recalibrate : Makes one.

    Notes
    -----
    ``predict`` is the estimator's own: recalibration changes probabilities, not which windows are
    called a seizure. To save it, save the estimator (``save_pipeline``) and the curve beside it
    (:func:`save_recalibration`).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from biot_bd.evaluation import RecalibratedClassifier, Recalibration
    >>> model = DummyClassifier().fit(np.zeros((4, 1)), [0, 0, 0, 1])
    >>> curve = Recalibration("isotonic", x=(0.0, 1.0), y=(0.0, 0.5))
    >>> RecalibratedClassifier(model, curve).predict_proba(np.zeros((1, 1))).tolist()
    [[0.875, 0.125]]
    """

    def __init__(self, estimator: Any, recalibration: Recalibration) -> None:
        self.estimator = estimator
        self.recalibration = recalibration

    def __sklearn_is_fitted__(self) -> bool:
        check_is_fitted(self.estimator)
        return True

    @property
    def classes_(self) -> NDArray[np.int64]:
        """Labels in the order of the columns of :meth:`predict_proba`."""
        return np.array([0, 1])

    def fit(self, X: Any, y: Any = None) -> RecalibratedClassifier:
        """Raise: estimator and curve come fitted.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError("a RecalibratedClassifier comes fitted; fit the estimator and call recalibrate()")

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return recalibrated probabilities, shape ``(n, 2)``."""
        proba = self.recalibration(probabilities(self.estimator, X, type(self.estimator).__name__))
        return np.column_stack([1 - proba, proba])

    def predict(self, X: Any) -> Any:
        """Return the estimator's own labels."""
        return self.estimator.predict(X)


def recalibrate(
    estimator: Any, windows_valid: Any, y: Any = None, *, method: str = "sigmoid", groups: Any = None
) -> RecalibratedClassifier:
    """Recalibrate a fitted classifier on validation subjects.

    Parameters
    ----------
    estimator : fitted classifier
        A pipeline that ends in ``BIOTClassifier``, or any other with ``predict_proba``.
    windows_valid : Windows, array of shape (n, n_chans, n_times) or mne.Epochs
        Of subjects whom the estimator was not fitted on.
    y : array of shape (n,), optional
        Labels; ``Windows`` know theirs.
    method : {"sigmoid", "isotonic"}, default="sigmoid"
    groups : array of shape (n,), optional
        Subjects, for the record; ``Windows`` know theirs.

    Returns
    -------
    RecalibratedClassifier

    Raises
    ------
    ValueError
        Labels are missing, a subject trained the model, or as in :func:`fit_recalibration`.

    See Also
    --------
    save_recalibration : Keeps the curve beside the model.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from biot_bd.evaluation import recalibrate
    >>> X, y = np.linspace(-1, 1, 40)[:, None], np.arange(40) // 20
    >>> model = LogisticRegression().fit(X, y)
    >>> better = recalibrate(model, X, y, method="sigmoid", groups=["site/09"] * 40)
    >>> better.recalibration.subjects, better.recalibration.n_seizure_windows
    (('site/09',), 20)
    """
    if isinstance(windows_valid, Windows):
        y = windows_valid.y if y is None else y
        groups = windows_valid.groups if groups is None else groups
    if y is None:
        raise ValueError(f"{type(windows_valid).__name__} do not say their labels: pass y=")
    subjects = [] if groups is None else sorted({str(subject) for subject in groups})
    last = getattr(estimator, "steps", [(None, estimator)])[-1][1]
    trained = set(map(str, getattr(last, "train_subjects_", ())))
    provenance = getattr(last, "provenance_", None)
    if isinstance(windows_valid, Windows) and isinstance(provenance, Provenance):  # under other names, too
        digests = windows_valid.recordings["digest"].dropna()
        subjects_there = {subject for digest in digests for subject in provenance.saw_recording(digest)}
    else:
        subjects_there = set()
    if both := sorted((set(subjects) | subjects_there) & trained):
        raise ValueError(f"{', '.join(both[:5])} trained the model; recalibrate on subjects that it was not fitted on")
    proba = probabilities(estimator, windows_valid, type(estimator).__name__)
    return RecalibratedClassifier(estimator, fit_recalibration(y, proba, method, subjects=subjects))


def recalibrate_predictions(
    predictions: pd.DataFrame, method: str = "sigmoid"
) -> tuple[pd.DataFrame, dict[int, Recalibration], dict[int, str]]:
    """Recalibrate a run's stored predictions, each fold by a curve fitted on that fold's
    validation subjects.

    Parameters
    ----------
    predictions : DataFrame
        ``predictions.parquet`` of a run: ``fold``, ``part``, ``subject``, ``y_true``, ``proba``.
    method : {"sigmoid", "isotonic"}, default="sigmoid"

    Returns
    -------
    test : DataFrame
        The test windows of the folds that have a curve, ``proba`` replaced.  ``threshold`` is left
        as it was: it belongs to the probabilities before.
    curves : dict of int to Recalibration
        By fold.
    left_out : dict of int to str
        Folds without a curve, and why.

    Raises
    ------
    ValueError
        Unknown method, or a probability is out of range.
    """
    if method not in METHODS:
        raise ValueError(f"no recalibration {method!r}; there are {', '.join(METHODS)}")
    curves: dict[int, Recalibration] = {}
    left_out: dict[int, str] = {}
    parts = []
    for number, part in predictions.groupby("fold"):
        fold, valid = int(str(number)), part[part["part"] == "valid"]
        counts = [int((valid["y_true"] == label).sum()) for label in (0, 1)]
        if min(counts) < 2:
            left_out[fold] = f"validation subjects have {counts[0]} background and {counts[1]} seizure windows"
            continue
        subjects = sorted(valid["subject"].astype(str).unique())
        curves[fold] = fit_recalibration(valid["y_true"], valid["proba"], method, subjects=subjects)
        test = part[part["part"] == "test"]
        parts.append(test.assign(proba=curves[fold](test["proba"])))
    table = pd.concat(parts, ignore_index=True) if parts else predictions.iloc[:0]
    return table, curves, left_out


def save_recalibration(recalibration: Recalibration, folder: str | os.PathLike[str]) -> Path:
    """Write a curve as ``recalibration.json`` into a model folder, atomically.

    Parameters
    ----------
    recalibration : Recalibration
        The curve.
    folder : path
        The model folder, as ``save_pipeline`` writes it.

    Returns
    -------
    Path
        The file.

    See Also
    --------
    load_recalibration : Reads it.

    Examples
    --------
    >>> import tempfile
    >>> from biot_bd.evaluation import Recalibration, load_recalibration, save_recalibration
    >>> curve = Recalibration("sigmoid", a=-4.0, b=2.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = save_recalibration(curve, folder)
    ...     load_recalibration(folder) == curve
    True
    """
    return write_json(Path(folder) / RECALIBRATION_FILE, recalibration.as_dict())


def load_recalibration(folder: str | os.PathLike[str]) -> Recalibration | None:
    """Read the curve of a model folder.

    Parameters
    ----------
    folder : path
        The model folder.

    Returns
    -------
    Recalibration or None
        None where the folder has no curve.

    Raises
    ------
    ValueError
        The file is damaged.

    See Also
    --------
    save_recalibration : Writes it.

    Examples
    --------
    >>> import tempfile
    >>> from biot_bd.evaluation import load_recalibration
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load_recalibration(folder) is None
    True
    """
    path = Path(folder) / RECALIBRATION_FILE
    if not path.is_file():
        return None
    stored = read_json(path)
    with naming(path):
        return Recalibration.from_dict(stored)
