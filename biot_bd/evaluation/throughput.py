"""What a classifier does on this machine: windows a second of training and of prediction."""

from __future__ import annotations

import time
from datetime import date
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from biot_bd.evaluation.fold import fit
from biot_bd.evaluation.search_cost import Throughput
from biot_bd.evaluation.study_identity import final_step
from biot_bd.processor import this_processor
from biot_bd.training import BIOTClassifier

_ALONE = {"train_split": None, "max_epochs": 2, "callbacks": None, "log_dir": None, "restart_dir": None, "verbose": 0}


def measure_throughput(estimator: Any, X: Any, y: Any = None, groups: Any = None, n_windows: int = 256) -> Throughput:
    """Measure a classifier on some windows, on this machine, reading included.

    A copy is trained for two epochs without validation, of which the second counts, and predicts
    twice, of which the second counts.

    Parameters
    ----------
    estimator : BIOTClassifier or Pipeline
        A ``BIOTClassifier``, or a pipeline that ends in one.
    X : Windows or ndarray (n, n_chans, n_times)
        What ``fit`` takes.
    y, groups : array-like, shape (n,), optional
        Labels and subjects; those of the ``Windows`` by default.
    n_windows : int
        Windows that are taken, in equal steps over all; some of each class.

    Returns
    -------
    Throughput
        Without figures of reading and preparing.

    Raises
    ------
    TypeError
        The estimator does not end in a ``BIOTClassifier``.

    See Also
    --------
    estimate_cost : Takes the figures.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd import BIOTClassifier
    >>> from biot_bd.evaluation import measure_throughput
    >>> x = np.random.default_rng(0).normal(size=(16, 4, 200)).astype("float32")
    >>> net = BIOTClassifier(module__embed_dim=16, module__num_heads=2, module__num_layers=1)
    >>> measured = measure_throughput(net, x, np.array([0, 1] * 8), np.repeat(["a", "b"], 8))
    >>> measured.training > 0, measured.reading is None
    (True, True)
    """
    prefix, last = final_step(estimator)
    if not isinstance(last, BIOTClassifier):
        raise TypeError(f"measured is what ends in a BIOTClassifier, found {type(last).__name__}")
    labels = np.asarray(X.y if y is None else y)
    subjects = np.asarray(X.groups if groups is None else groups, dtype=object)
    rows = _some_of_each(labels, n_windows)
    part = X[rows]
    trial = clone(estimator).set_params(**{prefix + name: value for name, value in _ALONE.items()})
    fitted = fit(trial, part, labels[rows], subjects[rows])
    net = final_step(fitted)[1]
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        fitted.predict_proba(part)  # its probabilities come back from the device, so it has finished
        seconds.append(time.perf_counter() - start)
    machine = f"{_name_of(net.device)}, {date.today().isoformat()}"
    return Throughput(len(rows) / net.history[-1, "dur"], len(rows) / seconds[-1], machine=machine)


def _some_of_each(labels: np.ndarray, n: int) -> np.ndarray:
    """Return about ``n`` rows, in equal steps, of each class its share and two at least."""
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    taken = [max(2, round(n * len(of_class) / len(labels))) for of_class in rows]
    steps = [np.linspace(0, len(r) - 1, min(k, len(r))).astype(int) for r, k in zip(rows, taken, strict=True)]
    return np.sort(np.concatenate([r[step] for r, step in zip(rows, steps, strict=True)]))


def _name_of(device: Any) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{this_processor().name}, {torch.get_num_threads()} threads"
