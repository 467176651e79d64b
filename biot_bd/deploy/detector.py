"""``Detector``: a saved model that finds seizures in recordings."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from biot_bd.deploy.detection_stream import WINDOW_COUNTS, DetectionStream, StreamResult
from biot_bd.deploy.engine_choice import open_model
from biot_bd.deploy.model import ModelScorer, Scorer
from biot_bd.deploy.operating_point import OperatingPoint, operating_point_of
from biot_bd.deploy.training_overlap import UNKNOWN, InTraining, digest_of, training_overlap
from biot_bd.deploy.tuned_on import tuned_on
from biot_bd.deploy.version_folder import check_files, is_version, read_version
from biot_bd.events.chosen_on import chosen_on_text
from biot_bd.events.detector import EVENTS_JSON, RECALIBRATION_FILE, Event, EventDetector, load_event_detector
from biot_bd.exceptions import DetectionError, MissingChannelsError, ShortRecordingError
from biot_bd.io.recordings import open_recording, read_blocks
from biot_bd.io.segments import TimeLine
from biot_bd.models.checkpoints.config import provenance_of
from biot_bd.models.checkpoints.demonstration import demonstration_note
from biot_bd.models.checkpoints.provenance import Provenance
from biot_bd.models.checkpoints.seen_recordings import SeenRecordings
from biot_bd.signals.amplitude import amplitude_notes, no_eeg
from biot_bd.signals.montages import MontagePlan
from biot_bd.signals.planning import plan_recording
from biot_bd.signals.resampling import check_rate

if TYPE_CHECKING:
    import mne

STRIDE_S = 5.0
BATCH = 64
SHORTEST_GAP_S = 0.05


class Setting(TypedDict):
    """What decides a detection beside the model.

    ``events`` is :meth:`EventDetector.setting`.
    """

    montage: str
    sfreq: float
    window_s: float
    stride_s: float
    on_missing: str
    causal: bool
    precision: str | None
    engine: NotRequired[str]
    smoothing: str
    events: dict[str, float]


class DetectionFacts(TypedDict):
    """A :class:`Detection` but for its curve, as JSON holds it."""

    source: str
    duration_s: float
    events: list[dict[str, float]]
    n_windows: int
    gaps: list[list[float]]
    segments: list[list[float]]
    in_training: InTraining
    sfreq: float
    start_time: str | None
    channels: dict[str, str]
    notes: list[str]
    setting: Setting
    operating_point: OperatingPoint | None
    digest: str | None
    seconds: dict[str, float]


@dataclass(frozen=True)
class Detection:
    """What a detector found in one recording.

    Parameters
    ----------
    source : str
        The file, or what a recording in memory says of itself.
    events : list of Event
        Onset and offset in seconds since the first sample, pauses included, and confidence.
    start_s, probabilities : ndarray, shape (n,)
        Every window: its start in seconds, its probability of a seizure; NaN where no channel was
        usable.
    window_s, stride_s, duration_s : float
        In seconds.
    sfreq : float
        Rate of the recording in Hz.
    channels : dict of str to str
        How each channel of the montage came about, e.g. ``"FP1-F7"``, ``"F7 minus T3"`` or
        ``"missing"``.
    notes : list of str
        What a reader should know: a cut file, missing or flat channels, stretches without a
        probability.
    setting : Setting
        Values of the event detector, rate, stride, whether causal.
    start_time : datetime.datetime or None
        When the recording began, as it says.
    seconds : dict of str to float
        Where the time went: ``read``, ``prepare``, ``model``, ``total``.
    segments : list of (float, float)
        Start and length of each stretch without a pause, in seconds since the recording's start.
    in_training : InTraining
        Whether the recording trained the model, and what its subject was called there.
    segment_samples : list of int
        How many samples each of the segments has, at the rate ``sfreq``.
    operating_point : OperatingPoint or None
        What the threshold was chosen on.
    digest : str or None
        What tells the recording by its content (:func:`biot_bd.io.recording_digest`).

    See Also
    --------
    Detector.detect : Makes one.
    biot_bd.deploy.curve_of : The curve on which it was decided.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd import Event
    >>> found = Detection(
    ...     source="night.edf",
    ...     events=[Event(12.0, 20.0, 0.9)],
    ...     start_s=np.array([0.0, 10.0, 20.0]),
    ...     probabilities=np.array([0.1, 0.9, np.nan]),
    ...     window_s=10.0,
    ...     stride_s=10.0,
    ...     duration_s=30.0,
    ...     sfreq=256.0,
    ...     channels={"FP1-F7": "FP1-F7"},
    ...     notes=[],
    ...     setting={},
    ... )
    >>> found.gaps
    [(20.0, 30.0)]
    >>> found.as_dict()["events"]
    [{'onset_s': 12.0, 'offset_s': 20.0, 'confidence': 0.9}]
    """

    source: str
    events: list[Event]
    start_s: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    window_s: float
    stride_s: float
    duration_s: float
    sfreq: float
    channels: dict[str, str]
    notes: list[str]
    setting: Setting
    start_time: datetime | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    segments: list[tuple[float, float]] = field(default_factory=list)
    in_training: InTraining = field(default_factory=lambda: UNKNOWN)
    segment_samples: list[int] = field(default_factory=list)
    operating_point: OperatingPoint | None = None
    digest: str | None = None

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """Stretches (start_s, stop_s) of the recording that no window with a probability covers."""
        known = ~np.isnan(self.probabilities)
        found, covered = [], 0.0
        for start in self.start_s[known]:
            if start > covered + 1e-6:
                found.append((covered, float(start)))
            covered = max(covered, float(start) + self.window_s)
        # Where the recorder's clock runs off, the last window ends a sample or so early.
        if covered < self.duration_s - SHORTEST_GAP_S:
            found.append((covered, self.duration_s))
        return found

    def as_dict(self) -> DetectionFacts:
        """Return all but the curve as JSON holds it."""
        return {
            "source": self.source,
            "duration_s": self.duration_s,
            "events": [event._asdict() for event in self.events],
            "n_windows": len(self.start_s),
            "gaps": [list(gap) for gap in self.gaps],
            "segments": [[round(start_s, 6), round(length_s, 6)] for start_s, length_s in self.segments],
            "in_training": self.in_training,
            "sfreq": self.sfreq,
            "start_time": None if self.start_time is None else self.start_time.isoformat(),
            "channels": self.channels,
            "notes": self.notes,
            "setting": self.setting,
            "operating_point": self.operating_point,
            "digest": self.digest,
            "seconds": self.seconds,
        }


class Detector:
    """Find seizures in recordings: montage, resampling, windows, model, events.

    Parameters
    ----------
    scorer : Scorer
        The model.
    event_detector : EventDetector
        From probabilities to events.  A causal one makes the whole chain causal: as a live stream
        would have it.
    stride_s : float
        From one window's start to the next, in seconds.
    on_missing : {"raise", "drop", "interpolate"}
        Channels of the montage that a recording lacks: an error that names them, absent (the model
        masks them), or interpolated (referential recordings).
    batch_size : int
        Windows that the model computes at once.
    notes : sequence of str
        Put before every detection's own notes.
    provenance : Provenance, optional
        What the model was trained on; detections of a recording, or a subject, of its training say
        so.
    tuned_on : SeenRecordings, optional
        The recordings that chose the operating point, where they are known; detections of one of
        them say so.
    operating_point : OperatingPoint, optional
        What the threshold was chosen on, for every detection to say.

    Raises
    ------
    ValueError
        A parameter makes no sense.

    See Also
    --------
    Detector.load : A detector of a saved model.
    biot_bd.EventDetector : From probabilities to events.
    biot_bd.deploy.live.LiveDetector : The same for a live signal.

    Examples
    --------
    Any object with a montage, a rate and a length of windows is a model; this one calls loud
    windows seizures.

    >>> import mne
    >>> import numpy as np
    >>> from biot_bd import Detector, EventDetector
    >>> from biot_bd.registry import montages
    >>> class Loudness:
    ...     montage, sfreq, window_s, threshold = montages["biot-16"], 200.0, 10.0, 0.5
    ...
    ...     def score(self, batch):
    ...         return np.clip(np.nanstd(batch.x, axis=(1, 2)) / 300, 0, 1)
    >>> volts = np.random.default_rng(0).normal(0, 30e-6, (16, 60 * 200))
    >>> volts[:, 20 * 200 : 40 * 200] *= 10
    >>> raw = mne.io.RawArray(
    ...     volts,
    ...     mne.create_info(list(montages["biot-16"].ch_names), 200.0, "eeg"),
    ...     verbose="error",
    ... )
    >>> detector = Detector(
    ...     Loudness(), EventDetector(window_s=10, smoothing_s=0, target=None), stride_s=5
    ... )
    >>> [(event.onset_s, event.offset_s) for event in detector.detect(raw).events]
    [(20.0, 40.0)]
    """

    def __init__(
        self,
        scorer: Scorer,
        event_detector: EventDetector,
        *,
        stride_s: float = STRIDE_S,
        on_missing: str = "raise",
        batch_size: int = BATCH,
        notes: Sequence[str] = (),
        provenance: Provenance | None = None,
        tuned_on: SeenRecordings | None = None,
        operating_point: OperatingPoint | None = None,
    ) -> None:
        if not (np.isfinite(stride_s) and stride_s > 0):
            raise ValueError(f"stride_s must be a positive number of seconds, found {stride_s!r}")
        if on_missing not in ("raise", "drop", "interpolate"):
            raise ValueError(f"on_missing must be 'raise', 'drop' or 'interpolate', found {on_missing!r}")
        if abs(event_detector.window_s - scorer.window_s) > 1e-6:
            raise ValueError(
                f"the events are for windows of {event_detector.window_s:g} s, the model has windows of {scorer.window_s:g} s"
            )
        self.scorer, self.event_detector = scorer, event_detector
        self.stride_s, self.on_missing, self.batch_size = stride_s, on_missing, batch_size
        self.notes, self.provenance, self.tuned_on = list(notes), provenance, tuned_on
        self.operating_point = operating_point

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str],
        *,
        stride_s: float = STRIDE_S,
        on_missing: str = "raise",
        causal: bool = False,
        precision: str | None = None,
        batch_size: int = BATCH,
        engine: str = "auto",
        threshold: float | None = None,
        smoothing_s: float | None = None,
        release_fraction: float | None = None,
        min_duration_s: float | None = None,
        merge_gap_s: float | None = None,
    ) -> Detector:
        """Load a saved model as a detector.

        Parameters
        ----------
        model : path
            Folder of :func:`biot_bd.save_pipeline`, or of :func:`biot_bd.export_model`, which
            needs no torch; or a version of a :class:`biot_bd.deploy.Registry`, whose files are
            compared with what was registered.  Its ``events.json`` says how probabilities become
            events; without one the defaults of
            :class:`~biot_bd.events.detector.EventDetector` hold with the model's own threshold, and
            every detection says so.  A ``recalibration.json`` is not applied, which every detection
            says, too: thresholds and events were chosen on the model's own probabilities.
        stride_s, on_missing, batch_size
            See :class:`Detector`.
        causal : bool
            Decide from the past alone.
        precision : {"auto", "fp32", "bf16", "fp16", "int8", "int8-bf16"} or None
            Precision of the model: None is its own (fp32, and int8 of one that was exported so);
            ``"auto"`` the fastest on this machine within 0.01 of a probability.  An exported model
            computes in those that it was proven in.
        engine : str
            What computes the model, by its name in ``biot_bd.registry.engines``; ``"auto"``: the
            fastest here of what the folder holds, torch and its ``exports/``, or the engines of an
            exported model.  Where there is a choice, it is measured once (two seconds) and every
            detection says what was chosen.
        threshold, smoothing_s, release_fraction, min_duration_s, merge_gap_s : float, optional
            Instead of what the model's event detector has.

        Raises
        ------
        FileNotFoundError
            No saved model is there.
        ValueError
            It is damaged or cannot be a detector, or an option makes no sense.
        biot_bd.exceptions.UnknownNameError
            No engine has this name.
        """
        n_windows = 1 if causal else batch_size
        registered = _registered(Path(model))
        scorer, notes = open_model(model, engine=engine, precision=precision, n_windows=n_windows)
        told_of_model = demonstration_note(scorer.record)
        notes += [] if told_of_model is None else [told_of_model]
        options = {
            "threshold": threshold,
            "smoothing_s": smoothing_s,
            "release_fraction": release_fraction,
            "min_duration_s": min_duration_s,
            "merge_gap_s": merge_gap_s,
        }
        given = {name: value for name, value in options.items() if value is not None}
        event_detector, told, point = _event_detector(Path(model), scorer, causal, given)
        notes += [*told, *registered]
        return cls(
            scorer,
            event_detector,
            stride_s=stride_s,
            on_missing=on_missing,
            batch_size=batch_size,
            notes=notes,
            provenance=_provenance_of(model),
            tuned_on=tuned_on(model),
            operating_point=point,
        )

    @property
    def causal(self) -> bool:
        """Whether decisions use the past alone."""
        return bool(self.event_detector.causal)

    def stream(
        self, ch_names: Sequence[str], sfreq: float, where: str = "", unusable: Mapping[str, str] | None = None
    ) -> DetectionStream:
        """Return the chunk-fed form, for a signal of these channels and this rate.

        Raises
        ------
        DetectionError
            The channels do not make the montage, or the rate cannot be used.
        """
        options: dict[str, Any] = {name: getattr(self, name) for name in ("stride_s", "on_missing", "batch_size")}
        try:
            check_rate(sfreq, self.scorer.sfreq)
            return DetectionStream(
                self.scorer, self.event_detector, ch_names, sfreq, where=where, unusable=unusable, **options
            )
        except MissingChannelsError as error:  # names the place itself
            raise DetectionError(str(error)) from error
        except ValueError as error:
            raise DetectionError(f"{where or 'signal'}: {error}") from error

    def setting(self) -> Setting:
        """Return what decides the result beside the model: montage, rate, stride, events."""
        return {
            "montage": self.scorer.montage.name,
            "sfreq": self.scorer.sfreq,
            "window_s": self.scorer.window_s,
            "stride_s": self.stride_s,
            "on_missing": self.on_missing,
            "causal": self.causal,
            "precision": getattr(self.scorer, "precision", None),
            "engine": getattr(self.scorer, "engine", "torch"),
            "smoothing": self.event_detector.smoothing,
            "events": self.event_detector.setting(),
        }

    def detect(self, source: str | os.PathLike[str] | mne.io.BaseRaw, *, subject: str | None = None) -> Detection:
        """Find seizures in one recording.

        Parameters
        ----------
        source : path or mne.io.BaseRaw
            A file in a format that MNE reads, or an MNE recording in volts.
        subject : str, optional
            Full name of its subject, as a data set has it, e.g. ``"clinic/01"``, to say whether the
            model was trained on it.

        Returns
        -------
        Detection

        Raises
        ------
        DetectionError
            The file is missing, damaged or unreadable, lacks electrodes, is shorter than a window,
            or most of its channels have amplitudes that no EEG has.
        """
        begin = time.perf_counter()
        recording = open_recording(source)
        channels = (recording.ch_names, self.on_missing, recording.where, recording.unusable)
        try:
            needed = plan_recording(self.scorer.montage, *channels).needed  # type: ignore[arg-type]
        except MissingChannelsError as error:  # names the place itself
            raise DetectionError(str(error)) from error
        except ValueError as error:
            raise DetectionError(f"{recording.where}: {error}") from error
        reader, line = recording.reader(needed)
        check_length(recording.where, line, self.scorer.window_s)
        stream = self.stream(recording.ch_names, reader.sfreq, recording.where, recording.unusable)
        read_s, results = time.perf_counter() - begin, []
        # Each segment has a stream of its own: no window and no event reaches across a pause.
        for number, segment in enumerate(line.segments):
            if number:
                stream = self.stream(recording.ch_names, reader.sfreq, recording.where, recording.unusable)
            blocks = read_blocks(recording, stream.needed, segment.first_sample, segment.stop_sample, reader)
            while True:
                start = time.perf_counter()
                block = next(blocks, None)
                read_s += time.perf_counter() - start
                if block is None:
                    break
                stream.push(block)
            results.append(stream.finish())
        result = results[0] if line.is_continuous else _on_clock(results, line)
        if refused := no_eeg(result.n_impossible, _n_windows(stream.plan, result)):
            raise DetectionError(f"{recording.where}: {refused}")
        seconds = {"read": read_s, **result.seconds, "total": time.perf_counter() - begin}
        bad = [name for name in stream.needed if name in recording.bads]
        notes = [f"marked as bad in the recording, used all the same: {', '.join(bad)}"] if bad else []
        notes += recording.unit_notes(stream.needed)
        digest, fault = digest_of(recording)
        in_training, told = training_overlap(self.provenance, digest, fault, subject)
        if self.tuned_on is not None and digest is not None and self.tuned_on.subjects_of(digest):
            told.append(
                "this recording chose the operating point, so what is found in it says little of other recordings"
            )
        found = self.detection(
            recording.where,
            replace(result, seconds=seconds),
            stream.plan,
            reader.sfreq,
            notes=[*told, *recording.notes, *notes],
            start_time=line.start_time,
            segments=[(s.start_s, s.duration_s) for s in line.segments],
        )
        samples = [s.n_samples for s in line.segments]
        return replace(found, in_training=in_training, segment_samples=samples, digest=digest)

    def detection(
        self,
        source: str,
        result: StreamResult,
        plan: MontagePlan,
        sfreq: float,
        *,
        notes: Sequence[str],
        start_time: datetime | None,
        segments: Sequence[tuple[float, float]],
    ) -> Detection:
        """Put together what a stream found in a source, with what a reader should know of its
        channels and gaps.
        """
        found = Detection(
            source,
            result.events,
            result.start_s,
            result.probabilities,
            window_s=self.scorer.window_s,
            stride_s=self.stride_s,
            duration_s=result.duration_s,
            sfreq=sfreq,
            channels=plan.origins,
            notes=[*self.notes, *notes, *channel_notes(plan, result)],
            setting=self.setting(),
            start_time=start_time,
            seconds=result.seconds,
            segments=list(segments),
            operating_point=self.operating_point,
        )
        return replace(found, notes=[*found.notes, *gap_notes(_recorded(found.gaps, found.segments))])

    def detect_many(
        self, sources: Iterable[str | os.PathLike[str] | mne.io.BaseRaw]
    ) -> Iterator[tuple[Any, Detection | DetectionError]]:
        """Find seizures in several recordings, one after another; one that fails stops no other.

        Parameters
        ----------
        sources : iterable of path or mne.io.BaseRaw

        Yields
        ------
        source
            As it was given.
        result : Detection or DetectionError
            What was found, or what went wrong.
        """
        for source in sources:
            try:
                yield source, self.detect(source)
            except DetectionError as error:
                yield source, error


def check_length(where: str, line: TimeLine, window_s: float) -> None:
    """Raise where no stretch of a recording without a pause holds a window.

    Parameters
    ----------
    where : str
        Name of the recording, for the message.
    line : TimeLine
        Its time line.
    window_s : float
        Length of a window in seconds.

    Raises
    ------
    ShortRecordingError
        Its longest stretch is shorter.
    """
    longest = max((s.n_samples for s in line.segments), default=0)
    if longest < round(window_s * line.sfreq):
        which = "lasts" if len(line.segments) < 2 else f"has {len(line.segments)} segments, the longest lasts"
        raise ShortRecordingError(
            f"{where}: {which} {longest / line.sfreq:g} s ({longest} samples), shorter than a window of {window_s:g} s",
            line.duration_s,
            line.start_time,
        )


def _on_clock(results: Sequence[StreamResult], line: TimeLine) -> StreamResult:
    """Join what was found in each segment, with the times of the recording."""
    events, starts = list[Event](), []
    counts: dict[str, Counter[str]] = {name: Counter() for name in WINDOW_COUNTS}
    seconds = Counter[str]()
    for result, segment in zip(results, line.segments, strict=True):
        first = segment.first_sample
        starts.append(line.time_of(first + result.start_s * line.sfreq))
        for event in result.events:
            onset_s = float(line.time_of(first + event.onset_s * line.sfreq))
            offset_s = min(float(line.time_of(first + event.offset_s * line.sfreq, stop=True)), segment.stop_s)
            events.append(Event(onset_s, offset_s, event.confidence))
        for name, of_channels in counts.items():
            of_channels.update(getattr(result, name))
        seconds.update(result.seconds)  # type: ignore[arg-type]  # counts what is added up, of any kind
    return StreamResult(
        events=events,
        start_s=np.concatenate(starts),
        probabilities=np.concatenate([result.probabilities for result in results]),
        duration_s=line.duration_s,
        seconds=dict(seconds),
        n_absent=counts["n_absent"],
        n_flat=counts["n_flat"],
        n_offset=counts["n_offset"],
        n_impossible=counts["n_impossible"],
        n_loud=counts["n_loud"],
        n_faint=counts["n_faint"],
    )


def _recorded(
    gaps: Sequence[tuple[float, float]], segments: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Return the parts of gaps in which something was recorded."""
    if len(segments) < 2:
        return list(gaps)
    return [
        (max(a, start), min(b, start + length))
        for a, b in gaps
        for start, length in segments
        if min(b, start + length) > max(a, start) + 1e-6
    ]


