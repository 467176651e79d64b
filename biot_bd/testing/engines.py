"""Check engines: what loads a saved model for a detector."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from biot_bd.testing._base import attempt, describe, pickled, refused, require


def check_engine(engine: Callable[[Path], Any], folder: str | os.PathLike[str]) -> None:
    """Check a function given to ``register_engines``.

    Parameters
    ----------
    engine : callable
        ``(folder) -> model``.
    folder : path
        Of :func:`biot_bd.save_pipeline` or :func:`biot_bd.export_model`; its model has two classes.

    Raises
    ------
    ConformanceError
        The engine does not take a folder, its model lacks ``steps``, ``classifier`` or ``record_``,
        its probabilities are none or depend on the batch, its ``set_precision`` (where it has one)
        does not say what it chose, or a folder without a model raises no FileNotFoundError.

    See Also
    --------
    biot_bd.load_scorer : The built-in engine.

    Examples
    --------
    >>> check_engine(str, "model")
    Traceback (most recent call last):
    biot_bd.exceptions.ConformanceError: str(folder): expected steps, ...; str has no steps
    """
    name, folder = describe(engine), Path(folder)
    require(callable(engine), f"{name}: expected a function (folder) -> model, got {engine!r}")
    pickled(engine, name)
    model = attempt(f"{name}(folder)", engine, folder)
    for attribute in ("steps", "classifier", "record_"):
        require(
            hasattr(model, attribute),
            f"{name}(folder): expected steps, classifier and record_; {type(model).__name__} has no {attribute}",
        )
    require(
        isinstance(model.record_, Mapping), f"{name}: record_ must be a mapping, got {type(model.record_).__name__}"
    )
    for step in model.steps:
        require(
            hasattr(step, "apply"), f"{name}: the step {describe(step)} is no transformer with apply and output_info"
        )
    for attribute in ("predict_proba", "classes_", "threshold_", "input_info_"):
        require(hasattr(model.classifier, attribute), f"{name}: its classifier has no {attribute}")
    _check_probabilities(model.classifier, name)
    if hasattr(model, "set_precision"):
        told = attempt(f"{name}: set_precision(None, 4)", model.set_precision, None, 4)
        good = isinstance(told, tuple) and len(told) == 2 and isinstance(told[0], str) and isinstance(told[1], list)
        require(good, f"{name}: set_precision must return (precision, notes), a text and a list, got {told!r}")
    refused(f"{name}: a folder without a model", FileNotFoundError, engine, folder / "nothing-is-here")


def _check_probabilities(classifier: Any, name: str) -> None:
    """Check ``predict_proba`` on noise.

    Shape, range, sum, and that neighbours in a batch do not matter.
    """
    info = classifier.input_info_
    x = np.random.default_rng(0).standard_normal((4, info.n_chans, info.n_times)).astype(np.float32)
    proba = np.asarray(attempt(f"{name}: predict_proba on windows of noise", classifier.predict_proba, x))
    n_classes = len(classifier.classes_)
    require(
        proba.shape == (4, n_classes),
        f"{name}: predict_proba of 4 windows has shape {proba.shape}; expected (4, {n_classes})",
    )
    require(
        np.isfinite(proba).all() and (proba >= 0).all() and np.allclose(proba.sum(axis=1), 1, atol=1e-3),
        f"{name}: probabilities must lie in 0 to 1 and sum to 1 in each window, got {proba[0].tolist()}",
    )
    alone = np.concatenate([np.asarray(classifier.predict_proba(x[i : i + 1])) for i in range(len(x))])
    require(
        np.allclose(alone, proba, atol=1e-3),
        f"{name}: a window's probability depends on its neighbours in the batch (by {np.abs(alone - proba).max():.2g})",
    )
