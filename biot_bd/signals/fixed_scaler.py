"""Scaling as pretrained models other than BIOT want it: by one number, or to unit variance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.signals.base import Marked, SignalInfo, WindowTransformer, check_windows, describe_channels
from biot_bd.signals.scaler import FLAT_UV, flat_channels


@dataclass(eq=False)
class FixedScaler(WindowTransformer):
    """Divide microvolts by one number, the same for all windows and channels.

    Parameters
    ----------
    divisor_uv : float
        How many microvolts become 1: 100 for CBraMod, CodeBrain and LaBraM, 1000 (millivolts) for
        EEGPT.

    See Also
    --------
    PercentileScaler : What BIOT wants.
    biot_bd.models.ModelContract : Which model wants what.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals import FixedScaler
    >>> FixedScaler(100).transform(np.array([[[50.0, -200.0]]])).tolist()
    [[[0.5, -2.0]]]
    """

    divisor_uv: float = 100

    def output_info(self, info: SignalInfo) -> SignalInfo:
        """Say what comes out: the same without a unit.

        Raises where the input is scaled already or the divisor is no positive number.
        """
        self._check_params()
        if info.unit is None:
            raise ValueError("the signals are scaled already (unit None); FixedScaler divides microvolts")
        return replace(info, unit=None, scale=f"uV/{self.divisor_uv:g}")

    def apply(self, x: NDArray[Any], present: NDArray[np.bool_], info: SignalInfo) -> Marked:
        """Scale windows in microvolts."""
        self._check_params()
        check_windows(x, present, info)
        return x / x.dtype.type(self.divisor_uv), present

    def _check_params(self) -> None:
        value = self.divisor_uv
        good = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not (good and value > 0 and math.isfinite(value)):
            raise ValueError(f"divisor_uv must be a positive number of microvolts, found {value!r}")


@dataclass(eq=False)
class Standardizer(WindowTransformer):
    """Bring each channel of a window to mean 0 and standard deviation 1.

    Parameters
    ----------
    clip : float or None
        Largest absolute value that comes out, in standard deviations: 15 for REVE.

    Raises
    ------
    ValueError
        On use: a channel is flat within 0.001 microvolts, or ``clip`` is no positive number.

    See Also
    --------
    PercentileScaler : What BIOT wants.
    biot_bd.models.ModelContract : Which model wants what.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals import Standardizer
    >>> Standardizer().transform(np.array([[[10.0, 30.0, 10.0, 30.0]]])).tolist()
    [[[-1.0, 1.0, -1.0, 1.0]]]
    """

    clip: float | None = None

    def output_info(self, info: SignalInfo) -> SignalInfo:
        """Say what comes out: the same without a unit.

        Raises where the input is scaled already or ``clip`` is wrong.
        """
        self._check_params()
        if info.unit is None:
            raise ValueError("the signals are scaled already (unit None); Standardizer works on microvolts")
        return replace(info, unit=None, scale="z-score")

    def apply(self, x: NDArray[Any], present: NDArray[np.bool_], info: SignalInfo) -> Marked:
        """Scale windows in microvolts."""
        self._check_params()
        check_windows(x, present, info)
        mean = x.mean(axis=-1, keepdims=True, dtype=np.float64)
        std = x.std(axis=-1, keepdims=True, dtype=np.float64)
        flat = present & flat_channels(x, np.where(present, std[..., 0], np.inf))
        if flat.any():
            raise ValueError(
                f"channels that cannot be scaled: flat within {FLAT_UV:g} uV: {describe_channels(flat, info.ch_names)}; "
                "leave these windows out (are the signals in volts? arrays must be in uV)"
            )
        out = ((x - mean) / std).astype(x.dtype)
        return out if self.clip is None else np.clip(out, -self.clip, self.clip), present

    def _check_params(self) -> None:
        good = isinstance(self.clip, (int, float, np.number)) and not isinstance(self.clip, bool)
        if self.clip is not None and not (good and self.clip > 0):
            raise ValueError(f"clip must be None or a positive number of standard deviations, found {self.clip!r}")