def _registered(model: Path) -> list[str]:
    """Say which version of the model registry a folder is, its files checked; else nothing."""
    if not is_version(model):
        return []
    version = read_version(model)
    check_files(version, whole=False)
    return [f"registered model {version.label}, digest {version.digest[:12]}"]


def _event_detector(
    model: Path, scorer: ModelScorer, causal: bool, options: dict[str, float]
) -> tuple[EventDetector, list[str], OperatingPoint]:
    """Return the event detector of a model with the options that were given, notes, and what it
    was chosen on.
    """
    notes = []
    if (model / EVENTS_JSON).exists():
        events = load_event_detector(model, causal=causal)
        if options:
            notes.append("given instead of what was fitted: " + ", ".join(f"{k} {v:g}" for k, v in options.items()))
        elif "what" in (chosen := getattr(events, "chosen_on_", None) or {}):
            notes.append(f"operating point chosen on {chosen_on_text(chosen)}")
    else:
        events = EventDetector(window_s=scorer.window_s, threshold=scorer.threshold, causal=causal, target=None)
        notes.append(
            f"the model has no {EVENTS_JSON}: events are made by default values, threshold "
            f"{options.get('threshold', scorer.threshold):g}"
        )
    if (model / RECALIBRATION_FILE).exists():
        notes.append(
            f"{RECALIBRATION_FILE} is not applied: threshold and events belong to the model's own probabilities"
        )
    setting: dict[str, Any] = {**events.setting(), **options}
    point = operating_point_of(events, options)
    if options:
        # Fitted values would hide parameters, so a detector with other ones is made anew.
        events = EventDetector(
            window_s=events.window_s, smoothing=events.smoothing, causal=events.causal, target=None, **setting
        )
    events.setting()
    return events, notes, point


