"""From one recording to its stored signal: montage, resampling, what is flat, what is missing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import mne
import numpy as np
from numpy.typing import NDArray

from biot_bd.runs import fingerprint
from biot_bd.signals.mapper import MontageMapper
from biot_bd.signals.montages import Montage, plan_montage
from biot_bd.signals.resampling import resample_fft, resample_polyphase, resampled_length
from biot_bd.windows.inputs import Job, seizure_events
from biot_bd.windows.readers import ChannelReader, open_reader, source_file
from biot_bd.windows.store import (
    SIGNALS,
    STORE_VERSION,
    Recording,
    Span,
    read_recording,
    signals_stem,
    write_recording,
    write_signals,
)

__all__ = ["SignalSettings", "TooShortError", "finished_recording", "make_recording"]

SHORTEST_FLAT_S = 0.5
# A zero in an EDF is half a digital step off where the digital range is not symmetric.
ZERO_UV = 1.0
RESAMPLERS = {"fft": resample_fft, "polyphase": resample_polyphase}


class TooShortError(ValueError):
    """A recording is shorter than a window."""


@dataclass(frozen=True)
class SignalSettings:
    """What decides the stored signal of a recording beside the recording itself.

    Parameters
    ----------
    montage : Montage
        Channels of the store.
    sfreq : float
        Rate of the windows in Hz.
    preprocessors : tuple
        braindecode preprocessors, applied to the recording first.
    on_missing : {"raise", "drop", "interpolate"}
        What happens where a channel cannot be made.
    resample : {"fft", "polyphase", "fft-window"}
        How to get to ``sfreq``; with the last the store keeps the recording's own rate.
    dtype : {"int16", "float32"}
        Of the signal files.
    """

    montage: Montage
    sfreq: float
    preprocessors: tuple[Any, ...]
    on_missing: Literal["raise", "drop", "interpolate"]
    resample: str
    dtype: str

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as the manifest holds them."""
        return {
            "montage": asdict(self.montage) | {"description": ""},
            "sfreq": self.sfreq,
            "preprocessors": [_serialise(p) for p in self.preprocessors],
            "on_missing": self.on_missing,
            "resample": self.resample,
            "dtype": self.dtype,
        }

    def fingerprint(self) -> str:
        """Return the fingerprint of the settings."""
        return fingerprint({"version": STORE_VERSION, **self.as_dict()})


def finished_recording(job: Job, folder: Path, shortest_s: float) -> Recording | None:
    """Return a recording that an earlier call finished, or None where it has to be made.

    Parameters
    ----------
    job : Job
        The recording.
    folder : Path
        The store.
    shortest_s : float
        A shorter recording holds no window.

    Raises
    ------
    TooShortError
        It is shorter than ``shortest_s``, though an earlier call had shorter windows.
    """
    finished = read_recording(signals_stem(folder, job.recording), job.fingerprint)
    if finished is not None:
        _check_length(finished.source_n_samples, finished.source_sfreq, shortest_s)
    return finished


def _check_length(n_samples: int, sfreq: float, shortest_s: float) -> None:
    duration_s = n_samples / sfreq
    if duration_s < shortest_s:
        raise TooShortError(f"lasts {duration_s:g} s ({n_samples} samples), shorter than a window of {shortest_s:g} s")


def make_recording(job: Job, folder: Path, settings: SignalSettings, shortest_s: float) -> Recording:
    """Write the signal file of one recording, unless it is there already.

    Parameters
    ----------
    job : Job
        The recording.
    folder : Path
        The store.
    settings : SignalSettings
        How.
    shortest_s : float
        A shorter recording holds no window.

    Returns
    -------
    Recording
        What was written, or found.

    Raises
    ------
    TooShortError
        It is shorter than ``shortest_s``.
    ValueError
        The recording cannot be prepared; the message says why.
    """
    finished = finished_recording(job, folder, shortest_s)
    if finished is not None:
        return finished
    stem = signals_stem(folder, job.recording)
    raw = _preprocessed(job.raw, settings.preprocessors)
    _check_length(len(raw.times), float(raw.info["sfreq"]), shortest_s)
    source = _Harmonised(raw, job, settings)
    sfreq = source.sfreq if settings.resample == "fft-window" else settings.sfreq
    n_samples = resampled_length(source.n_samples, source.sfreq, sfreq)
    resample = RESAMPLERS.get(settings.resample)

    def channel(index: int) -> tuple[NDArray[np.float32], float | None] | None:
        x = source.channel(index)
        if x is None:
            return None
        if resample is not None:
            x = resample(x, source.sfreq, sfreq)
        return x, source.range_uv(index)

    path = stem.with_name(stem.name + ".npy")
    dtype, reason, steps, present = write_signals(path, settings.montage.ch_names, n_samples, channel, settings.dtype)
    if not any(present):
        path.unlink()
        raise ValueError("none of the montage's channels holds a signal")
    file = source_file(job.raw)
    recording = Recording(
        recording=job.recording,
        person=job.person,
        source=file.name if file else None,
        source_sfreq=source.sfreq,
        source_n_samples=source.n_samples,
        file=f"{SIGNALS}/{path.name}",
        dtype=dtype,
        dtype_reason=reason,
        steps_uv=steps,
        sfreq=sfreq,
        n_samples=n_samples,
        present=present,
        events=seizure_events(raw),
        fingerprint=job.fingerprint,
        flat=source.flat,
        not_finite=source.not_finite,
    )
    write_recording(stem, recording)
    return recording


