"""From the recordings of a data set to their stored signals and the descriptions beside them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import mne
import numpy as np

from biot_bd.events.texts import SEIZURE
from biot_bd.exceptions import MissingChannelsError, TooShortError
from biot_bd.io.channel_readers import CHUNK_SAMPLES, rate_of, source_file
from biot_bd.io.digest import recording_digest
from biot_bd.io.segments import TimeLine, annotations_of, tells_of_time
from biot_bd.io.timeline import timeline_of
from biot_bd.io.unusable import read_otherwise, unusable_channels
from biot_bd.runs import fingerprint
from biot_bd.signals.mapper import MontageMapper
from biot_bd.signals.montages import Montage, MontagePlan, plan_montage
from biot_bd.signals.recordings import notes_on
from biot_bd.signals.resampling import PiecewisePlan, check_rate, make_plan
from biot_bd.windows import store
from biot_bd.windows.preparation.anonymity import Anonymous
from biot_bd.windows.preparation.montage_signals import Harmonised

SIGNALS_VERSION = 1
"""Raised where the same input gives other samples, so that stores are written anew."""
# Windows of the last are resampled when they are read.
STORED_BY = {"fft": "fft", "polyphase": "polyphase", "fft-window": "none"}


@dataclass
class Job:
    """One recording to prepare, light enough to travel to a worker process.

    Parameters
    ----------
    recording, subject : str
        Names.
    raw : mne.io.BaseRaw
        The recording, in volts.
    zero_is_missing : bool
        An exactly-zero channel was never recorded.
    fingerprint : str
        Of the input and the settings.
    namespace_from : str, optional
        See :class:`biot_bd.windows.store.Recording`.
    annotations : list of [onset_s, duration_s, description]
        Of the recording as it was loaded, before any preprocessor.
    split : str, optional
        See :class:`biot_bd.windows.store.Recording`.
    anonymous : Anonymous, optional
        What stays of it where it is named by a number; None: everything.
    """

    recording: str
    subject: str
    raw: mne.io.BaseRaw
    zero_is_missing: bool
    fingerprint: str
    namespace_from: str | None = None
    annotations: list[list[Any]] = field(default_factory=list)
    split: str | None = None
    anonymous: Anonymous | None = None

    @property
    def where(self) -> str:
        """Name of the recording and its file, for messages."""
        path = source_file(self.raw)
        return f"recording {self.recording}" + (f" ({path})" if path else "")

    @property
    def descriptions(self) -> set[str]:
        """Descriptions of the annotations, ``sz`` where there is a seizure."""
        texts = {str(text) for text in self.raw.annotations.description}
        if self.anonymous is not None:
            texts = {text for text in texts if self.anonymous.keeps(text)}
        seizures = {SEIZURE} if any(text.startswith(SEIZURE) for text in texts) else set()
        return {text for text in texts if not tells_of_time(text)} | seizures

    def identify(self, settings: SignalSettings) -> None:
        """Set fingerprint and annotations.

        OSError or RecordingError where the file is not there or damaged.
        """
        identity, line = _identity(self.raw, self.anonymous), timeline_of(self.raw)
        needed = plan_montage(settings.montage, self.raw.ch_names).needed
        identity |= _time_identity(self.raw, line, needed) | _unit_identity(self.raw, needed)
        events = seizure_events(self.raw, line)
        self.annotations = other_annotations(self.raw, line, self.anonymous)
        self.fingerprint = fingerprint([settings.fingerprint(), identity, self.subject, self.zero_is_missing, events])


def _identity(raw: mne.io.BaseRaw, anonymous: Anonymous | None) -> dict[str, Any]:
    """Describe the input: name, size and time of the file, or a digest of data in memory.

    The first two could be guessed from a fingerprint, so an anonymous recording is told by its
    content alone.
    """
    known: dict[str, Any] = {"ch_names": list(raw.ch_names), "sfreq": float(raw.info["sfreq"]), "n": int(raw.n_times)}
    known["first_samp"] = int(raw.first_samp)
    if raw.preload:
        digest = hashlib.blake2b(digest_size=16)
        for start in range(0, raw.n_times, CHUNK_SAMPLES):
            part = raw.get_data(start=start, stop=min(start + CHUNK_SAMPLES, raw.n_times), verbose="error")
            digest.update(np.ascontiguousarray(part).data)
        return known | {"data": digest.hexdigest()}
    if anonymous is not None:
        return known | {"content": anonymous.content}
    for name in raw.filenames:
        if name is not None:
            stat = Path(name).stat()
            known.setdefault("files", []).append([Path(name).name, stat.st_size, stat.st_mtime_ns])
    return known


def _time_identity(raw: mne.io.BaseRaw, line: TimeLine, needed: Sequence[str]) -> dict[str, Any]:
    """Describe pauses and another rate of the needed channels; nothing without them."""
    known: dict[str, Any] = {} if line.is_continuous else {"segments": line.as_list()}
    rate = rate_of(raw, needed)
    return known if rate == raw.info["sfreq"] else known | {"sfreq_read": rate}


def _unit_identity(raw: mne.io.BaseRaw, needed: Sequence[str]) -> dict[str, Any]:
    """Describe channels that are read otherwise than MNE alone reads them; nothing without them."""
    known = {name: what for name, what in read_otherwise(raw).items() if name in needed}
    return {"units": known} if known else {}


def seizure_events(raw: mne.io.BaseRaw, line: TimeLine) -> list[list[float]]:
    """Return (onset_s, offset_s) of annotations ``sz...``, pauses included."""
    found = line.clock_times(
        (float(a["onset"]) - raw.first_time, float(a["onset"]) + float(a["duration"]) - raw.first_time)
        for a in raw.annotations
        if str(a["description"]).startswith("sz")
    )
    return sorted([[round(max(0.0, on), 6), round(off, 6)] for on, off in found if off >= 0])


def other_annotations(raw: mne.io.BaseRaw, line: TimeLine, anonymous: Anonymous | None = None) -> list[list[Any]]:
    """Return (onset_s, duration_s, description) of all annotations but ``sz``, pauses included.

    Marks of pauses and splices are the time line's; of an anonymous recording, free text goes.
    """
    rows = [row for row in annotations_of(raw) if row[2] != SEIZURE and not tells_of_time(row[2])]
    rows = [row for row in rows if anonymous is None or anonymous.keeps(row[2])]
    times = line.clock_times([(onset_s, onset_s + duration_s) for onset_s, duration_s, _ in rows])
    found = zip(times, rows, strict=True)
    return sorted([round(on, 6), round(off - on, 6), row[2]] for (on, off), row in found)


def make_jobs(dataset: Any) -> list[Job]:
    """Return the recordings of a data set, their fingerprints still empty.

    Raises
    ------
    TypeError
        Not a data set of recordings.
    ValueError
        It is empty, a description lacks a name, or two recordings have one name.
    """
    jobs: dict[str, Job] = {}
    found = getattr(dataset, "datasets", None)
    if found is None:
        raise TypeError(f"dataset must be a braindecode BaseConcatDataset of recordings; got {type(dataset).__name__}")
    if not found:
        raise ValueError("the data set holds no recording")
    for position, item in enumerate(found):
        recording, subject = _names(position, item)
        if recording in jobs:
            raise ValueError(f"two recordings are named {recording!r}; description['recording'] must be unique")
        # A description made from a table may hold NaN, which is true to bool().
        zero = item.description.get("zero_is_missing")
        space, split = item.description.get("namespace_from"), item.description.get("split")
        jobs[recording] = Job(
            recording,
            subject,
            item.raw,
            isinstance(zero, (bool, np.bool_)) and bool(zero),
            "",
            space if isinstance(space, str) else None,
            split=split if isinstance(split, str) and split else None,
        )
    return list(jobs.values())


def _names(position: int, item: Any) -> tuple[str, str]:
    description = getattr(item, "description", None)
    if not hasattr(item, "raw") or description is None:
        raise TypeError(
            f"recording {position} of the data set is a {type(item).__name__}; expected a RawDataset with a description"
        )
    for key in ("recording", "subject"):
        value = description.get(key)
        if not isinstance(value, str) or not value:
            raise ValueError(
                f"recording {position} of the data set has description[{key!r}] = {value!r}; a text is needed "
                "(biot_bd.adapt_dataset adds what a braindecode data set lacks)"
            )
    return description["recording"], description["subject"]


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
        return {f.name: getattr(self, f.name) for f in fields(self)} | {
            "montage": asdict(self.montage) | {"description": ""},
            "preprocessors": [_serialise(p) for p in self.preprocessors],
        }

    def fingerprint(self) -> str:
        """Return the fingerprint of the settings."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint({"version": SIGNALS_VERSION, **self.as_dict()})


