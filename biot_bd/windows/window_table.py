"""The window table of a store: labels of each recording, and the windows' percentiles.

The table has its own fingerprint, so that another rule, window or stride rewrites it without
touching a signal.  The table that ``prepare`` made lies in the store's folder; those of
``Windows.relabel`` in ``tables/<fingerprint>/``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from biot_bd.events.texts import SEIZURE
from biot_bd.runs import atomic_path, fingerprint
from biot_bd.signals.amplitude import SWING_OF_PERCENTILE, amplitude_notes, no_eeg, odd_windows
from biot_bd.signals.offset import offset_channels, without_line, without_offsets
from biot_bd.signals.scaler import FLAT_UV, flat_channels, window_percentiles
from biot_bd.windows.gather import BLOCK, Located, blocks
from biot_bd.windows.labels import (
    CLASSES,
    TARGET,
    Ints,
    check_table,
    classes_of,
    needs_annotations,
    rule_name,
    rule_parameters,
)
from biot_bd.windows.store import Recording, Stretch, map_key, open_signals

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
TABLE = "windows.parquet"
PERCENTILES = "percentiles.npy"
# A column of the tables in which it occurs: a channel had an offset that the scaler takes off.
OFFSET = "has_offset"
CACHED_PERCENTILE = 95
WINDOWS_A_MAP = 128
LOOKS = 8
ON_BAD = ("raise", "warn", "drop")
NO_WINDOW = "no window"


@dataclass(frozen=True)
class TableSettings:
    """What decides the table beside the recordings themselves.

    Parameters
    ----------
    rule : callable
        The label rule.
    window_s, stride_s : float
        Length of a window and distance of their starts, in seconds.
    sfreq : float
        Rate of the windows that are read, in Hz.
    resample : str
        ``"fft-window"`` where each window is resampled on reading.
    on_bad : str
        What happens to flat channels and those that are not finite.
    """

    rule: Any
    window_s: float
    stride_s: float
    sfreq: float
    resample: str
    on_bad: str

    @property
    def n_times(self) -> int:
        """Samples of a window that is read."""
        return round(self.window_s * self.sfreq)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as the manifest holds them."""
        return {
            "label_rule": rule_name(self.rule),
            "label_parameters": rule_parameters(self.rule),
            "window_s": self.window_s,
            "stride_s": self.stride_s,
            "n_times": self.n_times,
            "on_bad": self.on_bad,
            **({} if self.classes == CLASSES else {"classes": list(self.classes)}),
        }

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by label number."""
        return classes_of(self.rule)

    def fingerprint(self, recordings: Iterable[Recording]) -> str:
        """Return the fingerprint of the table of these recordings."""
        read = needs_annotations(self.rule)
        inputs = [
            [r.recording, r.subject, r.fingerprint, r.events, *([r.annotations] if read else [])] for r in recordings
        ]
        return fingerprint({"settings": self.as_dict(), "recordings": inputs})


def descriptions_of(recordings: Iterable[Recording]) -> set[str]:
    """Return the descriptions of all annotations, ``sz`` where a recording has a seizure."""
    recordings = list(recordings)
    found = {str(row[2]) for recording in recordings for row in recording.annotations}
    return found | ({SEIZURE} if any(recording.events for recording in recordings) else set())


def is_newer(settings: TableSettings, frame: pd.DataFrame) -> bool:
    """Return whether a table says what version 2 of a store could not."""
    return settings.classes != CLASSES or f"{TARGET}0" in frame


def table_part(
    folder: Path, recording: Recording, ch_names: Sequence[str], settings: TableSettings
) -> tuple[pd.DataFrame, Floats, list[str]]:
    """Make the rows of the table, their percentiles and notes of one recording from its stored
    signal.

    Returns
    -------
    frame : pandas.DataFrame
        Rows of the table.
    percentiles : ndarray of float32, shape (n_windows, n_chans)
        95th percentile of the absolute value in uV, NaN where a channel is absent.
    notes : list of str
        Channels that were bad, windows left out, seizures that no positive window holds; those of
        the recording.

    Raises
    ------
    ValueError
        The label rule failed, the recording is shorter than a window, most of its channels have
        amplitudes that no EEG has, or a channel is bad and ``on_bad="raise"``; the message names
        the recording.
    """
    stretches = recording.stretches
    window = round(settings.window_s * recording.source_sfreq)
    if len(stretches) > 1:  # no window reaches across a pause, and none fits into less than its length
        stretches = [stretch for stretch in stretches if stretch.n_samples >= window]
    parts = [(stretch, _labelled(recording, stretch, settings)) for stretch in stretches]
    frame = pd.concat([_frame(recording, *part, settings) for part in parts], ignore_index=True)
    start = np.concatenate([rows["start_sample"].to_numpy(np.int64) + s.first_sample for s, rows in parts])
    length = np.concatenate([rows["n_samples"].to_numpy(np.int64) for _, rows in parts])
    recorded = np.broadcast_to(np.array(recording.present), (len(frame), len(ch_names)))
    percentiles, scalable, offset = _percentiles(folder, recording, frame, recorded, settings)
    constant = _bad_channels(recording, start, length)
    swing_uv = np.where(recorded & ~constant, SWING_OF_PERCENTILE * percentiles, np.nan)
    odd = {kind: dict(zip(ch_names, n.tolist(), strict=True)) for kind, n in odd_windows(swing_uv).items()}
    moving = dict(zip(ch_names, (swing_uv > 0).sum(axis=0).tolist(), strict=True))
    if refused := no_eeg(odd["impossible"], moving):
        raise ValueError(f"recording {recording.recording}: {refused}")
    bad = (constant | ~scalable) & recorded
    if bad.any() and settings.on_bad == "raise":
        raise ValueError(_describe_bad(recording, ch_names, bad, start) + "; on_bad='drop' marks it as absent there")
    present = recorded & ~bad
    percentiles[~present] = np.nan
    offset &= present
    usable = present.any(axis=1)
    if offset.any():
        frame[OFFSET] = np.any(offset, axis=1)
    frame = frame[usable].reset_index(drop=True)
    named = _counted(ch_names, bad)
    n_empty = int((~usable).sum())
    # Who wants no labels loses none, nor who asks for other classes.
    asked = settings.classes == CLASSES and not getattr(settings.rule, "labels_nothing", False)
    lost = ", ".join(f"{onset:g}" for onset in _lost_seizures(recording, frame)) if asked else ""
    notes = {
        f"an offset far larger than the EEG, taken off before scaling: {_counted(ch_names, offset)}": offset.any(),
        f"flat or not finite, marked as absent: {named}": named,
        f"{n_empty} windows left out, no channel is usable in them": n_empty,
        f"no positive window for the seizure(s) at {lost} s": lost,
    }
    ruled = [note for _, rows in parts for note in rows.attrs.get("notes", [])]
    told = [*recording.notes, *ruled, *(note for note, holds in notes.items() if holds)]
    told += amplitude_notes(odd, moving)
    return frame, percentiles[usable], [f"{recording.recording}: {note}" for note in told]


def _counted(ch_names: Sequence[str], found: Bools) -> str:
    """Name the channels and the number of windows in which something was found."""
    return ", ".join(f"{ch_names[c]} ({n} windows)" for c, n in enumerate(found.sum(axis=0)) if n)


def _labelled(recording: Recording, stretch: Stretch, settings: TableSettings) -> pd.DataFrame:
    """Return what the rule makes of one stretch, in samples since its start."""
    events: Any = recording.events
    # As the samples count seconds, which the clock may not do.
    rate = stretch.n_samples / recording.source_sfreq / stretch.duration_s if recording.segments else 1.0
    if recording.segments:
        within = np.clip(np.array(events).reshape(-1, 2) - stretch.start_s, 0.0, stretch.duration_s) * rate
        events = within[within[:, 1] > within[:, 0]].tolist()
    further = {"annotations": _annotations(recording, stretch, rate)} if needs_annotations(settings.rule) else {}
    try:
        rows = settings.rule(
            stretch.n_samples,
            recording.source_sfreq,
            events,
            window_s=settings.window_s,
            stride_s=settings.stride_s,
            **further,
        )
        return check_table(rows, settings.rule, stretch.n_samples).reset_index(drop=True)
    except ValueError as error:
        raise ValueError(f"recording {recording.recording}: {error}") from error


def _annotations(recording: Recording, stretch: Stretch, rate: float) -> list[tuple[float, float, str]]:
    """Return what is annotated in a stretch, in seconds since its first sample as samples count."""
    known: list[Any] = list(recording.annotations)
    named = {
        (onset_s, round(onset_s + duration_s, 6)) for onset_s, duration_s, what in known if what.startswith(SEIZURE)
    }
    known += [[on, off - on, SEIZURE] for on, off in recording.events if (on, off) not in named]
    if not recording.segments:
        return sorted((onset_s, duration_s, what) for onset_s, duration_s, what in known)
    stop_s = stretch.start_s + stretch.duration_s
    return sorted(
        ((onset_s - stretch.start_s) * rate, duration_s * rate, what)
        for onset_s, duration_s, what in known
        if onset_s < stop_s and (onset_s >= stretch.start_s or onset_s + duration_s > stretch.start_s)
    )


def _frame(recording: Recording, stretch: Stretch, rows: pd.DataFrame, settings: TableSettings) -> pd.DataFrame:
    """Turn the rule's rows, in samples of the stretch, into the table's, in the store's."""
    start, length = rows["start_sample"].to_numpy(np.int64), rows["n_samples"].to_numpy(np.int64)
    stored_start, stored_length = start, length
    if settings.resample != "fft-window":
        stored_length = np.full(len(rows), settings.n_times)
        cut = length < round(settings.window_s * recording.source_sfreq)
        if cut.any():
            raise ValueError(
                f"recording {recording.recording}: label rule {rule_name(settings.rule)} made a window of "
                f"{int(length[cut][0])} samples, shorter than {settings.window_s:g} s; that needs prepare(resample='fft-window')"
            )
        stored_start = np.rint(start * (recording.sfreq / recording.source_sfreq)).astype(np.int64)
        stored_start = np.minimum(stored_start, stretch.stored_samples - settings.n_times)
    # One division for recordings without a pause, so that their tables stay to the last digit.
    seconds = stretch.duration_s / stretch.n_samples if recording.segments else None
    start_s, stop_s = (
        at / recording.source_sfreq if seconds is None else stretch.start_s + at * seconds
        for at in (start, start + length)
    )
    return pd.DataFrame(
        {
            "start_s": start_s,
            "stop_s": stop_s,
            "seizure_fraction": rows["seizure_fraction"].to_numpy(np.float64),
            "label": rows["label"].to_numpy(np.int64),
            "start_sample": stored_start + stretch.stored_start,
            "n_samples": stored_length,
            "kind": rows["kind"].astype(str),
            **{name: rows[name].to_numpy(np.float64) for name in map(str, rows.columns) if name.startswith(TARGET)},
        }
    )


