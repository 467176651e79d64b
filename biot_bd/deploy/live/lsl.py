"""A stream of the Lab Streaming Layer as a live source; needs the extra ``live`` (mne-lsl)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.deploy.live.source import Chunk, LiveSource, Notice
from biot_bd.exceptions import LostStreamError
from biot_bd.io.units import uv_per_unit

BUFFER_S = 360  # of liblsl; what does not fit is lost there, and shows as a gap
SILENT_S = 15.0  # a connection from which nothing came for so long is made anew
IDLE_S = 0.25
SAME_NAME_S = 1.0  # how long to look for a second stream of the name
POLL_S = 0.02
CORRECTION_S = 5.0  # how often the offset of the sender's clock is looked at
# What mne-lsl sends for units of MNE: powers of ten of a volt.
CODES = {"0": "V", "-3": "mV", "-6": "uV", "-9": "nV"}
# What a user gives; no other unit is meant in any case of its letters.
GIVEN = {unit.lower(): unit for unit in CODES.values()}


class LslSource(LiveSource):
    """Listen to a stream of the Lab Streaming Layer.

    What comes faster than it is used waits in a buffer of 360 s; what does not fit is lost and
    shows as a gap in the time stamps.  A connection that is lost is made anew, to the stream of the
    same source id where it has one.

    Parameters
    ----------
    name : str
        Of the stream.
    source_id : str, optional
        Chooses among streams of one name.
    unit : {"V", "mV", "uV", "nV"}, optional
        Of the samples, where the stream does not say or says wrong.
    wait_s : float
        How long to look for the stream.
    reconnect_s : float
        How long to try to get a lost stream back.
    jitter_s : float
        A change of the sender's clock offset of more than this is told.

    Raises
    ------
    ImportError
        The extra is not installed.
    ValueError
        The stream has no channel names, no unit, or no constant rate; or several have this name.
    LostStreamError
        No such stream answered.
    """

    def __init__(
        self,
        name: str,
        *,
        source_id: str | None = None,
        unit: str | None = None,
        wait_s: float = 10.0,
        reconnect_s: float = 60.0,
        jitter_s: float = 0.2,
    ) -> None:
        if unit is not None and _uv_per_unit(GIVEN.get(unit.lower(), unit)) is None:
            raise ValueError(f"unit {unit!r}: expected V, mV, uV or nV")
        super().__init__()
        self._lsl = _import_lsl()
        self.name, self.source_id = name, source_id
        self.unit = unit if unit is None else GIVEN.get(unit.lower(), unit)
        self.reconnect_s, self.jitter_s = reconnect_s, jitter_s
        self.where, self.notes = f"LSL stream {name!r}", list[str]()
        self._inlet: Any = None
        found = self._resolve(wait_s)
        if found and source_id is None:
            found = self._resolve(SAME_NAME_S, minimum=2)
        if not found:
            raise LostStreamError(
                f"no LSL stream of the name {name!r}{f' and source id {source_id!r}' if source_id else ''} answered within "
                f"{wait_s:g} s; check that the sender runs on this network, and its name"
            )
        if len(found) > 1:
            raise ValueError(
                f"{len(found)} LSL streams have the name {name!r}: source ids "
                f"{', '.join(repr(info.source_id) for info in found)}; choose one by its source id"
            )
        self._open(found[0])

    def _resolve(self, wait_s: float, minimum: int = 1) -> list[Any]:
        found = self._lsl.resolve_streams(
            timeout=max(wait_s, 0.5), name=self.name, source_id=self.source_id, minimum=minimum
        )
        return [info for info in found if info.name == self.name]

    def _open(self, info: Any) -> None:
        inlet = self._lsl.StreamInlet(info, max_buffered=BUFFER_S, recover=False)
        try:
            inlet.open_stream(timeout=10)
            full = inlet.get_sinfo(timeout=10)
        except (RuntimeError, TimeoutError) as error:
            raise LostStreamError(f"{self.where}: found, but no connection can be made ({error})") from error
        if not full.sfreq > 0 or full.dtype == "string":
            raise ValueError(f"{self.where}: carries no signal of constant rate (rate {full.sfreq:g}, {full.dtype})")
        names = full.get_channel_names()
        if not names or any(not name for name in names):
            raise ValueError(f"{self.where}: does not name its {full.n_channels} channels; let the sender name them")
        self.source_id = self.source_id or full.source_id or None
        self.ch_names, self.sfreq = list(names), float(full.sfreq)
        units = [self.unit] * len(names) if self.unit else full.get_channel_units() or [None] * len(names)
        self._units = {name: str(unit or "").strip() for name, unit in zip(names, units, strict=True)}
        self._inlet = inlet
        self._correction, self._corrected_at = self._time_correction(), self._lsl.local_clock()

    def chunks(self, needed: Sequence[str]) -> Iterator[Chunk | Notice]:
        """Yield what comes, empty chunks where nothing comes, and notices of what happens to the
        connection.

        Raises
        ------
        LostStreamError
            The stream was lost and did not come back in time.
        ValueError
            A needed channel has no known unit.
        """
        places, factors = self._places(needed)
        heard = told = self._lsl.local_clock()
        while not self._stop.is_set():
            try:
                data, times = self._inlet.pull_chunk(timeout=0.0, max_samples=max(1, int(np.ceil(self.sfreq))))
                lost = None
            except RuntimeError as error:
                data, times, lost = np.empty((0, len(self.ch_names))), np.empty(0), str(error)
            now = self._lsl.local_clock()
            if len(times):
                heard = told = now
                yield Chunk(_rows(data, places, factors), self.sfreq, np.asarray(times, np.float64), now)
                yield from self._offset_notice(now)
                continue
            if lost is None and now - heard > SILENT_S:
                lost = f"nothing came for {SILENT_S:g} s"
            if lost is not None:
                yield Notice("connection", {"state": "lost", "reason": lost})
                yield from self._reconnect(needed)
                places, factors = self._places(needed)
                heard = self._lsl.local_clock()
            elif now - told > IDLE_S:
                told = now
                yield Chunk(np.empty((len(needed), 0), np.float32), self.sfreq)
            self._stop.wait(POLL_S)

    def _places(self, needed: Sequence[str]) -> tuple[list[int | None], list[float]]:
        """Return where each needed channel is in the stream (None: not there), and its factor to
        microvolts.
        """
        places = [self.ch_names.index(name) if name in self.ch_names else None for name in needed]
        factors = []
        for name in needed:
            factor = _uv_per_unit(self._units.get(name, "uV"))
            if factor is None:
                unit = self._units[name]
                fault = f"unit {unit!r} of channel {name!r} is not known" if unit else ""
                raise ValueError(
                    f"{self.where}: {fault or f'does not say the unit of channel {name!r}'}; expected V, mV, uV or nV; "
                    "give it by unit= (--lsl-unit)"
                )
            factors.append(factor)
        return places, factors

    def _reconnect(self, needed: Sequence[str]) -> Iterator[Chunk | Notice]:
        self.close()
        begin = self._lsl.local_clock()
        while not self._stop.is_set():
            waited = self._lsl.local_clock() - begin
            if waited >= self.reconnect_s:
                raise LostStreamError(
                    f"{self.where}: lost, and not back within {self.reconnect_s:g} s; start it again, or allow more time"
                )
            found = self._resolve(min(1.0, self.reconnect_s - waited))
            if found:
                with contextlib.suppress(LostStreamError):
                    self._open(found[0])
                    missing = [name for name in needed if name not in self.ch_names]
                    waited = self._lsl.local_clock() - begin
                    yield Notice("connection", {"state": "back", "after_s": round(waited, 3), "missing": missing})
                    return
            yield Chunk(np.empty((len(needed), 0), np.float32), self.sfreq)

    def _time_correction(self) -> float | None:
        try:
            return float(self._inlet.time_correction(timeout=2))
        except (RuntimeError, TimeoutError):
            return None

    def _offset_notice(self, now: float) -> Iterator[Notice]:
        """Tell when the offset between the sender's clock and ours has changed."""
        if now - self._corrected_at < CORRECTION_S:
            return
        before, self._correction, self._corrected_at = self._correction, self._time_correction(), now
        if before is not None and self._correction is not None and abs(self._correction - before) > self.jitter_s:
            yield Notice("clock", {"change": "offset", "seconds": round(self._correction - before, 4)})
        self._correction = before if self._correction is None else self._correction

    @property
    def lag_s(self) -> float | None:
        """Seconds of signal that wait in the buffer."""
        if self._inlet is None:
            return None
        try:
            return float(self._inlet.samples_available / self.sfreq)
        except RuntimeError:
            return None

    def close(self) -> None:
        """Close the connection."""
        inlet, self._inlet = self._inlet, None
        if inlet is not None:
            with contextlib.suppress(RuntimeError):
                inlet.close_stream()


def _import_lsl() -> Any:
    try:
        import mne_lsl
        from mne_lsl import lsl
    except ImportError as error:
        raise ImportError(
            f"live streams need mne-lsl ({error}); install it with: pip install 'biot-bd[live]'"
        ) from error
    mne_lsl.set_log_level("ERROR")
    return lsl


def _uv_per_unit(text: str) -> float | None:
    return uv_per_unit(CODES.get(text, text))


def _rows(data: NDArray[Any], places: Sequence[int | None], factors: Sequence[float]) -> NDArray[np.float32]:
    """Return samples ``(n, n_chans)`` of the stream as rows of the needed channels, NaN where
    one is not there.
    """
    out = np.full((len(places), len(data)), np.nan, np.float32)
    for row, place, factor in zip(out, places, factors, strict=True):
        if place is not None:
            row[:] = data[:, place] if factor == 1 else data[:, place] * factor
    return out