def finished_recording(job: Job, folder: Path, shortest_s: float) -> store.Recording | None:
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
    finished = store.read_recording(store.signals_stem(folder, job.recording), job.fingerprint)
    if finished is not None:
        _check_length(max(s.n_samples for s in finished.stretches), finished.source_sfreq, shortest_s)
    return finished


def check_header(raw: mne.io.BaseRaw, line: TimeLine, settings: SignalSettings, shortest_s: float) -> MontagePlan:
    """Judge a recording by its header: length, channels, rate; :func:`make_recording` begins so.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording.
    line : TimeLine
        Its time line.
    settings : SignalSettings
        What is wanted of it.
    shortest_s : float
        A recording without a segment of that length holds no window.

    Returns
    -------
    MontagePlan
        How its channels become the montage's.

    Raises
    ------
    TooShortError, MissingChannelsError, ValueError
        It cannot be prepared; :func:`outcome_of` is the word for it.
    """
    _check_length(max((s.n_samples for s in line.segments), default=0), line.sfreq, shortest_s)
    mapper = MontageMapper(settings.montage, on_missing=settings.on_missing)
    plan = mapper.plan(raw.ch_names, unusable=unusable_channels(raw))
    if not plan.needed:
        raise ValueError("none of the montage's channels holds a signal")
    check_rate(rate_of(raw, plan.needed), settings.sfreq)
    return plan


