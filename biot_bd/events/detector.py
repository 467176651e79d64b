"""From window probabilities to seizure events.

Smoothing, threshold with hysteresis, minimum duration, merging.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from biot_bd.events import curve as curves
from biot_bd.events import operating_point as grid_search
from biot_bd.events.chosen_on import ChosenOn, chosen_on, former_chosen_on
from biot_bd.events.intervals import merge
from biot_bd.events.parameters import Parameters
from biot_bd.events.scoring import scorer
from biot_bd.events.stream import EventStream
from biot_bd.events.types import Event, RecordingScores
from biot_bd.json_values import check_values, naming
from biot_bd.runs import read_json, to_jsonable, write_json

if TYPE_CHECKING:
    import pandas as pd

EVENTS_JSON = "events.json"
RECALIBRATION_FILE = "recalibration.json"  # here, so that a detector need not import what fits one
FORMAT, VERSION = "biot_bd event detector", 2
_FORMER = {"persons": "subjects"}  # version 1: what it was fitted on
FITTED = ("smoothing_s_", "threshold_", "release_fraction_", "min_duration_s_", "merge_gap_s_")


@dataclass(kw_only=True, eq=False, repr=False)
class EventDetector(Parameters):
    """Turn the probabilities of one recording's windows into events.

    Second by second the probabilities are averaged (:meth:`curve`), then smoothed.  An event begins
    in the second where the curve reaches ``threshold`` and ends where it falls below
    ``release_fraction * threshold``; events shorter than ``min_duration_s`` are dropped, then
    events at most ``merge_gap_s`` apart are joined.

    Parameters
    ----------
    window_s : float
        Length of the window that a probability speaks of.
    smoothing : {"mean", "median"}
        What each second of the curve is replaced by, over ``smoothing_s``.
    smoothing_s : float
        Seconds that are smoothed over, centred (causal: the last ones); 0 for none.
    threshold : float
        In (0, 1].
    release_fraction : float
        In (0, 1]: how far below the threshold the curve must fall for an event to end, as a
        fraction of it; 1 for no hysteresis.
    min_duration_s : float
        Events shorter than this are dropped.
    merge_gap_s : float
        Events that lie at most so far apart are joined, after short ones were dropped.
    causal : bool
        The value of a second uses only windows that ended by the end of that second; each window's
        value holds until the next one ends, at most ``window_s``.
    target : {"f1", "fa_per_24h", "sensitivity"} or None
        What :meth:`fit` looks for on validation: the best event F1, the highest sensitivity at no
        more than ``target_fa_per_24h`` false alarms, or the fewest false alarms at no less than
        ``target_sensitivity``.  None keeps the parameters.
    target_fa_per_24h, target_sensitivity : float, optional
        The wanted values, each with its own target only.
    grid : mapping, optional
        Values that :meth:`fit` tries, of ``smoothing_s``, ``release_fraction``, ``min_duration_s``
        and ``merge_gap_s``, beside the detector's own;
        :data:`~biot_bd.events.operating_point.DEFAULT_GRID` by default.  Thresholds come from the
        data.

    Attributes
    ----------
    smoothing_s_, threshold_, release_fraction_, min_duration_s_, merge_gap_s_ : float
        What :meth:`fit` chose.  Without them the parameters hold.
    operating_curve_ : pandas.DataFrame
        The chosen setting at every threshold tried: ``threshold``, ``tp``, ``fp``, ``n_reference``,
        ``sensitivity``, ``precision``, ``f1``, ``fa_per_24h``, on the validation recordings
        together.
    reason_ : str or None
        What kept the target from choosing (no seizure in validation, a rate that cannot be had), or
        None.
    validation_ : dict
        What was fitted on: ``n_recordings``, ``subjects``, ``hours``, ``point`` (scores of the
        choice), ``scorer``.
    chosen_on_ : dict or None
        On how much the choice was made: ``n_subjects``, ``n_seizures`` (annotated ones; None where
        a former version wrote none), ``hours``.  None where nothing was chosen and the parameters
        were kept.

    See Also
    --------
    EventStream : The same for windows that come one after another.
    score_events : Scores of what is found.

    Examples
    --------
    >>> from biot_bd.events import EventDetector
    >>> detector = EventDetector(window_s=10, smoothing_s=0, min_duration_s=10)
    >>> detector.predict([0.1, 0.9, 0.8, 0.1], [0, 10, 20, 30])
    [Event(onset_s=10.0, offset_s=30.0, confidence=0.9)]
    """

    window_s: float = 10.0
    smoothing: str = "mean"
    smoothing_s: float = 10.0
    threshold: float = 0.5
    release_fraction: float = 1.0
    min_duration_s: float = 10.0
    merge_gap_s: float = 30.0
    causal: bool = False
    target: str | None = "f1"
    target_fa_per_24h: float | None = None
    target_sensitivity: float | None = None
    grid: Mapping[str, Sequence[float]] | None = None

    @property
    def operating_curve_(self) -> pd.DataFrame:
        """The chosen setting at every threshold tried."""
        return grid_search.curve_table(self._points)

    def setting(self) -> dict[str, float]:
        """Return the values in use: ``threshold``, ``smoothing_s``, ... as fitted, else the
        parameters.

        Raises
        ------
        ValueError
            A parameter has no meaning.
        """
        self._check()
        return {name[:-1]: float(getattr(self, name, getattr(self, name[:-1]))) for name in FITTED}

    def curve(
        self, probabilities: ArrayLike, start_s: ArrayLike, duration_s: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the smoothed value of every second.

        Parameters
        ----------
        probabilities, start_s : array of shape (n,)
            One probability and one start a window, at any stride.
        duration_s : float, optional
            Length of the recording; the end of the last window by default.

        Returns
        -------
        times_s : ndarray of shape (n_seconds,)
            Starts of the seconds, 0, 1, 2, ...  A causal value is known at the end of its second.
        values : ndarray of shape (n_seconds,)
            In [0, 1], never NaN: a second that no window covers (causal: after no window or one
            older than ``window_s``) is 0 and lends nothing to its neighbours' smoothing.

        Raises
        ------
        ValueError
            Shapes differ, probabilities are not in [0, 1], or a window lies outside the recording.
        """
        setting = self.setting()
        raw, _ = self._raw(probabilities, start_s, duration_s)
        return np.arange(len(raw), dtype=np.float64), self._smoothed(raw, setting["smoothing_s"])

    def predict(self, probabilities: ArrayLike, start_s: ArrayLike, duration_s: float | None = None) -> list[Event]:
        """Return the events of one recording, in order.

        Arguments and errors as in :meth:`curve`.
        """
        setting = self.setting()
        raw, duration = self._raw(probabilities, start_s, duration_s)
        values = self._smoothed(raw, setting["smoothing_s"])
        shortest = max(1, math.ceil(setting["min_duration_s"]))
        runs = curves.find_runs(
            values, setting["threshold"], setting["release_fraction"] * setting["threshold"], shortest
        )
        events, event = merge(runs, setting["merge_gap_s"])
        confidence = np.zeros(len(events))
        for (start, stop), index in zip(runs, event, strict=True):
            confidence[index] = max(confidence[index], values[start:stop].max())
        return [
            Event(float(start), min(float(stop), duration), float(value))
            for (start, stop), value in zip(events, confidence, strict=True)
        ]

    def stream(self) -> EventStream:
        """Return the incremental form, whose final events are those of :meth:`predict`.

        Raises
        ------
        ValueError
            The detector is not causal.
        """
        if not self.causal:
            raise ValueError("a stream needs a causal detector: EventDetector(causal=True)")
        return EventStream(self.window_s, self.smoothing, self.setting())

    def fit(self, recordings: Sequence[RecordingScores], y: Any = None) -> EventDetector:
        """Choose the operating point on validation recordings.

        Parameters
        ----------
        recordings : sequence of RecordingScores
            Their counts are summed, so recordings without seizures count by their false alarms.
        y : None
            Ignored.

        Returns
        -------
        EventDetector
            This one.

        Raises
        ------
        ValueError
            A parameter or a recording is not what is expected; the message names it.
        """
        self._check()
        for name in FITTED:
            if hasattr(self, name):
                delattr(self, name)
        own = self.setting()
        settings = list(grid_search.settings_of(own, self.grid if self.target is not None else {}))
        self.validation_: dict[str, Any] = {
            "n_recordings": len(recordings),
            "subjects": sorted({str(r.subject) for r in recordings}),
            "hours": float(sum(r.duration_s for r in recordings)) / 3600,
            "point": None,
            "scorer": scorer(),
        }
        if not recordings:
            self._keep(own, "no validation recordings; parameters kept")
            self.chosen_on_: ChosenOn | None = None
            self._points: Sequence[Any] = []
            return self
        chosen = False
        line = grid_search.TimeLine(recordings, max(s["merge_gap_s"] for s in settings))
        raws = [self._raw_of(r) for r in recordings]
        smoothed = {
            width: line.place([self._smoothed(raw, width) for raw in raws])
            for width in dict.fromkeys(s["smoothing_s"] for s in settings)
        }
        if self.target is None:
            self._keep(own, None)
        else:
            wanted = {"fa_per_24h": self.target_fa_per_24h, "sensitivity": self.target_sensitivity}.get(self.target)
            choice = grid_search.search(line, smoothed, settings, target=self.target, wanted=wanted)
            chosen = not math.isnan(choice.threshold)
            threshold = choice.threshold if chosen else own["threshold"]
            self._keep({**choice.setting, "threshold": threshold}, choice.reason)
        self.chosen_on_ = chosen_on(recordings) if chosen else None
        setting = self.setting()
        values = smoothed[setting["smoothing_s"]]
        cuts = np.unique(np.append(grid_search.candidates(values), setting["threshold"]))
        points = line.points(values, cuts, [setting])[0]
        self._points = points
        self.validation_["point"] = next(p for p in points if p["threshold"] == setting["threshold"])
        return self

    def as_dict(self) -> dict[str, Any]:
        """Return parameters and fitted values as plain data, for JSON."""
        fitted = None
        if hasattr(self, "threshold_"):
            table = self.operating_curve_.astype(object)
            fitted = {
                **{name: getattr(self, name) for name in FITTED},
                "reason_": self.reason_,
                "validation_": self.validation_,
                "operating_curve_": table.where(table.notna(), None).to_dict("records"),
            }
        return to_jsonable(
            {
                "format": FORMAT,
                "version": VERSION,
                "parameters": self.get_params(),
                "chosen_on": getattr(self, "chosen_on_", None),
                "fitted": fitted,
            }
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "event detector") -> EventDetector:
        """Rebuild a detector from :meth:`as_dict`.

        Raises
        ------
        ValueError
            Not such data, or of a version that this one does not know; ``where`` is named.
        """
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise ValueError(f"{where}: not a {FORMAT}")
        if data.get("version") not in (1, VERSION):
            raise ValueError(
                f"{where}: version {data.get('version')!r}; this biot_bd reads versions 1 and {VERSION}: update it"
            )
        if not isinstance(data.get("parameters"), Mapping):
            raise ValueError(f"{where}: has no parameters")
        unknown = sorted(set(data["parameters"]) - set(cls().get_params()))
        if unknown:
            raise ValueError(f"{where}: unknown parameter {unknown[0]!r}")
        detector = cls(**data["parameters"])
        fitted = data.get("fitted")
        if fitted is not None:
            missing = sorted({*FITTED, "reason_", "validation_", "operating_curve_"} - set(fitted))
            if missing:
                raise ValueError(f"{where}: the fitted values lack {missing[0]!r}")
            detector._keep({name[:-1]: fitted[name] for name in FITTED}, fitted["reason_"])
            detector.validation_ = {_FORMER.get(name, name): value for name, value in fitted["validation_"].items()}
            detector._points = fitted["operating_curve_"]
            if "chosen_on" in data:
                check_values(data["chosen_on"], ChosenOn | None, f"{where}: chosen_on")
                detector.chosen_on_ = data["chosen_on"]
            else:
                former = former_chosen_on(detector.target, detector.reason_, detector.validation_)
                detector.chosen_on_ = former
        detector.setting()
        return detector

    def _keep(self, setting: Mapping[str, float], reason: str | None) -> None:
        for name in FITTED:
            setattr(self, name, float(setting[name[:-1]]))
        self.reason_ = reason

    def _raw(self, probabilities: ArrayLike, start_s: ArrayLike, duration_s: float | None) -> tuple[np.ndarray, float]:
        """Return the value of every second before smoothing, NaN where nothing is known, and the
        duration.
        """
        proba, start, duration = curves.as_windows(probabilities, start_s, self.window_s, duration_s)
        n = curves.n_seconds(duration)
        if not self.causal:
            return curves.centred_seconds(proba, start, self.window_s, n), duration
        second = curves.causal_seconds(start, self.window_s)
        inside = second < n
        known = curves.mean_by_second(proba[inside], second[inside], n)
        return curves.hold_seconds(known, self.window_s), duration

    def _raw_of(self, recording: RecordingScores) -> np.ndarray:
        try:
            return self._raw(recording.probabilities, recording.start_s, recording.duration_s)[0]
        except ValueError as error:
            raise ValueError(f"recording {recording.recording}: {error}") from None

    def _smoothed(self, raw: np.ndarray, smoothing_s: float) -> np.ndarray:
        width = curves.smoothing_width(smoothing_s, self.causal)
        return curves.smooth(raw, width, self.smoothing, self.causal)

    def _check(self) -> None:
        if self.smoothing not in curves.SMOOTHINGS:
            raise ValueError(f"smoothing is one of {', '.join(curves.SMOOTHINGS)}, got {self.smoothing!r}")
        if not self.window_s > 0:
            raise ValueError(f"window_s must be positive, got {self.window_s!r}")
        for name in ("smoothing_s", "min_duration_s", "merge_gap_s"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is a number of seconds of at least 0, got {value!r}")
        # A threshold of a hair above 1 is what fit() chooses where a rate allows no alarm at all.
        for name, most in (("threshold", math.nextafter(1.0, 2.0)), ("release_fraction", 1.0)):
            if not 0 < getattr(self, name) <= most:
                raise ValueError(f"{name} lies above 0 and at most at 1, got {getattr(self, name)!r}")
        if self.target is not None and self.target not in grid_search.TARGETS:
            raise ValueError(f"target is one of {', '.join(grid_search.TARGETS)} or None, got {self.target!r}")
        for target, name, most in (
            ("fa_per_24h", "target_fa_per_24h", math.inf),
            ("sensitivity", "target_sensitivity", 1.0),
        ):
            value = getattr(self, name)
            if (self.target == target) != (value is not None):
                raise ValueError(f"target={target!r} and {name} go together; got {self.target!r} and {value!r}")
            if value is not None and not 0 <= value <= most:
                raise ValueError(f"{name} must be between 0 and {most}, got {value!r}")


def save_event_detector(
    detector: EventDetector, folder: str | os.PathLike[str], causal: EventDetector | None = None
) -> Path:
    """Write ``events.json`` beside a model's ``pipeline.json``.

    Parameters
    ----------
    detector : EventDetector
        For whole recordings.
    folder : path
        The model's folder.
    causal : EventDetector, optional
        One that was fitted with ``causal=True``, for live use.

    Returns
    -------
    Path
        The file.

    See Also
    --------
    load_event_detector : Reads it.

    Examples
    --------
    >>> import tempfile
    >>> from biot_bd.events import EventDetector, load_event_detector, save_event_detector
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = save_event_detector(EventDetector(threshold=0.3), folder)
    ...     load_event_detector(folder).threshold
    0.3
    """
    detectors = {"offline": detector.as_dict(), "causal": None if causal is None else causal.as_dict()}
    return write_json(Path(folder) / EVENTS_JSON, {"format": FORMAT, "version": VERSION, "detectors": detectors})


def load_event_detector(folder: str | os.PathLike[str], causal: bool = False) -> EventDetector:
    """Read the event detector that was saved with a model.

    Parameters
    ----------
    folder : path
        The model folder, as ``save_pipeline`` writes it.
    causal : bool
        The one for live use; where none was fitted, the other one's values in a causal detector.

    Returns
    -------
    EventDetector

    Raises
    ------
    FileNotFoundError
        The model has none.
    ValueError
        The file is damaged or of another version.

    See Also
    --------
    save_event_detector : Writes it.

    Examples
    --------
    >>> import tempfile
    >>> from biot_bd.events import EventDetector, load_event_detector, save_event_detector
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = save_event_detector(EventDetector(), folder)
    ...     load_event_detector(folder, causal=True).causal
    True
    """
    path = Path(folder) / EVENTS_JSON
    if not path.is_file():
        raise FileNotFoundError(f"{path}: this model has no event detector; train it again, or fit an EventDetector")
    data = read_json(path)
    detectors = data.get("detectors") if isinstance(data, dict) else None
    if not isinstance(detectors, dict) or data.get("version") not in (1, VERSION):
        raise ValueError(f"{path}: not a {FORMAT} of version 1 or {VERSION}")
    with naming(path):
        if causal and detectors.get("causal") is not None:
            return EventDetector.from_dict(detectors["causal"], str(path))
        detector = EventDetector.from_dict(detectors["offline"], str(path))
    return detector.set_params(causal=True) if causal else detector
