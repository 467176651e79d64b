"""From one recording to its stored signal and the description beside it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import mne
import numpy as np

from biot_bd.exceptions import TooShortError
from biot_bd.io.channel_readers import source_file
from biot_bd.io.segments import TimeLine
from biot_bd.io.timeline import timeline_of
from biot_bd.runs import fingerprint
from biot_bd.signals.montages import Montage
from biot_bd.signals.resampling import PiecewisePlan, make_plan
from biot_bd.windows.preparation.jobs import Job, seizure_events
from biot_bd.windows.preparation.montage_signals import Harmonised
from biot_bd.windows.store import (
    SIGNALS,
    Recording,
    Stretch,
    read_recording,
    signals_stem,
    write_recording,
    write_signals,
)

SIGNALS_VERSION = 1
"""Raised where the same input gives other samples, so that stores are written anew."""
# Windows of the last are resampled when they are read.
STORED_BY = {"fft": "fft", "polyphase": "polyphase", "fft-window": "none"}


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
        return fingerprint({"version": SIGNALS_VERSION, **self.as_dict()})


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
        _check_length(max(s.n_samples for s in finished.stretches), finished.source_sfreq, shortest_s)
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
    line = timeline_of(raw)
    _check_length(max((s.n_samples for s in line.segments), default=0), line.sfreq, shortest_s)
    source = Harmonised(raw, settings.montage, settings.on_missing, job.zero_is_missing)
    if not any(source.present):
        raise ValueError("none of the montage's channels holds a signal")
    sfreq = source.sfreq if settings.resample == "fft-window" else settings.sfreq
    line = line.at_rate(source.sfreq, source.n_samples)
    plans = [
        make_plan(STORED_BY[settings.resample], s.n_samples, source.sfreq, sfreq, context=source.shortest_flat_samples)
        for s in line.segments
    ]
    # Nothing is resampled across a pause.
    plan = plans[0] if line.is_continuous else PiecewisePlan([s.first_sample for s in line.segments], plans)
    path = stem.with_name(stem.name + ".npy")
    dtype, reason, steps = write_signals(
        path,
        settings.montage.ch_names,
        plan.n_out,
        source.ranges_uv,
        lambda channels, units_uv: source.resampled(plan, channels, units_uv),
        source.present,
        settings.dtype,
    )
    file = source_file(job.raw)
    recording = Recording(
        recording=job.recording,
        subject=job.subject,
        source=file.name if file else None,
        source_sfreq=source.sfreq,
        source_n_samples=source.n_samples,
        file=f"{SIGNALS}/{path.name}",
        dtype=dtype,
        dtype_reason=reason,
        steps_uv=steps,
        sfreq=sfreq,
        n_samples=plan.n_out,
        present=source.present,
        events=seizure_events(raw, line),
        fingerprint=job.fingerprint,
        flat=source.flat,
        not_finite=source.not_finite,
        segments=[] if line.is_continuous else _stretches(line, [p.n_out for p in plans]),
    )
    write_recording(stem, recording)
    return recording


def _stretches(line: TimeLine, lengths: Sequence[int]) -> list[dict[str, Any]]:
    """Describe the segments of a recording and where each lies in the signal file."""
    starts = [0, *accumulate(lengths)][:-1]
    return [
        asdict(Stretch(s.first_sample, s.n_samples, s.start_s, s.duration_s, start, length))
        for s, start, length in zip(line.segments, starts, lengths, strict=True)
    ]


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