def outcome_of(error: Exception) -> str:
    """Return the word for what kept a recording from being prepared, as a manifest lists it."""
    kinds = {TooShortError: "too-short", MissingChannelsError: "missing-channels", OSError: "unreadable"}
    return next((word for kind, word in kinds.items() if isinstance(error, kind)), "failed")


def detail_of(error: Exception) -> str:
    """Return why a recording was not prepared, as a manifest tells it."""
    is_told = isinstance(error, (TooShortError, MissingChannelsError))
    return str(error) if is_told else f"{type(error).__name__}: {error}"


def _check_length(n_samples: int, sfreq: float, shortest_s: float) -> None:
    duration_s = n_samples / sfreq
    if duration_s < shortest_s:
        raise TooShortError(f"lasts {duration_s:g} s ({n_samples} samples), shorter than a window of {shortest_s:g} s")


def make_recording(job: Job, folder: Path, settings: SignalSettings, shortest_s: float) -> store.Recording:
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
    store.Recording
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
        return _with_identity(finished, job, settings.preprocessors)
    stem = store.signals_stem(folder, job.recording)
    raw = _preprocessed(job.raw, settings.preprocessors)
    line = timeline_of(raw)
    planned = check_header(raw, line, settings, shortest_s)
    source = Harmonised(raw, settings.montage, settings.on_missing, job.zero_is_missing, planned)
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
    dtype, reason, steps = store.write_signals(
        path,
        settings.montage.ch_names,
        plan.n_out,
        source.ranges_uv,
        lambda channels, units_uv: source.resampled(plan, channels, units_uv),
        source.present,
        settings.dtype,
    )
    file = source_file(job.raw)
    recording = store.Recording(
        recording=job.recording,
        subject=job.subject,
        source=file.name if file and job.anonymous is None else None,
        source_sfreq=source.sfreq,
        source_n_samples=source.n_samples,
        file=f"{store.SIGNALS}/{path.name}",
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
        notes=[*notes_on(raw), *source.notes],
        digest=recording_digest(job.raw),
        namespace_from=job.namespace_from,
        annotations=other_annotations(raw, line, job.anonymous),
        annotations_from=told_apart(job, settings.preprocessors),
        split=job.split,
    )
    store.write_recording(stem, recording)
    return recording


def _with_identity(finished: store.Recording, job: Job, preprocessors: Sequence[Any]) -> store.Recording:
    """Add what tells a recording by its content, and its annotations.

    Stores of before lack both, and annotations may have changed since; its file stays.
    """
    annotations, source = job.annotations, told_apart(job, preprocessors)
    if preprocessors and source == finished.annotations_from:
        annotations = finished.annotations
    elif preprocessors:  # one of them may move or drop annotations
        raw = _preprocessed(job.raw, preprocessors)
        annotations = other_annotations(raw, timeline_of(raw), job.anonymous)
    return replace(
        finished,
        digest=finished.digest or recording_digest(job.raw),
        namespace_from=job.namespace_from,
        annotations=annotations,
        annotations_from=source,
        split=job.split,
    )


def told_apart(job: Job, preprocessors: Sequence[Any]) -> str | None:
    """Return what tells the annotations that preprocessors were given; None without any."""
    return fingerprint(job.annotations) if preprocessors and job.annotations else None


def _stretches(line: TimeLine, lengths: Sequence[int]) -> list[dict[str, Any]]:
    """Describe the segments of a recording and where each lies in the signal file."""
    starts = [0, *accumulate(lengths)][:-1]
    return [
        asdict(store.Stretch(s.first_sample, s.n_samples, s.start_s, s.duration_s, start, length))
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
