"""Cleaning that looks first: line noise, bad channels and bursts, and only where there are any."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import mne
import numpy as np
from numpy.typing import NDArray

from biot_bd.io.timeline import timeline_of
from biot_bd.io.units import UV_PER_V
from biot_bd.signals.bad_channels import SHORTEST_S, find_bad_channels, flat_channels
from biot_bd.signals.base import Marked, SignalInfo, check_windows, described, is_epochs, present_channels
from biot_bd.signals.bursts import find_loud_stretches
from biot_bd.signals.cleaning_report import Burst, CleaningReport
from biot_bd.signals.interpolation import FEWEST_ELECTRODES, spline_weights
from biot_bd.signals.label_sets import judge_names
from biot_bd.signals.line_noise import FILTER_S, line_frequencies, line_noise_db, remove_line_noise
from biot_bd.signals.positions import template_montage
from biot_bd.signals.recordings import RecordingStep, add_notes
from biot_bd.signals.resampler import rate_of

CHANNELS = ("robust", "pyprep", "none")
BURSTS = ("report", "absent", "none")
_AUTOREJECT_PIECES = 300


@dataclass(eq=False, repr=False)
class AdaptiveCleaner(RecordingStep):
    """Find line noise, bad channels and bursts, and clean only where there are any.

    What is looked at is what is given: one recording as a preprocessor of :func:`biot_bd.prepare`
    (:meth:`as_preprocessor`), one window as a step of a pipeline, where it is stored with the model
    and runs in a detector.  No decision rests on another window or on what comes later in a stream.
    A recording tells more than a window, so a window is judged less: line noise from 6.6 s on,
    channels against each other only from 60 s on (a seizure may fill a window, and a focal one
    makes its channels unlike all others), and of bursts those that begin and end inside it.

    Filters have no delay and nothing is cut out, so times of labels stay as they are; nothing is
    filtered across a pause.  A channel without findings comes out as the same bits.

    Parameters
    ----------
    line_freqs : tuple of float
        Frequencies of mains in Hz that are looked for, with their harmonics; which of them a
        channel has is measured.  Empty: none.
    line_db : float
        How far a peak stands out of the spectrum around it, in dB, before it is removed.
    channels : {"robust", "pyprep", "none"}
        What finds bad channels: flat ones (any length) and the measures of
        :func:`~biot_bd.signals.bad_channels.find_bad_channels`, or those of pyprep without RANSAC
        (extra ``clean``; for referential channels, as it expects neighbours to agree).
    bursts : {"report", "absent", "none"}
        Whether bursts are looked for, and whether their channel is absent there: in the window, or
        in these samples of a recording, which makes it absent in the windows with them.
    burst_threshold : float or "autoreject"
        Robust z-score from which on 0.25 s of a channel are loud; or the peak-to-peak amplitude
        that autoreject finds for a recording by cross-validation (extra ``clean``).
    interpolate : bool
        Interpolate bad channels from the others (spherical splines of MNE, by electrode names)
        instead of making them absent; referential channels only.  The report says which.
    sfreq_in : float, optional
        Rate in Hz, needed for arrays; a disagreement with what the data carry raises.

    See Also
    --------
    BandPass, Notch : Filters that are applied to everything.
    IgnoreChannels : Makes channels absent by their names.

    Notes
    -----
    Seizures are loud, too.  A loud stretch is a burst only if it ends within 2 s, lies inside what
    is given and is no rhythm (:mod:`biot_bd.signals.bursts`); all others are reported and kept.  A
    seizure that fills more than half of a recording may be taken for a bad channel where it is in
    some channels only and no rhythm: use ``channels="none"`` for status epilepticus.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.signals import AdaptiveCleaner
    >>> x = np.random.default_rng(0).normal(0, 20, (1, 3, 5120))
    >>> x[0, 1] += 50 * np.sin(2 * np.pi * 50 * np.arange(5120) / 256)
    >>> cleaner = AdaptiveCleaner(sfreq_in=256)
    >>> out = cleaner.transform(x)
    >>> print(cleaner.report(x)[0])
    line noise removed: 50 Hz of channel 1
    >>> np.array_equal(out[0, [0, 2]], x[0, [0, 2]]), bool(out[0, 1].std() < 21)
    (True, True)
    """

    line_freqs: tuple[float, ...] = (50.0, 60.0)
    line_db: float = 10.0
    channels: Literal["robust", "pyprep", "none"] = "robust"
    bursts: Literal["report", "absent", "none"] = "report"
    burst_threshold: float | Literal["autoreject"] = 6.0
    interpolate: bool = False
    sfreq_in: float | None = None

    def output_info(self, info: SignalInfo) -> SignalInfo:
        """Say what comes out: the same.

        Raises
        ------
        ValueError
            The rate is unknown, signals are scaled, or parameters are none or do not fit the
            channels.
        """
        self._check_params(info)
        return info

    def is_identity(self, info: SignalInfo) -> bool:
        """Return True where nothing is looked for."""
        return not len(self.line_freqs) and self.channels == "none" and self.bursts != "absent"

    def apply(self, x: NDArray[Any], present: NDArray[np.bool_], info: SignalInfo) -> Marked:
        """Clean each window by itself; what is bad in it becomes absent."""
        self._check_params(info)
        check_windows(x, present, info)
        out, still = x.copy(), present.copy()
        sfreq, names = rate_of(info, self.sfreq_in, self), _names(info)
        for i in range(len(x)):
            report = self._examine(x[i], present[i], sfreq, names, 1.0, [(0, x.shape[2])])
            if report.is_clean:
                continue
            out[i] = self._cleaned(x[i], report, sfreq, names, [(0, x.shape[2])])
            lost = set(report.absent) - set(report.interpolated)
            if report.bursts_removed:
                lost |= {burst.channel for burst in report.bursts}
            still[i] &= [name not in lost for name in names]
            out[i, ~still[i]] = np.nan
        return out, still

    def report(self, X: Any) -> CleaningReport | list[CleaningReport]:
        """Say what is found and what would be done, and change nothing.

        Parameters
        ----------
        X : mne.io.Raw, mne.Epochs in volts, or ndarray (n, n_chans, n_times) in uV
            A recording, or windows.

        Returns
        -------
        CleaningReport or list of CleaningReport
            Of the recording, or one a window.
        """
        if isinstance(X, mne.io.BaseRaw):
            picked = self._pick(X)
            return self._examine_raw(picked, picked.get_data())
        x = X.get_data(copy=True) * UV_PER_V if is_epochs(X) else np.asarray(X)
        info = described(X, self)
        self._check_params(info)
        present, sfreq, names = present_channels(x), rate_of(info, self.sfreq_in, self), _names(info)
        check_windows(x, present, info)
        return [
            self._examine(window, there, sfreq, names, 1.0, [(0, x.shape[2])])
            for window, there in zip(x, present, strict=True)
        ]

    def apply_to_raw(self, raw: mne.io.BaseRaw) -> mne.io.BaseRaw:
        """Clean a recording by what is found in it as a whole.

        Parameters
        ----------
        raw : mne.io.Raw
            Volts; not modified.

        Returns
        -------
        mne.io.Raw
            A copy, of which channels without findings have the same bits; lazy as it was where
            nothing had to be done.  Bad channels are NaN.  Annotations and time line are those of
            the original, and what was found and done is noted on it
            (:func:`biot_bd.signals.recordings.notes_on`), for the store that is made of it.
        """
        picked = self._pick(raw)
        x = picked.get_data()
        report = self._examine_raw(picked, x)
        out = raw.copy()
        if not report.is_clean:
            names = list(picked.ch_names)
            cleaned = self._cleaned(x, report, float(raw.info["sfreq"]), names, _stretches(picked))
            lost = [name for name in report.absent if name not in report.interpolated]
            cleaned[[names.index(name) for name in lost]] = np.nan
            if report.bursts_removed:
                for burst in report.bursts:
                    start = round(burst.onset_s * raw.info["sfreq"])
                    stop = start + round(burst.duration_s * raw.info["sfreq"])
                    cleaned[names.index(burst.channel), start:stop] = np.nan
            out.load_data(verbose="error")
            out.apply_function(lambda _: cleaned, picks=names, channel_wise=False, verbose="error")
        add_notes(out, report.lines)
        return out

    def _pick(self, raw: mne.io.BaseRaw) -> mne.io.BaseRaw:
        """Return the EEG of a recording."""
        kinds = raw.get_channel_types()
        eeg = [name for name, kind in zip(raw.ch_names, kinds, strict=True) if kind == "eeg"]
        if not eeg:
            raise ValueError(
                f"AdaptiveCleaner: the recording has no channel of type 'eeg'; types are {sorted(set(kinds))}"
            )
        return raw.copy().pick(eeg, verbose="error")

    def _examine_raw(self, raw: mne.io.BaseRaw, x: NDArray[np.float64]) -> CleaningReport:
        info = SignalInfo(tuple(raw.ch_names), raw.info["sfreq"], x.shape[1], "uV")
        self._check_params(info)
        finite = np.array([bool(np.isfinite(signal).all()) for signal in x])
        sfreq = rate_of(info, self.sfreq_in, self)
        report = self._examine(x, finite, sfreq, list(raw.ch_names), UV_PER_V, _stretches(raw))
        if not finite.all():
            left = ", ".join(name for name, good in zip(raw.ch_names, finite, strict=True) if not good)
            report.remarks.append(f"not finite in part and left as it is: {left}")
        return report

    def _check_params(self, info: SignalInfo) -> None:
        sfreq = rate_of(info, self.sfreq_in, self)
        if info.unit is None:
            raise ValueError("AdaptiveCleaner works on microvolts; put it before the scaler")
        for option, value, choices in (("channels", self.channels, CHANNELS), ("bursts", self.bursts, BURSTS)):
            if value not in choices:
                raise ValueError(
                    f"AdaptiveCleaner: {option}={value!r}: expected one of {', '.join(map(repr, choices))}"
                )
        if any(not 0 < freq < sfreq / 2 for freq in self.line_freqs):
            raise ValueError(f"AdaptiveCleaner: line_freqs={self.line_freqs} must lie between 0 and {sfreq / 2:g} Hz")
        if not self.line_db > 0:
            raise ValueError(f"AdaptiveCleaner: line_db={self.line_db!r}: expected a number above 0")
        if self.burst_threshold != "autoreject" and not (
            isinstance(self.burst_threshold, (int, float)) and self.burst_threshold > 0
        ):
            raise ValueError(
                f"AdaptiveCleaner: burst_threshold={self.burst_threshold!r}: expected a number above 0 or 'autoreject'"
            )
        if self.interpolate and not _electrodes(_names(info)):
            raise ValueError(
                "AdaptiveCleaner: interpolate=True needs referential channels with the names of electrodes; these are "
                f"{', '.join(_names(info)[:8])}"
            )

    def _examine(
        self,
        x: NDArray[Any],
        present: NDArray[np.bool_],
        sfreq: float,
        names: list[str],
        uv_per_unit: float,
        stretches: list[tuple[int, int]],
    ) -> CleaningReport:
        """Return what is found in signals ``(n_chans, n_times)`` without a gap in each stretch."""
        report = CleaningReport(x.shape[-1] / sfreq, bursts_removed=self.bursts == "absent")
        if self.channels != "none":
            for i in np.flatnonzero(present)[flat_channels(x[present], uv_per_unit)].tolist():
                report.absent[names[i]] = "flat"
        rest = [i for i in np.flatnonzero(present).tolist() if names[i] not in report.absent]
        if not rest:
            return report
        line_hz = line_frequencies(self.line_freqs, sfreq)
        self._find_line_noise(x, rest, sfreq, names, line_hz, stretches, report)
        self._find_bad_channels(x, rest, sfreq, names, line_hz, uv_per_unit, report)
        if self.bursts != "none":
            good = [i for i in rest if names[i] not in report.absent]
            self._find_bursts(x, good, sfreq, names, uv_per_unit, stretches, report)
        if self.interpolate and report.absent:
            self._plan_interpolation(names, present, report)
        return report

    def _find_line_noise(
        self,
        x: NDArray[Any],
        rest: list[int],
        sfreq: float,
        names: list[str],
        line_hz: tuple[float, ...],
        stretches: list[tuple[int, int]],
        report: CleaningReport,
    ) -> None:
        long_enough = any(stop - start >= FILTER_S * sfreq for start, stop in stretches)
        for i, found in zip(rest, line_noise_db(x[rest], sfreq, line_hz), strict=True):
            peaks = {freq: float(db) for freq, db in zip(line_hz, found, strict=True) if db > self.line_db}
            if peaks:
                report.line_noise_db[names[i]] = peaks
                if long_enough:
                    report.filtered[names[i]] = tuple(peaks)
        if report.line_noise_db and not long_enough:
            report.remarks.append(
                f"line noise was left, as {x.shape[-1] / sfreq:g} s are shorter than a filter ({FILTER_S} s)"
            )

    def _find_bad_channels(
        self,
        x: NDArray[Any],
        rest: list[int],
        sfreq: float,
        names: list[str],
        line_hz: tuple[float, ...],
        uv_per_unit: float,
        report: CleaningReport,
    ) -> None:
        if self.channels == "none" or x.shape[-1] < SHORTEST_S * sfreq:
            return
        if self.channels == "pyprep":
            found = _by_pyprep(x[rest] * (uv_per_unit / UV_PER_V), sfreq)
        else:
            found = find_bad_channels(x[rest], sfreq, line_hz)
        for i, why in found.items():
            report.absent[names[rest[i]]] = why
            report.filtered.pop(names[rest[i]], None)

    def _find_bursts(
        self,
        x: NDArray[Any],
        good: list[int],
        sfreq: float,
        names: list[str],
        uv_per_unit: float,
        stretches: list[tuple[int, int]],
        report: CleaningReport,
    ) -> None:
        z, least = self.burst_threshold, None
        if z == "autoreject":
            z = np.inf
            if x.shape[-1] < SHORTEST_S * sfreq:
                report.remarks.append(f"bursts were not looked for: autoreject needs {SHORTEST_S:g} s")
                return
            least = _by_autoreject(x[good] * (uv_per_unit / UV_PER_V), sfreq) * UV_PER_V / uv_per_unit
        for start, stop in stretches:
            # What is filtered out makes no burst.
            signals = [_notched(x[i, start:stop], sfreq, report.filtered.get(names[i], ())) for i in good]
            for loud in find_loud_stretches(signals, sfreq, float(z), least):
                burst = Burst(
                    names[good[loud.channel]],
                    (start + loud.start) / sfreq,
                    (loud.stop - loud.start) / sfreq,
                    round(loud.z, 1),
                    loud.kept_because,
                )
                (report.bursts if loud.is_burst else report.kept).append(burst)

    def _plan_interpolation(self, names: list[str], present: NDArray[np.bool_], report: CleaningReport) -> None:
        placed = _electrodes(names)
        bad = [name for name in report.absent if name in placed]
        good = [
            name for name, there in zip(names, present, strict=True) if there and name in placed and name not in bad
        ]
        if len(good) < max(FEWEST_ELECTRODES, len(placed) / 2):
            report.remarks.append(f"not interpolated: {len(good)} good electrodes of {len(placed)} are too few")
        else:
            report.interpolated = tuple(bad)

    def _cleaned(
        self, x: NDArray[Any], report: CleaningReport, sfreq: float, names: list[str], stretches: list[tuple[int, int]]
    ) -> NDArray[Any]:
        """Return signals without line noise, bad channels interpolated where that is planned."""
        out = x.copy()
        for name, freqs in report.filtered.items():
            for start, stop in stretches:
                out[names.index(name), start:stop] = _notched(x[names.index(name), start:stop], sfreq, freqs)
        if report.interpolated:
            placed = _electrodes(names)
            good = [n for n in placed if n not in report.absent and np.isfinite(out[names.index(n)]).all()]
            weights = spline_weights(tuple(placed[n] for n in good), tuple(placed[n] for n in report.interpolated))
            made = weights @ out[[names.index(n) for n in good]].astype(np.float64)
            out[[names.index(n) for n in report.interpolated]] = made
        return out


def _notched(signal: NDArray[Any], sfreq: float, freqs_hz: tuple[float, ...]) -> NDArray[Any]:
    """Return a signal without line frequencies; one that is shorter than the filter as it is."""
    if not freqs_hz or len(signal) < FILTER_S * sfreq:
        return signal
    return remove_line_noise(signal[None], sfreq, freqs_hz)[0].astype(signal.dtype)


def _names(info: SignalInfo) -> list[str]:
    return [f"channel {i}" for i in range(info.n_chans)] if info.ch_names is None else list(info.ch_names)


def _stretches(raw: mne.io.BaseRaw) -> list[tuple[int, int]]:
    """Return (first, stop) of the samples between pauses."""
    return [(segment.first_sample, segment.stop_sample) for segment in timeline_of(raw, samples=False).segments]


def _electrodes(names: list[str]) -> dict[str, str]:
    """Return the electrode of each channel that has a place; empty where one is bipolar."""
    judged = judge_names(names).channels
    if any(channel is None or channel.bipolar for channel in judged):
        return {}
    placed = set(template_montage().ch_names)
    return {name: c.electrode for name, c in zip(names, judged, strict=True) if c is not None and c.electrode in placed}


def _needed(package: str, option: str) -> Any:
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"AdaptiveCleaner({option}) needs {package}: pip install 'biot-bd[clean]'", name=package
        ) from error


def _by_pyprep(volts: NDArray[Any], sfreq: float) -> dict[int, str]:
    """Return the channels that pyprep finds bad, and by which of its measures."""
    names = [str(i) for i in range(len(volts))]
    _needed("pyprep", "channels='pyprep'")
    noisy = import_module("pyprep.find_noisy_channels").NoisyChannels(
        mne.io.RawArray(volts, mne.create_info(names, sfreq, "eeg"), verbose="error"), random_state=0, ransac=False
    )
    noisy.find_all_bads()
    reasons: dict[int, list[str]] = {}
    for measure, channels in noisy.get_bads(as_dict=True).items():
        if measure.startswith("bad_by_"):
            for name in channels:
                reasons.setdefault(int(name), []).append(measure.removeprefix("bad_by_"))
    return {channel: f"pyprep: {', '.join(found)}" for channel, found in sorted(reasons.items())}


def _by_autoreject(volts: NDArray[Any], sfreq: float) -> float:
    """Return the peak-to-peak amplitude in volts that autoreject finds for a recording."""
    n = round(sfreq)
    starts = np.linspace(0, volts.shape[1] - n, min(_AUTOREJECT_PIECES, volts.shape[1] // n)).astype(int)
    pieces = np.stack([volts[:, start : start + n] for start in starts]).astype(np.float64)
    info = mne.create_info([str(i) for i in range(len(volts))], sfreq, "eeg")
    epochs = mne.EpochsArray(pieces, info, verbose="error")
    find = _needed("autoreject", "burst_threshold='autoreject'").get_rejection_threshold
    return float(find(epochs, random_state=0, ch_types="eeg", verbose=False)["eeg"])
