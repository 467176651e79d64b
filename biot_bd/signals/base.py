"""What every signal step has in common: the description of its input, and what it may be given.

A step works on windows ``(n, n_chans, n_times)``.  It implements
:meth:`WindowTransformer.output_info` and :meth:`WindowTransformer.apply`; the base class brings
arrays, ``mne.Epochs`` and objects with a ``map`` method to it.  An absent channel is NaN throughout
and ``False`` in ``present``; a channel with some values that are not finite is a fault.
"""

from __future__ import annotations

import sys
from typing import Any, TypeGuard

import mne
import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from biot_bd.io.units import UV_PER_V
from biot_bd.signals.info import SignalInfo
from biot_bd.signals.subject_array import with_subjects_of
from biot_bd.signals.window_checks import check_shapes as check_shapes
from biot_bd.signals.window_checks import check_windows as check_windows
from biot_bd.signals.window_checks import describe_channels as describe_channels
from biot_bd.signals.window_checks import present_channels

Marked = tuple[NDArray[Any], NDArray[np.bool_]]
"""Windows ``(n, n_chans, n_times)``, and which of their channels are present, ``(n, n_chans)``."""


class TakesWindows(TransformerMixin, BaseEstimator):
    """Base of what scikit-learn may give windows, also with absent channels."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True  # an all-NaN channel is an absent one
        return tags


class WindowTransformer(TakesWindows):
    """Base of all signal steps; a subclass implements :meth:`output_info` and :meth:`apply`.

    Steps hold parameters only: ``fit`` checks its input and learns nothing, so a step may be used
    unfitted.

    See Also
    --------
    MontageMapper, PercentileScaler, Resampler, BandPass, Notch : Steps that there are.
    biot_bd.testing.check_transformer : Whether a step of one's own keeps to the contract.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals import WindowTransformer
    >>> class Negative(WindowTransformer):
    ...     def output_info(self, info):
    ...         return info
    ...
    ...     def apply(self, x, present, info):
    ...         return -x, present
    >>> Negative().fit_transform(np.ones((1, 2, 3))).tolist()
    [[[-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]]]
    """

    def output_info(self, info: SignalInfo) -> SignalInfo:
        """Check the input's description and say what comes out.

        Parameters
        ----------
        info : SignalInfo
            The input.

        Returns
        -------
        SignalInfo
            The output.

        Raises
        ------
        ValueError
            The step cannot work on such input; the message says why and what to do.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement output_info(info)")

    def apply(self, x: NDArray[Any], present: NDArray[np.bool_], info: SignalInfo) -> Marked:
        """Transform windows; neither argument is modified.

        Parameters
        ----------
        x : ndarray, shape (n, n_chans, n_times), float32 or float64
            Windows in ``info.unit``; absent channels are NaN throughout.
        present : ndarray of bool, shape (n, n_chans)
            False where a channel is absent.
        info : SignalInfo
            Description of ``x``.

        Returns
        -------
        x : ndarray, shape (n, n_chans_out, n_times_out)
            In the dtype of the input.
        present : ndarray of bool, shape (n, n_chans_out)
            What is present afterwards.

        Raises
        ------
        ValueError
            A present channel holds values that are not finite, or shapes disagree.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement apply(x, present, info)")

    def is_identity(self, info: SignalInfo) -> bool:
        """Return True where :meth:`apply` would change nothing: the step can be left out."""
        return False

    def fit(self, X: Any, y: Any = None) -> WindowTransformer:
        """Check that the step can work on ``X``; nothing is learnt.

        Parameters
        ----------
        X : ndarray (n, n_chans, n_times) in uV, mne.Epochs, or an object with ``map`` and ``info``
            The windows.
        y : ignored
            For pipelines.

        Returns
        -------
        WindowTransformer
            The step itself.

        Raises
        ------
        ValueError
            Wrong shape, or :meth:`output_info` refuses the input.
        """
        info = getattr(X, "info", None) if _maps(X) and not is_epochs(X) else described(X, self)
        if info is not None:
            self.output_info(info)
        return self

    def transform(self, X: Any) -> Any:
        """Transform windows and keep their kind.

        Parameters
        ----------
        X : ndarray (n, n_chans, n_times) in uV, mne.Epochs in volts, or an object with ``map``
            The windows.  All-NaN channels of arrays and Epochs are absent ones.

        Returns
        -------
        ndarray, mne.EpochsArray or what ``X.map(self)`` returns
            Arrays stay arrays (uV).  Epochs stay Epochs (volts) while the output has a unit and
            become an array where it has none.

        Raises
        ------
        ValueError
            Wrong shape, a channel with some values that are not finite, or input that the step
            refuses.
        """
        if is_epochs(X):
            return self._transform_epochs(X)
        if _maps(X):
            return X.map(self)
        x = _as_windows(X, self)
        info = described(x, self)
        self.output_info(info)
        out, _ = self.apply(x, present_channels(x), info)
        # Writing to an output must not change the input.
        return with_subjects_of(X, out.copy() if np.may_share_memory(out, x) else out)

    def _transform_epochs(self, epochs: mne.BaseEpochs) -> Any:
        info = described(epochs, self)
        info_out = self.output_info(info)
        x = epochs.get_data(copy=True)
        x *= UV_PER_V
        out, _ = self.apply(x, present_channels(x), info)
        return out if info_out.unit is None else _rebuild_epochs(epochs, out, info_out)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = False
        tags.transformer_tags.preserves_dtype = ["float32", "float64"]
        return tags


def is_epochs(X: Any) -> TypeGuard[mne.BaseEpochs]:
    """Return whether ``X`` is ``mne.Epochs`` of any kind.

    MNE loads its epochs on first use, which takes a second; where nothing has loaded them, ``X``
    cannot be any.
    """
    return isinstance(X, getattr(sys.modules.get("mne.epochs"), "BaseEpochs", ()))


def described(X: Any, step: object) -> SignalInfo:
    """Return what is known of windows without reading them; ``step`` is named in messages.

    Parameters
    ----------
    X : ndarray (n, n_chans, n_times) in uV, mne.Epochs, or an object with ``info``
        The windows.
    step : object
        What was given them.

    Raises
    ------
    ValueError
        They are an array of another shape, or not of real numbers.
    """
    if is_epochs(X):
        return SignalInfo(tuple(X.ch_names), X.info["sfreq"], len(X.times), "uV")
    if isinstance(info := getattr(X, "info", None), SignalInfo):
        return info
    x = _as_windows(X, step)
    return SignalInfo(None, None, x.shape[2], "uV", x.shape[1])


def _maps(X: Any) -> bool:
    """Return whether ``X`` is a lazy container of windows; a DataFrame has ``map``, but is 2-D."""
    return callable(getattr(X, "map", None)) and len(getattr(X, "shape", (0, 0, 0))) == 3


def check_whole_epochs(X: Any, taker: str) -> None:
    """Raise where ``X`` is a list of single ``mne.Epochs``, as scikit-learn selects them.

    Parameters
    ----------
    X : object
        What was given.
    taker : str
        Who got it, for the message.

    Raises
    ------
    TypeError
        Says what to give scikit-learn instead.
    """
    if isinstance(X, list) and X and is_epochs(X[0]):
        raise TypeError(
            f"{taker} got a list of {len(X)} mne.Epochs: scikit-learn's tools take Epochs apart one by one. Give them "
            "Windows, or SubjectArray(epochs.get_data(units='uV'), subjects) of biot_bd.signals; "
            "biot_bd.evaluation.cross_validate and search take Epochs as they are"
        )


def _as_windows(X: Any, step: object) -> NDArray[Any]:
    name = type(step).__name__
    check_whole_epochs(X, name)
    x = np.asarray(X)
    if x.ndim != 3:
        raise ValueError(
            f"{name} expected windows of shape (n, n_chans, n_times), found {x.ndim}-D input of shape {x.shape}; give one window as x[None]"
        )
    if x.shape[1] == 0 or x.shape[2] == 0:
        raise ValueError(f"{name} expected at least one channel and one sample a window, found shape {x.shape}")
    if x.dtype.kind in "biu" or x.dtype == np.float16:
        return x.astype(np.float32 if x.dtype.itemsize <= 2 else np.float64)
    if x.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} expected real numbers (float32 or float64), found dtype {x.dtype}")
    return x


def _rebuild_epochs(epochs: mne.BaseEpochs, x_uv: NDArray[Any], info: SignalInfo) -> mne.EpochsArray:
    """Put transformed windows into Epochs with events, metadata and start of the old ones."""
    return mne.EpochsArray(
        x_uv / UV_PER_V,
        mne_info_like(epochs.info, info),
        events=epochs.events,
        tmin=epochs.tmin,
        event_id=epochs.event_id,
        metadata=epochs.metadata,
        selection=epochs.selection,
        drop_log=epochs.drop_log,
        proj=False,
        verbose="error",
    )


def mne_info_like(old: mne.Info, info: SignalInfo) -> mne.Info:
    """Return MNE's info of an output: the input's where the channels stay, else a new one."""
    if info.ch_names is None or info.sfreq is None:
        raise ValueError("a step on Epochs or recordings must say channel names and sampling rate of its output")
    new = old.copy()
    if info.ch_names != tuple(old["ch_names"]):
        new = mne.create_info(list(info.ch_names), info.sfreq, "eeg")
        new.set_meas_date(old["meas_date"])
    with new._unlock():
        for key in ("subject_info", "line_freq", "highpass"):
            new[key] = old[key]
        new["sfreq"], new["lowpass"] = info.sfreq, min(old["lowpass"], info.sfreq / 2)
    return new