def _bad_channels(recording: Recording, start: Ints, length: Ints) -> Bools:
    """Return where a channel is flat or not finite in a window, ``(n_windows, n_chans)``."""
    bad = np.zeros((len(start), len(recording.present)), bool)
    stop = start + length
    for c, spans in enumerate(recording.flat):
        for a, b in spans:
            bad[:, c] |= (a <= start) & (stop <= b)
    for c, spans in enumerate(recording.not_finite):
        for a, b in spans:
            bad[:, c] |= (start < b) & (a < stop)
    return bad


def _describe_bad(recording: Recording, ch_names: Sequence[str], bad: Bools, start: Ints) -> str:
    row, channel = (int(i) for i in np.argwhere(bad)[0])
    return (
        f"recording {recording.recording}, channel {ch_names[channel]} is flat or not finite in {int(bad[:, channel].sum())} "
        f"windows, the first at {start[row] / recording.source_sfreq:g} s ({int(bad.any(axis=0).sum())} such channels)"
    )


def _lost_seizures(recording: Recording, frame: pd.DataFrame) -> list[float]:
    positive = frame[frame["label"] > 0]
    begin, end = positive["start_s"].to_numpy(), positive["stop_s"].to_numpy()
    return [a for a, b in recording.events if not ((begin < max(b, a + 1e-9)) & (a < end)).any()]