class _Harmonised:
    """The channels of a montage, made from those of a recording, at the recording's rate."""

    def __init__(self, raw: mne.io.BaseRaw, job: Job, settings: SignalSettings) -> None:
        names = list(raw.ch_names)
        if job.zero_is_missing:
            names = _without_zero_channels(raw, settings.montage)
        self.plan = plan = MontageMapper(settings.montage, on_missing=settings.on_missing).plan(names)
        self.sfreq, self.n_samples = float(raw.info["sfreq"]), len(raw.times)
        self.flat: list[list[Span]] = [[] for _ in plan.channels]
        self.not_finite: list[list[Span]] = [[] for _ in plan.channels]
        self._reader: ChannelReader = open_reader(raw, plan.needed)
        self._place = {name: i for i, name in enumerate(self._reader.ch_names)}

    def channel(self, index: int) -> NDArray[np.float32] | None:
        """Return one channel in uV at the recording's rate, or None where it is absent; notes what is bad in it."""
        planned = self.plan.channels[index]
        if planned.how == "missing":
            return None
        x = self._source(planned.sources[0])
        if planned.weights[0] != 1:
            x *= np.float32(planned.weights[0])
        for source, weight in zip(planned.sources[1:], planned.weights[1:], strict=True):
            x += np.float32(weight) * self._source(source)
        self.not_finite[index] = _spans(~np.isfinite(x)) if not np.isfinite(x.sum(dtype=np.float64)) else []
        if self.not_finite[index]:
            x = _bridged(x)
        self.flat[index] = constant_spans(x, max(2, round(SHORTEST_FLAT_S * self.sfreq)))
        return x

    def range_uv(self, index: int) -> float | None:
        """Return the largest absolute value that the header allows for a channel, in uV."""
        planned = self.plan.channels[index]
        ranges = [self._reader.range_uv(self._place[self.plan.ch_names[source]]) for source in planned.sources]
        total = 0.0
        for value, weight in zip(ranges, planned.weights, strict=True):
            if value is None:
                return None
            total += abs(weight) * value
        return total

    def _source(self, source: int) -> NDArray[np.float32]:
        return self._reader.read(self._place[self.plan.ch_names[source]])


def _without_zero_channels(raw: mne.io.BaseRaw, montage: Montage) -> list[str]:
    """Return the channel names, those that are exactly zero throughout replaced by a name that nothing matches."""
    names = list(raw.ch_names)
    needed = plan_montage(montage, names).needed
    reader = open_reader(raw, needed)
    zero = set()
    for i, name in enumerate(reader.ch_names):
        x = reader.read(i)
        if abs(float(x[0])) < ZERO_UV and (x == x[0]).all():
            zero.add(name)
    return [f"{name} (zero throughout)" if name in zero else name for name in names]


def _preprocessed(raw: mne.io.BaseRaw, preprocessors: Sequence[Any]) -> mne.io.BaseRaw:
    if not preprocessors:
        return raw
    raw = raw.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # MNE's remarks on filter lengths, once a recording
        for preprocessor in preprocessors:
            raw = preprocessor.apply(raw)
    return raw


def _serialise(preprocessor: Any) -> Any:
    """Return what identifies a preprocessor: its class, function and arguments."""
    serialize = getattr(preprocessor, "serialize", None)
    if serialize is None or not hasattr(preprocessor, "apply"):
        raise TypeError(
            f"preprocessors must be braindecode Preprocessor objects (MontageMapper(...).as_preprocessor() gives one); got {preprocessor!r}"
        )
    if callable(getattr(preprocessor, "fn", None)):
        _plain(preprocessor.fn)  # raises where the function has no name
    return _plain(serialize())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if callable(value):
        name = f"{getattr(value, '__module__', '?')}.{getattr(value, '__qualname__', '?')}"
        if "<lambda>" in name or "<locals>" in name or name == "?.?":
            raise TypeError(
                f"a preprocessor holds {value!r}, which has no name to recognise it by; use a module's function"
            )
        return name
    if hasattr(value, "get_params"):
        return [type(value).__qualname__, _plain(value.get_params(deep=False))]
    raise TypeError(f"a preprocessor holds {value!r}, which cannot be recognised in a later call; use plain values")


def _spans(mask: NDArray[np.bool_]) -> list[Span]:
    """Return the runs of True as [start, stop]."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return [[int(a), int(b)] for a, b in edges.reshape(-1, 2)]


def constant_spans(x: NDArray[np.floating[Any]], shortest: int) -> list[Span]:
    """Return the stretches of at least ``shortest`` samples in which ``x`` does not change, as [start, stop]."""
    hop = max(1, shortest // 4)
    coarse = x[::hop]
    # Cheap first look: such a stretch holds at least four neighbours of the coarse grid.
    same = coarse[1:] == coarse[:-1]
    if shortest >= 8 and not (same[2:] & same[1:-1] & same[:-2]).any():
        return []
    change = np.flatnonzero(x[1:] != x[:-1]) + 1
    edges = np.concatenate([[0], change, [len(x)]])
    long = np.flatnonzero(np.diff(edges) >= shortest)
    return [[int(edges[i]), int(edges[i + 1])] for i in long]


def _bridged(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``x`` with straight lines across what is not finite, so that resampling does not spread it."""
    good = np.isfinite(x)
    if not good.any():
        return np.zeros_like(x)
    where = np.arange(len(x))
    return np.interp(where, where[good], x[good]).astype(np.float32)
