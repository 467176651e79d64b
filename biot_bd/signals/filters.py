"""Filters of MNE as steps.

A filter needs signal before and after what it filters.  On a window of 10 s the ends (about the
filter's length, ``3.3 / transition width`` seconds) are wrong, and MNE warns where the filter is
longer than the window: filter recordings instead (``prepare(..., preprocessors=[BandPass(0.5,
70).as_preprocessor()])``) where you can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import mne
import numpy as np
from numpy.typing import NDArray

from biot_bd.signals.base import Marked, SignalInfo, check_windows
from biot_bd.signals.recordings import RecordingStep
from biot_bd.signals.resampler import rate_of


class _Filter(RecordingStep):
    """Filter what is present, in double precision.

    Parameters beside ``sfreq_in`` are those of MNE's function.
    """

    sfreq_in: float | None

    def output_info(self, info: SignalInfo) -> SignalInfo:
        """Say what comes out: the same.

        Raises where the rate is unknown or does not fit the frequencies.
        """
        self._check_params(rate_of(info, self.sfreq_in, self))
        return info

    def apply(self, x: NDArray[Any], present: NDArray[np.bool_], info: SignalInfo) -> Marked:
        """Filter windows; absent channels stay absent."""
        sfreq = rate_of(info, self.sfreq_in, self)
        self._check_params(sfreq)
        check_windows(x, present, info)
        out = np.full(x.shape, np.nan, x.dtype)
        if present.any():
            params = {name: value for name, value in self.get_params().items() if name != "sfreq_in"}
            out[present] = self._function()(x[present].astype(np.float64), sfreq, **params, verbose="warning")
        return out, present.copy()

    def _check_params(self, sfreq: float) -> None:
        raise NotImplementedError

    def _function(self) -> Callable[..., NDArray[np.float64]]:
        raise NotImplementedError


@dataclass(eq=False, repr=False)
class BandPass(_Filter):
    """Band-pass, high-pass or low-pass filter (:func:`mne.filter.filter_data`).

    Parameters
    ----------
    l_freq : float or None
        Lower edge of the pass band in Hz; None for a low-pass.
    h_freq : float or None
        Upper edge of the pass band in Hz; None for a high-pass.
    sfreq_in : float, optional
        Sampling rate in Hz, needed for arrays; a disagreement with what the data carry raises.
    method : {"fir", "iir"}
        As in MNE: a zero-phase FIR filter (Hamming), or a Butterworth filter of order 4 run both
        ways.
    l_trans_bandwidth, h_trans_bandwidth : float or "auto"
        Width of the transitions of the FIR filter in Hz.
    phase : str
        As in MNE, e.g. ``"zero"`` or ``"minimum"``.

    See Also
    --------
    Notch : Single frequencies, such as those of the mains.

    Notes
    -----
    On windows the ends are wrong, see :mod:`biot_bd.signals.filters`.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals import BandPass
    >>> t = np.arange(4000) / 200
    >>> x = (np.sin(2 * np.pi * 10 * t) + np.sin(2 * np.pi * 60 * t))[None, None]
    >>> out = BandPass(1, 40, sfreq_in=200).transform(x)
    >>> bool(
    ...     np.allclose(out[0, 0, 1000:3000], np.sin(2 * np.pi * 10 * t)[1000:3000], atol=0.01)
    ... )
    True
    """

    l_freq: float | None = 0.5
    h_freq: float | None = 70.0
    sfreq_in: float | None = None
    method: Literal["fir", "iir"] = "fir"
    l_trans_bandwidth: float | Literal["auto"] = "auto"
    h_trans_bandwidth: float | Literal["auto"] = "auto"
    phase: str = "zero"

    def _check_params(self, sfreq: float) -> None:
        if self.l_freq is None and self.h_freq is None:
            raise ValueError("BandPass needs l_freq, h_freq or both")
        for name, value in (("l_freq", self.l_freq), ("h_freq", self.h_freq)):
            if value is not None and not 0 < value < sfreq / 2:
                raise ValueError(f"BandPass: {name}={value} Hz must lie between 0 and {sfreq / 2:g} Hz (half the rate)")
        # MNE would make a band-stop of this.
        if self.l_freq is not None and self.h_freq is not None and self.l_freq >= self.h_freq:
            raise ValueError(f"BandPass: l_freq={self.l_freq} Hz must be below h_freq={self.h_freq} Hz")

    def _function(self) -> Callable[..., NDArray[np.float64]]:
        return mne.filter.filter_data


@dataclass(eq=False, repr=False)
class Notch(_Filter):
    """Notch filter (:func:`mne.filter.notch_filter`, zero-phase FIR).

    Parameters
    ----------
    freqs : float or sequence of float
        Frequencies to remove in Hz, e.g. 50, or ``(50, 100)``.
    sfreq_in : float, optional
        Sampling rate in Hz, needed for arrays; a disagreement with what the data carry raises.
    notch_widths : float, optional
        Width of the stop bands in Hz; a two-hundredth of the frequency by default.
    trans_bandwidth : float
        Width of the transitions in Hz.

    See Also
    --------
    BandPass : Whole bands.

    Notes
    -----
    On windows the ends are wrong, see :mod:`biot_bd.signals.filters`.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals import Notch
    >>> t = np.arange(4000) / 200
    >>> out = Notch(50, sfreq_in=200).transform(np.sin(2 * np.pi * 50 * t)[None, None])
    >>> bool(abs(out[0, 0, 1500:2500]).max() < 0.01)
    True
    """

    freqs: float | Sequence[float] = 50.0
    sfreq_in: float | None = None
    notch_widths: float | None = None
    trans_bandwidth: float = 1.0

    def _check_params(self, sfreq: float) -> None:
        freqs = np.asarray(self.freqs, dtype=np.float64)
        if freqs.size == 0 or not ((freqs > 0) & (freqs < sfreq / 2)).all():
            raise ValueError(f"Notch: freqs={self.freqs} must lie between 0 and {sfreq / 2:g} Hz (half the rate)")

    def _function(self) -> Callable[..., NDArray[np.float64]]:
        return mne.filter.notch_filter