def _percentiles(
    folder: Path, recording: Recording, frame: pd.DataFrame, recorded: Bools, settings: TableSettings
) -> tuple[Floats, Bools, Bools]:
    """Return the percentiles ``(n_windows, n_chans)``, which channels the scaler accepts, and those
    of which it takes an offset.
    """
    start, length = frame["start_sample"].to_numpy(), frame["n_samples"].to_numpy()
    measured = np.empty(recorded.shape, np.float32), np.empty(recorded.shape, bool), np.empty(recorded.shape, bool)
    digital = recording.dtype == "int16" and bool((length == settings.n_times).all())
    steps = np.array(recording.steps_uv, np.float32)
    for i in range(0, len(frame), WINDOWS_A_MAP):
        some = slice(i, i + WINDOWS_A_MAP)
        # Opened anew, as the pages of a map that was read count as memory.
        signals = open_signals(*map_key(folder, recording))
        if digital:
            parts = _measure_digital(signals, steps, start[some], settings.n_times)
        else:
            parts = _measure(signals, steps, start[some], length[some], settings.n_times)
        for whole, part in zip(measured, parts, strict=True):
            whole[some] = part
    percentiles, accepted, offset = measured
    return percentiles, accepted & recorded, offset


def _measure(
    signals: NDArray[Any], steps: Floats, start: Ints, length: Ints, n_times: int
) -> tuple[Floats, Bools, Bools]:
    """Measure windows as they will be read."""
    shape = (len(start), len(steps))
    percentiles, accepted, offset = np.empty(shape, np.float32), np.empty(shape, bool), np.empty(shape, bool)
    buffer = np.empty((BLOCK, len(steps), n_times), np.float32)
    for i, stop in blocks(0, len(start)):
        scales = np.broadcast_to(steps, (stop - i, len(steps)))
        x = buffer[: stop - i]
        Located([signals] * len(x), start[i:stop].tolist(), length[i:stop].tolist(), scales, n_times).read(x)
        x, offset[i:stop] = without_offsets(x)
        percentiles[i:stop] = window_percentiles(x, CACHED_PERCENTILE)
        accepted[i:stop] = np.isfinite(percentiles[i:stop]) & ~flat_channels(x, percentiles[i:stop])
    return percentiles, accepted, offset


