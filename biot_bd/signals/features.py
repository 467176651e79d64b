"""Features of windows, ``(n, n_features)`` for scikit-learn: band powers and line length.

Windows are read in batches, so a data set larger than the memory can be turned into features.  A
channel that is absent (NaN throughout) has NaN as its features; leave it to an imputer, or to a
summary over the channels.

:class:`FillAbsent` is a signal step for models that cannot leave a channel out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import welch
from sklearn.utils.validation import check_is_fitted

from biot_bd.io.units import UV_PER_V
from biot_bd.signals.base import (
    Marked,
    SignalInfo,
    TakesWindows,
    WindowTransformer,
    check_shapes,
    check_windows,
    described,
    is_epochs,
    present_channels,
)
from biot_bd.signals.resampler import rate_of

BANDS = (("delta", 0.5, 4.0), ("theta", 4.0, 8.0), ("alpha", 8.0, 13.0), ("beta", 13.0, 30.0), ("gamma", 30.0, 45.0))
"""Name, lower and upper edge (Hz) of each band; gamma ends below the mains."""

BATCH = 256
BLOCK = 16
"""Windows read, and windows computed, at a time.

Spectra of few windows stay in the processor's cache.
"""

FLOOR = 1e-12
"""Least power or length (uV^2, uV) before a logarithm; what is flat to the last bit lies there."""
SUMMARIES: dict[str, Callable[..., Any]] = {"mean": np.nanmean, "median": np.nanmedian, "max": np.nanmax}


def _read(X: Any, start: int, stop: int) -> NDArray[np.float64]:
    """Read windows of any kind, in uV (or as they are scaled)."""
    if is_epochs(X):
        x = X[start:stop].get_data(copy=True) * UV_PER_V
    else:
        x = X.read(np.arange(start, stop)) if callable(getattr(X, "read", None)) else np.asarray(X[start:stop])
    return x.astype(np.float64)


class WindowFeatures(TakesWindows):
    """Base of feature steps: a subclass computes values of each channel, here they become columns.

    Subclasses have a parameter ``summary`` and implement ``_names(info)`` (names of a channel's
    values) and ``_values(x, info)`` (``(n, n_chans, n_times)`` in, ``(n, n_chans, n_values)`` out,
    no NaN in the input).

    Attributes
    ----------
    info_ : SignalInfo
        The windows seen in ``fit``.
    """

    summary: tuple[str, ...] | None

    def _names(self, info: SignalInfo) -> list[str]:
        raise NotImplementedError(f"{type(self).__name__} must implement _names(info)")

    def _values(self, x: NDArray[np.float64], info: SignalInfo) -> NDArray[np.float64]:
        raise NotImplementedError(f"{type(self).__name__} must implement _values(x, info)")

    def fit(self, X: Any, y: Any = None) -> WindowFeatures:
        """Check the windows; only their shape, channels and rate are kept.

        Parameters
        ----------
        X : Windows, ndarray (n, n_chans, n_times) in uV, or mne.Epochs in volts
        y : ignored

        Raises
        ------
        ValueError
            Another shape, or a parameter that does not suit the sampling rate.
        """
        info = described(X, self)
        self._names(info)
        self._check_summary()
        self.info_ = info
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Compute the features, reading a batch of windows at a time.

        Parameters
        ----------
        X : Windows, ndarray (n, n_chans, n_times) in uV, or mne.Epochs in volts
            Like what ``fit`` was given.

        Returns
        -------
        ndarray of float32, shape (n, n_features)
            Columns as :meth:`get_feature_names_out` names them.  NaN where a channel is absent.

        Raises
        ------
        ValueError
            Other channels, length or rate than in ``fit``, or a channel with some values that are
            not finite.
        """
        check_is_fitted(self, "info_")
        info = described(X, self)
        self._check_same(info)
        out = np.empty((len(X), len(self.get_feature_names_out())), np.float32)
        for start in range(0, len(X), BATCH):
            x = _read(X, start, min(start + BATCH, len(X)))
            check_windows(x, present_channels(x), info)
            out[start : start + BATCH] = self._features(x)
        return out

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return the names of the columns, e.g. ``"FP1-F7 delta"``.

        ``input_features`` is ignored.
        """
        check_is_fitted(self, "info_")
        names, info = self._names(self.info_), self.info_
        over = self.summary or info.ch_names or [f"channel {i}" for i in range(info.n_chans)]
        return np.array([f"{place} {name}" for place in over for name in names], dtype=object)

    def _features(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        present = present_channels(x)
        filled = np.where(present[..., None], x, 0.0)
        blocks = [self._values(filled[i : i + BLOCK], self.info_) for i in range(0, len(x), BLOCK)]
        values = np.concatenate(blocks)
        values[~present] = np.nan
        if self.summary is None:
            return values.reshape(len(x), -1)
        empty = ~present.any(axis=1)
        if empty.any():
            raise ValueError(f"window {int(np.argmax(empty))} of the batch has no channel; leave such windows out")
        return np.concatenate([SUMMARIES[name](values, axis=1) for name in self.summary], axis=1)

    def _check_summary(self) -> None:
        unknown = [name for name in self.summary or () if name not in SUMMARIES]
        if unknown or self.summary == () or isinstance(self.summary, str):
            raise ValueError(f"summary is None or a tuple out of {', '.join(SUMMARIES)}; got {self.summary!r}")

    def _check_same(self, info: SignalInfo) -> None:
        for name in ("n_chans", "n_times", "ch_names", "sfreq", "unit"):
            expected, found = getattr(self.info_, name), getattr(info, name)
            if expected != found:
                raise ValueError(
                    f"{type(self).__name__} was fitted on windows with {name} {expected!r}, found {found!r}"
                )


@dataclass(eq=False, repr=False)
class BandPower(WindowFeatures):
    """Power in frequency bands, by default its decimal logarithm.

    The spectrum is Welch's (``scipy.signal.welch``, segments half overlapping, each without its
    mean); the power of a band is the sum of the one-sided density over the bins in ``[low, high)``
    times the distance of two bins, in uV^2. A sine of amplitude A inside a band has the power
    A^2/2, and with ``window="boxcar"`` bands that cover all frequencies hold the variance
    (Parseval).

    Parameters
    ----------
    bands : tuple of (name, low, high)
        Edges in Hz; the band takes the bins from ``low`` up to, not including, ``high``.
    segment_s : float
        Length of a segment in seconds; a segment longer than the window is the window.
    window : str
        Taper, a name that scipy knows.
    log : bool
        Give log10 of the power (at least 1e-12 uV^2).
    summary : tuple of {"mean", "median", "max"}, optional
        Give these over the present channels in place of every channel's own values.
    sfreq : float, optional
        Rate of windows that carry none (arrays), in Hz.

    See Also
    --------
    LineLength : How much a signal moves.

    Examples
    --------
    A sine of 20 uV at 10 Hz has the power 200 uV^2, all of it in the alpha band:

    >>> import numpy as np
    >>> from biot_bd.signals.features import BandPower
    >>> x = 20 * np.sin(2 * np.pi * 10 * np.arange(2000) / 200)[None, None]
    >>> power = BandPower(sfreq=200, log=False).fit(x)
    >>> power.get_feature_names_out()[2], round(float(power.transform(x)[0, 2]))
    ('channel 0 alpha', 200)
    """

    bands: Sequence[tuple[str, float, float]] = BANDS
    segment_s: float = 2.0
    window: str = "hann"
    log: bool = True
    summary: tuple[str, ...] | None = None
    sfreq: float | None = None

    def _segment(self, info: SignalInfo) -> tuple[float, int]:
        """Return the rate in Hz, and the samples of a segment."""
        rate = rate_of(info, self.sfreq, self, "sfreq")
        n = round(self.segment_s * rate)
        if n < 2:
            raise ValueError(f"segment_s must hold at least two samples, got {self.segment_s!r} s")
        return rate, min(n, info.n_times)

    def _bins(self, info: SignalInfo) -> list[NDArray[np.bool_]]:
        """Return which bins of the spectrum lie in each band."""
        rate, n = self._segment(info)
        frequencies = np.fft.rfftfreq(n, 1 / rate)
        bins = []
        for name, low, high in self.bands:
            if not 0 <= low < high:
                raise ValueError(f"band {name!r} needs edges 0 <= low < high, got {low!r} and {high!r} Hz")
            if low >= rate / 2:
                raise ValueError(f"band {name!r} begins at {low:g} Hz, above what {rate:g} Hz can show; leave it out")
            inside = (frequencies >= low) & (frequencies < high)
            if not inside.any():
                raise ValueError(f"band {name!r} ({low:g} to {high:g} Hz) holds no bin; use a longer segment_s")
            bins.append(inside)
        return bins

    def _names(self, info: SignalInfo) -> list[str]:
        if not self.bands:
            raise ValueError("bands is empty; give (name, low, high) tuples")
        self._bins(info)
        return [str(name) for name, _, _ in self.bands]

    def _values(self, x: NDArray[np.float64], info: SignalInfo) -> NDArray[np.float64]:
        rate, n = self._segment(info)
        _, density = welch(x, rate, window=self.window, nperseg=n, noverlap=n // 2, detrend="constant", axis=-1)
        power = np.stack([density[..., inside].sum(axis=-1) * rate / n for inside in self._bins(info)], axis=-1)
        return np.log10(np.maximum(power, FLOOR)) if self.log else power


@dataclass(eq=False, repr=False)
class LineLength(WindowFeatures):
    """Line length: the mean absolute difference of neighbours, by default its log10.

    In uV a sample: a ramp that rises by s uV a sample has the line length s.  Up to the factor of
    the number of samples this is the line length of Esteller et al. (2001), a classic of seizure
    detection.

    Parameters
    ----------
    log : bool
        Give log10 of the length (at least 1e-12 uV).
    summary : tuple of {"mean", "median", "max"}, optional
        Give these over the present channels in place of every channel's own values.

    See Also
    --------
    BandPower : Power in frequency bands.

    References
    ----------
    .. [1] Esteller, R. et al. (2001). Line length: an efficient feature for seizure onset
           detection. IEEE EMBC.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals.features import LineLength
    >>> ramp = 3.0 * np.arange(100)[None, None]
    >>> LineLength(log=False).fit_transform(ramp).tolist()
    [[3.0]]
    """

    log: bool = True
    summary: tuple[str, ...] | None = None

    def _names(self, info: SignalInfo) -> list[str]:
        if info.n_times < 2:
            raise ValueError(f"line length needs windows of at least two samples, found {info.n_times}")
        return ["line length"]

    def _values(self, x: NDArray[np.float64], info: SignalInfo) -> NDArray[np.float64]:
        length = np.abs(np.diff(x, axis=-1)).mean(axis=-1, keepdims=True)
        return np.log10(np.maximum(length, FLOOR)) if self.log else length


@dataclass(eq=False, repr=False)
class FillAbsent(WindowTransformer):
    """Put a constant in the place of absent channels, for models that cannot leave a channel out.

    BIOT leaves absent channels out exactly and must not be given this step: a constant is a signal
    to it.

    Parameters
    ----------
    value : float
        What an absent channel holds afterwards, in the unit of the windows.

    See Also
    --------
    MontageMapper : Its ``on_missing`` decides what is absent.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals.features import FillAbsent
    >>> x = np.array([[[1.0, 2.0], [np.nan, np.nan]]])
    >>> FillAbsent().transform(x).tolist()
    [[[1.0, 2.0], [0.0, 0.0]]]
    """

    value: float = 0.0

    def output_info(self, info: SignalInfo) -> SignalInfo:
        """Say what comes out: the same."""
        if not np.isfinite(self.value):
            raise ValueError(f"value must be a finite number, got {self.value!r}")
        return info

    def apply(self, x: NDArray[Any], present: NDArray[np.bool_], info: SignalInfo) -> Marked:
        """Fill absent channels; afterwards all are present."""
        check_shapes(x, present, info)
        return np.where(present[..., None], x, x.dtype.type(self.value)), np.ones_like(present)