def _provenance_of(model: str | os.PathLike[str]) -> Provenance:
    """Return what a model was trained on; a record that cannot be read refuses no recording."""
    try:
        return provenance_of(Path(model).absolute())
    except (OSError, ValueError):
        return Provenance(os.fspath(model), (), known=False)


def channel_notes(plan: MontagePlan, found: StreamResult | None = None) -> list[str]:
    """Say which channels were doubled, missing, interpolated, or left out in windows that were
    found.
    """
    same: dict[Any, list[int]] = {}
    for position, parsed in enumerate(plan.names.channels):
        same.setdefault(parsed, []).append(position)
    used = {source for channel in plan.channels for source in channel.sources}
    notes = [
        f"{', '.join(plan.ch_names[place] for place in places)} have one name; the first was used"
        for parsed, places in same.items()
        if parsed is not None and len(places) > 1 and used & set(places)
    ]
    if plan.names.withheld:
        notes.append(plan.names.reason)
    if plan.unusable:
        notes.append(f"cannot be used: {plan.unusable_text}")
    if plan.missing:
        notes.append(f"missing channels, left out: {', '.join(plan.missing)}")
    filled = [channel.name for channel in plan.channels if channel.how == "interpolated"]
    if filled:
        notes.append(f"interpolated channels: {', '.join(filled)}")
    if found is None:
        return notes
    derived = {
        plan.ch_names[source] for channel in plan.channels if len(channel.sources) > 1 for source in channel.sources
    }
    kinds = {
        f"flat, nothing is derived from it there (of {len(found.start_s)} windows)": {
            k: n for k, n in found.n_flat.items() if k in derived
        },
        "flat or not finite, left out there": found.n_absent,
        "an offset far larger than the EEG (a DC amplifier?), taken off before scaling": found.n_offset,
    }
    for kind, counts in kinds.items():
        if counts:
            named = ", ".join(f"{name} ({n} windows)" for name, n in counts.items())
            notes.append(f"{kind}: {named}")
    n_windows = _n_windows(plan, found)
    if refused := no_eeg(found.n_impossible, n_windows):  # a live signal, of which nothing can be taken back
        return [*notes, refused]
    return notes + amplitude_notes({"loud": found.n_loud, "faint": found.n_faint}, n_windows)


def _n_windows(plan: MontagePlan, found: StreamResult) -> dict[str, int]:
    """Return the windows in which each channel of the montage was there and moved."""
    made = [channel.name for channel in plan.channels if channel.how != "missing"]
    return {name: len(found.start_s) - found.n_absent.get(name, 0) for name in made}


def gap_notes(gaps: list[tuple[float, float]]) -> list[str]:
    """Say in which stretches ``(start_s, stop_s)`` no channel was usable."""
    if not gaps:
        return []
    named = ", ".join(f"{a:g} to {b:g} s" for a, b in gaps[:5])
    more = f" and {len(gaps) - 5} more" if len(gaps) > 5 else ""
    return [f"no probability, because no channel was usable: {named}{more}"]