def _measure_digital(
    signals: NDArray[np.int16], steps: Floats, start: Ints, n_times: int
) -> tuple[Floats, Bools, Bools]:
    """Measure windows in digital steps: :func:`_measure` within rounding, half the bytes."""
    windows = _overlapping(signals, start, n_times)
    percentiles = (window_percentiles(windows, CACHED_PERCENTILE) * steps).astype(np.float32)
    few = windows[..., :: max(1, n_times // LOOKS)]
    # Unlike all of the samples, a few of them tell only that a channel does move.
    moving = (few.max(axis=-1).astype(np.float32) - few.min(axis=-1)) * steps >= FLAT_UV
    for window, channel in np.argwhere(~moving):
        row = windows[window, channel]
        moving[window, channel] = (float(row.max()) - float(row.min())) * steps[channel] >= FLAT_UV
    offset = offset_channels(windows, steps)
    for window, channel in np.argwhere(offset):
        row = without_line(windows[window, channel][None] * steps[channel])
        percentiles[window, channel] = window_percentiles(row[None], CACHED_PERCENTILE)[0, 0]
    return percentiles, moving & (percentiles >= FLAT_UV), offset


def _overlapping(signals: NDArray[np.int16], start: Ints, n_times: int) -> NDArray[np.int16]:
    """Return windows ``(n, n_chans, n_times)``; a view where starts are evenly spaced."""
    every = sliding_window_view(signals, n_times, axis=-1).swapaxes(0, 1)
    hop = int(start[1] - start[0]) if len(start) > 1 else 1
    if hop > 0 and (np.diff(start) == hop).all():
        return every[start[0] : start[-1] + 1 : hop]
    return every[start]


def build_table(
    folder: Path,
    recordings: Sequence[Recording],
    ch_names: Sequence[str],
    settings: TableSettings,
    n_jobs: int = 1,
    prefer: str = "processes",
    advance: Any = None,
    failures: dict[str, str] | None = None,
) -> tuple[pd.DataFrame, Floats, list[str]]:
    """Make the table of a store.

    Parameters
    ----------
    folder : Path
        The store.
    recordings : sequence of Recording
        What it holds.
    ch_names : sequence of str
        Its channels.
    settings : TableSettings
        Rule, window, stride.
    n_jobs : int
        Recordings at a time.
    prefer : {"processes", "threads"}
        What they are shared among.
    advance : callable, optional
        Called after each recording.
    failures : dict, optional
        Filled with what went wrong, by recording; such a recording has no rows.

    Returns
    -------
    frame : pandas.DataFrame
        The table.
    percentiles : ndarray of float32, shape (n_windows, n_chans)
        NaN where a channel is absent.
    notes : list of str
        What a user should know: bad channels, windows left out, seizures without a positive window.

    Raises
    ------
    ValueError
        A recording failed and there is no ``failures`` to note it, or there are no windows at all.
    """
    parts = Parallel(n_jobs=n_jobs, prefer=prefer, return_as="generator")(
        delayed(_try_part)(folder, r, ch_names, settings) for r in recordings
    )
    frames, percentiles, notes = [], [], []
    for recording, part in zip(recordings, parts, strict=True):
        if isinstance(part, str):
            if failures is None:
                raise ValueError(part)
            failures[recording.recording] = part
        else:
            frames.append(part[0])
            percentiles.append(part[1])
            notes += part[2]
        if advance is not None:
            advance()
    if not sum(map(len, frames)):
        raise ValueError(
            f"label rule {rule_name(settings.rule)} with windows of {settings.window_s:g} s makes no window of {len(recordings)} recordings"
            + (f"; {next(iter(failures.values()))}" if failures else "")
        )
    prepared = [r for r in recordings if r.recording not in (failures or {})]
    _check_targets(frames, prepared, settings)
    frame = pd.concat(frames, ignore_index=True)
    notes += _unseen_classes(frame, prepared, settings)
    n_rows = [len(part) for part in frames]
    frame.insert(0, "recording", _repeated([r.recording for r in prepared], n_rows))
    frame.insert(1, "subject", _repeated([r.subject for r in prepared], n_rows))
    frame["kind"] = frame["kind"].astype("category")
    if OFFSET in frame:
        frame[OFFSET] = frame[OFFSET].eq(True)  # recordings without an offset do not say so
    return frame, np.concatenate(percentiles), notes


def _check_targets(frames: Sequence[pd.DataFrame], recordings: Sequence[Recording], settings: TableSettings) -> None:
    """Raise where windows of some recordings have votes and those of others have none."""
    voted = {r.recording: f"{TARGET}0" in frame for r, frame in zip(recordings, frames, strict=True) if len(frame)}
    if any(voted.values()) and not all(voted.values()):
        lacking = next(name for name, has in voted.items() if not has)
        raise ValueError(
            f"recording {lacking}: label rule {rule_name(settings.rule)} returned no columns {TARGET}0 ... here, and did for others"
        )


def _unseen_classes(frame: pd.DataFrame, recordings: Sequence[Recording], settings: TableSettings) -> list[str]:
    """Note the classes that no window has, where they are not background and seizure."""
    found = set(frame["label"].tolist())
    unseen = [name for label, name in enumerate(settings.classes) if label not in found]
    if settings.classes == CLASSES or not unseen:
        return []
    there = sorted({str(row[2]) for recording in recordings for row in recording.annotations})
    return [f"{NO_WINDOW} of class {', '.join(unseen)} (annotations there: {', '.join(there[:12]) or 'none'})"]


def _repeated(names: Sequence[str], times: Sequence[int]) -> pd.Categorical:
    """Return names, each so many times; those of none are no category."""
    kept = [(name, n) for name, n in zip(names, times, strict=True) if n]
    categories, codes = np.unique([name for name, _ in kept], return_inverse=True)
    return pd.Categorical.from_codes(np.repeat(codes, [n for _, n in kept]), categories.tolist())


def _try_part(folder: Path, recording: Recording, ch_names: Sequence[str], settings: TableSettings) -> Any:
    """Return the part, or what went wrong; an error that crosses processes loses its notes."""
    try:
        return table_part(folder, recording, ch_names, settings)
    except ValueError as error:
        return str(error)


def write_table(folder: Path, frame: pd.DataFrame, percentiles: Floats) -> None:
    """Write ``windows.parquet`` and ``percentiles.npy``, each atomically."""
    with atomic_path(folder / PERCENTILES) as temporary, temporary.open("wb") as file:
        np.save(file, percentiles)
    with atomic_path(folder / TABLE) as temporary:
        frame.to_parquet(temporary, index=False)


def warn_of(notes: Sequence[str], where: Path, also_bad: bool = False, limit: int = 5) -> None:
    """Warn once of seizures and classes without a window that :func:`build_table` noted.

    Of bad channels, too, if wanted.
    """
    if notes := [note for note in notes if also_bad or "no positive window" in note or note.startswith(NO_WINDOW)]:
        more = f"; and {len(notes) - limit} more ({where})" if len(notes) > limit else ""
        warnings.warn("; ".join(notes[:limit]) + more, stacklevel=3)
