"""Stretches of EEG as they are displayed, and the channels a reader needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from biot_bd.signals.montages import DOUBLE_BANANA_18, Montage, MontagePlan, plan_montage
from biot_bd.signals.resampling import resample_polyphase

DISPLAY_HZ = 128.0
MIDLINE = {"bipolar": ("Fz-Cz", "Cz-Pz"), "referential": ("Fz", "Cz", "Pz")}


@dataclass(frozen=True)
class Traces:
    """A stretch of EEG as it is displayed.

    Parameters
    ----------
    values_uv : ndarray, shape (n_chans, n_samples)
        In microvolts, float32; NaN where there is no signal.
    sfreq : float
        Samples a second.
    start_s : float
        Time of the first sample, in seconds since the recording's start, pauses included.
    ch_names : sequence of str
        The derivations, such as ``"Fp1-F7"``.
    file_names : sequence of str, optional
        What the file calls each, or what it is made of, e.g. ``"FP1-F7"`` or ``"F7 minus T3"``;
        ``ch_names`` by default.

    Raises
    ------
    ValueError
        Shapes, names or rate do not fit, or a value is infinite.

    See Also
    --------
    derived_traces : Makes one of a recording's channels.
    viewer_json : Encodes them for a page.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.viewer import Traces
    >>> Traces(np.zeros((2, 256)), 128.0, 60.0, ["Fp1-F7", "F7-T7"]).stop_s
    62.0
    """

    values_uv: NDArray[np.float32]
    sfreq: float
    start_s: float
    ch_names: Sequence[str]
    file_names: Sequence[str] = ()

    def __post_init__(self) -> None:
        values = np.asarray(self.values_uv, np.float32)
        if values.ndim != 2 or values.shape[0] != len(self.ch_names) or not values.size:
            raise ValueError(
                f"values_uv of shape {values.shape} for {len(self.ch_names)} ch_names; expected (n_chans, n_samples)"
            )
        if len(set(self.ch_names)) < len(self.ch_names):
            raise ValueError(f"ch_names must be unique, found {', '.join(self.ch_names)}")
        if self.file_names and len(self.file_names) != len(self.ch_names):
            raise ValueError(f"{len(self.file_names)} file_names for {len(self.ch_names)} ch_names; give one for each")
        if not (np.isfinite(self.sfreq) and self.sfreq > 0 and np.isfinite(self.start_s)):
            raise ValueError(f"sfreq and start_s must be finite, sfreq above 0; found {self.sfreq} and {self.start_s}")
        if np.isinf(values).any():
            raise ValueError("values_uv has infinite values; write NaN where there is no signal")
        object.__setattr__(self, "values_uv", values)
        object.__setattr__(self, "ch_names", tuple(self.ch_names))
        object.__setattr__(self, "file_names", tuple(self.file_names) or tuple(self.ch_names))

    @property
    def stop_s(self) -> float:
        """Time where the stretch ends, in seconds."""
        return self.start_s + self.values_uv.shape[1] / self.sfreq


def reading_montage(montage: Montage, ch_names: Sequence[str], unusable: Mapping[str, str] | None = None) -> Montage:
    """Return the channels that a reader needs of a recording.

    A bipolar montage gets the midline where the recording has it; a referential one is read as
    the longitudinal bipolar montage (``double-banana-18``) where the recording gives all of it.

    Parameters
    ----------
    montage : Montage
        What the model sees.
    ch_names : sequence of str
        The recording's channels, as it writes them.
    unusable : mapping of str to str, optional
        Channels that are never used, and why.

    Returns
    -------
    Montage
        To plan with :func:`biot_bd.signals.plan_montage`.

    See Also
    --------
    derived_traces : Makes its traces.

    Examples
    --------
    >>> from biot_bd import registry
    >>> from biot_bd.viewer import reading_montage
    >>> reading_montage(registry.montages["biot-16"], ["FP1-F7", "FZ-CZ"]).ch_names[-2:]
    ('P4-O2', 'Fz-Cz')
    """
    if montage.kind == "referential" and not plan_montage(DOUBLE_BANANA_18, ch_names, unusable).missing:
        return DOUBLE_BANANA_18
    names = tuple(name for name in MIDLINE[montage.kind] if name not in montage.ch_names)
    if not names:
        return montage
    plan = plan_montage(Montage("midline", names, montage.kind), ch_names, unusable)
    found = tuple(name for name in names if name not in plan.missing)
    pairs = plan.montage.pairs
    return replace(
        montage,
        name=f"{montage.name} and midline" if found else montage.name,
        ch_names=montage.ch_names + found,
        pairs=montage.pairs + tuple(pair for name, pair in zip(names, pairs, strict=True) if name in found),
    )


def derived_traces(
    x: NDArray[np.floating], sfreq: float, start_s: float, plan: MontagePlan, *, most_hz: float = DISPLAY_HZ
) -> Traces:
    """Make the traces of a montage from an excerpt of a recording.

    Parameters
    ----------
    x : ndarray, shape (len(plan.needed), n_samples)
        In microvolts: the channels that the plan needs, as :func:`biot_bd.io.read_excerpt` gives
        them; what is not finite counts as no signal.
    sfreq : float
        Its rate in Hz.
    start_s : float
        Time of its first sample in seconds.
    plan : MontagePlan
        How the recording's channels become those of the montage.
    most_hz : float
        A higher rate is brought down to this one, with an anti-alias filter; lower ones stay.

    Returns
    -------
    Traces
        NaN where a channel is missing or has no signal.

    Raises
    ------
    ValueError
        ``x`` has another number of channels, or none of its samples.

    See Also
    --------
    reading_montage : The channels to plan.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals import Montage, plan_montage
    >>> from biot_bd.viewer import derived_traces
    >>> plan = plan_montage(Montage("two", ("F7-T7", "T7-P7"), "bipolar"), ["F7", "T3"])
    >>> traces = derived_traces(np.zeros((2, 512), np.float32), 256.0, 0.0, plan)
    >>> traces.sfreq, traces.file_names, np.isnan(traces.values_uv).all(axis=1).tolist()
    (128.0, ('F7 minus T3', 'missing'), [False, True])
    """
    signal, sfreq = for_display(plan.reduced().apply(np.asarray(x, np.float32)), sfreq, most_hz)
    return Traces(signal, sfreq, start_s, plan.montage.ch_names, tuple(plan.origins.values()))


def for_display(
    values_uv: NDArray[np.floating], sfreq: float, most_hz: float = DISPLAY_HZ
) -> tuple[NDArray[np.float32], float]:
    """Bring a signal down to the rate of a display, and mark what is unknown with NaN.

    Parameters
    ----------
    values_uv : ndarray, shape (n_chans, n_samples)
        What is not finite counts as no signal.
    sfreq : float
        Its rate in Hz.
    most_hz : float
        A higher rate is brought down to this one, with an anti-alias filter; lower ones stay.

    Returns
    -------
    values_uv : ndarray, shape (n_chans, n_samples), float32
    sfreq : float
        The rate now, in Hz.
    """
    signal = np.array(values_uv, np.float32)
    known = np.isfinite(signal)
    if sfreq <= most_hz:
        signal[~known] = np.nan
        return signal, sfreq
    out = resample_polyphase(np.where(known, signal, 0), sfreq, most_hz)
    # An output sample is unknown where the nearest of the input is.
    nearest = np.minimum(np.round(np.arange(out.shape[1]) * (sfreq / most_hz)).astype(int), signal.shape[1] - 1)
    out[~known[:, nearest]] = np.nan
    return out, most_hz
