"""Resampling as a step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.signals.base import Marked, SignalInfo, check_windows
from biot_bd.signals.recordings import RecordingStep
from biot_bd.signals.resampling import resample_fft, resampled_length


@dataclass(eq=False, repr=False)
class Resampler(RecordingStep):
    """Resample windows by FFT, brick-wall at the lower Nyquist frequency.

    Windows of at most 40 s are resampled whole, as :func:`scipy.signal.resample` does; longer
    signals in guarded segments, see :func:`biot_bd.signals.resampling.resample_fft`.

    Parameters
    ----------
    sfreq : float
        Sampling rate of the output in Hz.
    sfreq_in : float, optional
        Sampling rate of the input in Hz, needed for arrays; a disagreement with what the data carry
        raises.

    See Also
    --------
    biot_bd.signals.resample_fft : The function behind it.

    Notes
    -----
    The FFT joins the end of a window to its start, so the first and last tenths of a second of a
    window ring. Resample recordings (``prepare`` does, or :meth:`as_preprocessor`) where you can.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals import Resampler
    >>> Resampler(200, sfreq_in=256).transform(np.zeros((3, 16, 2560))).shape
    (3, 16, 2000)
    """

    sfreq: float = 200.0
    sfreq_in: float | None = None

    def output_info(self, info: SignalInfo) -> SignalInfo:
        """Say what comes out: the new rate and length.

        Raises where the rate of the input is unknown or disagrees.
        """
        n_times = resampled_length(info.n_times, rate_of(info, self.sfreq_in, self), self.sfreq)
        return replace(info, sfreq=float(self.sfreq), n_times=n_times)

    def apply(self, x: NDArray[Any], present: NDArray[np.bool_], info: SignalInfo) -> Marked:
        """Resample windows; absent channels stay absent."""
        check_windows(x, present, info)
        return resample_fft(x, rate_of(info, self.sfreq_in, self), self.sfreq), present.copy()

    def is_identity(self, info: SignalInfo) -> bool:
        """Return True where the input has the rate already."""
        return rate_of(info, self.sfreq_in, self) == self.sfreq


def rate_of(info: SignalInfo, sfreq_in: float | None, step: object, option: str = "sfreq_in") -> float:
    """Return the sampling rate of the input in Hz: what it carries, else the parameter.

    Parameters
    ----------
    info : SignalInfo
        The input.
    sfreq_in : float or None
        The step's parameter.
    step : object
        For messages.
    option : str
        The parameter's name.

    Raises
    ------
    ValueError
        Neither is known, they disagree, or the rate is not positive.
    """
    name = type(step).__name__
    if sfreq_in is not None and info.sfreq is not None and not np.isclose(sfreq_in, info.sfreq, rtol=1e-9, atol=0):
        raise ValueError(f"{name}: {option}={sfreq_in} Hz, but the data carry {info.sfreq} Hz; leave {option} out")
    rate = info.sfreq if info.sfreq is not None else sfreq_in
    if rate is None:
        raise ValueError(f"{name}: the input carries no sampling rate; give {option}= in Hz")
    if not rate > 0:
        raise ValueError(f"{name}: {option} must be positive, found {rate!r} Hz")
    return float(rate)
