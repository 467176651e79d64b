"""Baselines by one word, for the same folds as the model they are compared with.

``baseline("spectral-power", windows)`` is a scikit-learn pipeline like any other:
``cross_validate`` gives it the same subjects as a BIOT.  None needs all windows in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mne
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from biot_bd import registry
from biot_bd.signals import MontageMapper, PercentileScaler
from biot_bd.signals.features import BandPower, FillAbsent, LineLength
from biot_bd.signals.montages import montage_of
from biot_bd.training import BIOTClassifier

MAX_ITER = 2000


def neural_pipeline(module: str, windows: Any, params: Mapping[str, Any] | None = None) -> Pipeline:
    """Build montage mapper (where the montage has a name), percentile scaler and classifier.

    Parameters
    ----------
    module : str
        Name in ``biot_bd.registry.models``.  A model that cannot leave absent channels out gets
        zeros for them.
    windows : Windows, array or Epochs
        What it is for.
    params : mapping, optional
        Parameters of :class:`~biot_bd.BIOTClassifier`.

    Raises
    ------
    biot_bd.exceptions.UnknownNameError
        No such model.
    """
    return make_pipeline(*steps_in_front(module, windows), BIOTClassifier(module, **(params or {})))


def steps_in_front(module: str, windows: Any) -> list[Any]:
    """Return the transformers that stand before a model: those of :func:`neural_pipeline`."""
    montage = montage_of(getattr(windows, "ch_names", None))
    steps: list[Any] = [] if montage is None else [MontageMapper(montage.name)]
    steps.append(PercentileScaler())
    if not getattr(registry.models[module], "accepts_absent_channels", False):
        steps.append(FillAbsent())
    return steps


def _regression(*steps: Any) -> Pipeline:
    # Absent channels are NaN: they get the mean of the training windows, which says nothing.
    fill = SimpleImputer(strategy="mean", keep_empty_features=True)
    return make_pipeline(*steps, fill, StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=MAX_ITER))


BASELINES = {
    "eegnet": "EEGNet (braindecode)",
    "bdtcn": "BDTCN (braindecode)",
    "spectral-power": "log band powers, logistic regression",
    "line-length": "line length, logistic regression",
    "always-on": "calls every window a seizure",
    "always-off": "calls no window a seizure",
}
"""What each word means."""


def is_neural(word: str) -> bool:
    """Return whether a baseline is trained as a ``BIOTClassifier``, so that settings of training
    apply to it.
    """
    return word in ("eegnet", "bdtcn")


def baseline(
    word: str, windows: Any, *, params: Mapping[str, Any] | None = None, sfreq: float | None = None
) -> Pipeline:
    """Return the pipeline of a baseline, not fitted.

    Parameters
    ----------
    word : {"eegnet", "bdtcn", "spectral-power", "line-length", "always-on", "always-off"}
    windows : Windows, array of shape (n, n_chans, n_times) in uV, or mne.Epochs
        What it is for: says montage and sampling rate; nothing is read.
    params : mapping, optional
        Parameters of :class:`~biot_bd.BIOTClassifier`, for the neural ones.
    sfreq : float, optional
        Rate of an array in Hz, for ``"spectral-power"``.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Takes the windows unscaled, and gives ``predict_proba``.

    Raises
    ------
    ValueError
        An unknown word, parameters for a baseline that is not neural, or an array without
        ``sfreq``.

    See Also
    --------
    model_pipeline : Pipelines of models too.

    Notes
    -----
    ``always-on`` and ``always-off`` give every window the probability 1 or 0: AUROC is 0.5 and
    AUC-PR the prevalence by definition, which results note as degenerate.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation import baseline
    >>> [name for name, _ in baseline("line-length", np.zeros((2, 4, 200))).steps]
    ['linelength', 'simpleimputer', 'standardscaler', 'logisticregression']
    """
    if word not in BASELINES:
        raise ValueError(f"no baseline {word!r}; there are {', '.join(BASELINES)}")
    if params and not is_neural(word):
        raise ValueError(f"baseline {word!r} is no neural model and takes no {sorted(params)[0]!r}")
    if is_neural(word):
        return neural_pipeline(word, windows, params)
    if word.startswith("always"):
        return make_pipeline(DummyClassifier(strategy="constant", constant=int(word == "always-on")))
    if word == "line-length":
        return _regression(LineLength(summary=("median", "max")))
    knows_rate = isinstance(windows, mne.BaseEpochs) or getattr(getattr(windows, "info", None), "sfreq", None)
    if not knows_rate and sfreq is None:
        raise ValueError("arrays carry no sampling rate: give baseline('spectral-power', X, sfreq=...) in Hz")
    return _regression(BandPower(sfreq=None if knows_rate else sfreq))
