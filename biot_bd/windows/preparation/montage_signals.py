"""The channels of a montage, made from a recording and resampled part by part."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import mne
import numpy as np
from numpy.typing import NDArray

from biot_bd.io.channel_readers import Block, ChannelReader, open_reader
from biot_bd.io.unusable import unit_notes, unusable_channels
from biot_bd.signals.mapper import MontageMapper
from biot_bd.signals.montages import Montage, MontagePlan, plan_montage
from biot_bd.signals.resampling import Part, ResamplingPlan
from biot_bd.windows.store import Span

SHORTEST_FLAT_S = 0.5
# A zero in an EDF is half a digital step off where the digital range is not symmetric.
ZERO_UV = 1.0
BLOCK_SAMPLES = 65_536
# Of all channels that are resampled together; enough for the FFT to work on many segments at once.
SAMPLES_AT_ONCE = 2**21


class Harmonised:
    """The channels of a montage, made from those of a recording.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording, in volts.
    montage : Montage
        What is made.
    on_missing : {"raise", "drop", "interpolate"}
        What happens where a channel cannot be made.
    zero_is_missing : bool
        A channel of the recording that is exactly zero was never recorded.
    planned : MontagePlan, optional
        How the channels become the montage's, where that is known.

    Attributes
    ----------
    sfreq : float
        Rate of the fastest channel that is needed, in Hz.
    n_samples : int
        The recording's length at that rate.
    present : list of bool
        Which channels of the montage can be made.
    ranges_uv : list of float or None
        The largest absolute value that the recording's header allows, by channel, in uV.
    not_finite : list of lists of [start, stop]
        By channel, in samples of the recording; complete once :meth:`resampled` went through all
        parts.
    """

    def __init__(
        self,
        raw: mne.io.BaseRaw,
        montage: Montage,
        on_missing: Literal["raise", "drop", "interpolate"],
        zero_is_missing: bool = False,
        planned: MontagePlan | None = None,
    ) -> None:
        plan = planned
        if plan is None or zero_is_missing:
            names = _without_zero_channels(raw, montage) if zero_is_missing else list(raw.ch_names)
            plan = MontageMapper(montage, on_missing=on_missing).plan(names, unusable=unusable_channels(raw))
        self._header_notes = header_notes(raw, plan)
        self._reader: ChannelReader = open_reader(raw, plan.needed)
        # By channel: places in the reader, and what is multiplied with.
        places = {name: i for i, name in enumerate(self._reader.ch_names)}
        self._sources = [
            [(places[plan.ch_names[source]], weight) for source, weight in zip(c.sources, c.weights, strict=True)]
            for c in plan.channels
        ]
        self.sfreq, self.n_samples = self._reader.sfreq, self._reader.n_samples
        self.shortest_flat_samples = max(2, round(SHORTEST_FLAT_S * self.sfreq))
        self.present = [planned.how != "missing" for planned in plan.channels]
        self.ranges_uv = [self._range_uv(i) for i in range(len(plan.channels))]
        # Of what channels are derived from, by its place in the reader; and of what is made.
        self._flat_sources: list[list[Span]] = [[] for _ in self._reader.ch_names]
        self._flat_made: list[list[Span]] = [[] for _ in plan.channels]
        self.not_finite: list[list[Span]] = [[] for _ in plan.channels]
        self._bridges: list[list[tuple[float, float]]] | None = None

    @property
    def flat(self) -> list[list[Span]]:
        """Stretches of constant value, by channel of the montage, in samples of the recording.

        Those of every electrode that a channel is derived from count; they may overlap.  Complete
        once :meth:`resampled` went through all parts.
        """
        found = []
        for sources, own in zip(self._sources, self._flat_made, strict=True):
            electrodes = [span for place in _derived_from(sources) for span in self._flat_sources[place]]
            found.append([list(span) for span in sorted({(a, b) for a, b in [*own, *electrodes]})])
        return found

    @property
    def notes(self) -> list[str]:
        """What a reader should know of labels, units, electrodes; complete as :attr:`flat` is."""
        dead = [
            name
            for name, spans in zip(self._reader.ch_names, self._flat_sources, strict=True)
            if sum(b - a for a, b in spans) == self.n_samples
        ]
        flat = [f"flat throughout, nothing is derived from it: {', '.join(dead)}"] if dead else []
        return [*self._header_notes, *flat]

    def resampled(
        self, plan: ResamplingPlan, channels: Sequence[int], units_uv: Sequence[float]
    ) -> Iterator[tuple[int, list[int], NDArray[np.float32]]]:
        """Yield (first output sample, channels, their values in their units), part by part.

        The values lie in a buffer that is written anew before the next part; the caller may change
        them.

        Parameters
        ----------
        plan : ResamplingPlan
            Its parts overlap by at least ``shortest_flat_samples``.
        channels : sequence of int
            Which, of those that are present.
        units_uv : sequence of float
            The unit of each channel of the montage, in uV.
        """
        longest = max(part.stop - part.start for part in plan.parts)
        at_once = max(1, SAMPLES_AT_ONCE // longest)
        groups = [g[i : i + at_once] for g in self._alike(channels) for i in range(0, len(g), at_once)]
        digital = {channel: self._digital(channel) for channel in channels}
        derived_from = {place for channel in channels for place in _derived_from(self._sources[channel])}
        buffer = np.empty((max(map(len, groups), default=0) + 1, longest), np.float32)
        made = np.empty((len(buffer), max(part.out_stop - part.out_start for part in plan.parts)), np.float32)
        for part in plan.parts:
            block = self._reader.block(part.start, part.stop)
            still = set(maybe_constant(block.samples, self.shortest_flat_samples))
            for place in sorted(derived_from & still):
                self._note_constant(self._flat_sources[place], block.stored(place), part)
            for group in groups:
                out = made[: len(group), : part.out_stop - part.out_start]
                units = np.take(units_uv, group)
                if of := [d for d in map(digital.__getitem__, group) if d is not None]:
                    places, gains, offsets = zip(*of, strict=True)
                    x: Any = [block.stored(place) for place in places]
                    suspects = [i for i, place in enumerate(places) if place in still]
                    plan.apply(part, x, out, np.array(gains) / units, np.array(offsets))
                else:
                    x = self._derived(block, group, part, buffer)
                    suspects = maybe_constant(x, self.shortest_flat_samples)
                    plan.apply(part, x, out, 1 / units)
                for i in suspects:
                    self._note_constant(self._flat_made[group[i]], x[i], part)
                yield part.out_start, group, out

    def _note_constant(self, spans: list[Span], x: NDArray[Any], part: Part) -> None:
        """Add to ``spans`` where a signal is constant in a part."""
        for a, b in constant_spans(x, self.shortest_flat_samples):
            _join(spans, [a + part.start, b + part.start])

    def _alike(self, channels: Sequence[int]) -> list[list[int]]:
        """Split channels into those that are one digital channel of the file, and others."""
        groups: dict[bool, list[int]] = {True: [], False: []}
        for channel in channels:
            groups[self._digital(channel) is not None].append(channel)
        return [group for group in groups.values() if group]

    def _digital(self, channel: int) -> tuple[int, float, float] | None:
        """Return (place in the reader, uV a step, offset in steps) of a digital channel."""
        if self._reader.scales is None or len(self._sources[channel]) != 1:
            return None
        ((place, weight),) = self._sources[channel]
        scale, offset = self._reader.scales[place]
        return place, weight * scale, offset / scale

    def _derived(
        self, block: Block, group: Sequence[int], part: Part, buffer: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return channels in uV, in the buffer, which has room for one more."""
        n = part.stop - part.start
        for i, channel in enumerate(group):
            self._derive(block, channel, buffer[i : i + 2, :n])
            if self._reader.scales is None:  # digital values are always finite
                self._bridge(buffer[i, :n], channel, part.start)
        return buffer[: len(group), :n]

    def _derive(self, block: Block, channel: int, buffers: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a channel of the montage.

        It lies in the first of the two buffers, the second is used up.
        """
        x, other = buffers
        for i, (place, weight) in enumerate(self._sources[channel]):
            target = other if i else x
            block.read(place, target)
            if weight != 1:
                target *= np.float32(weight)
            if i:
                x += other
        return x

    def _range_uv(self, channel: int) -> float | None:
        if self._reader.ranges_uv is None:
            return None
        total = 0.0
        for place, weight in self._sources[channel]:
            total += abs(weight) * self._reader.ranges_uv[place]
        return total

    def _bridge(self, x: NDArray[np.float32], channel: int, start: int) -> None:
        """Draw straight lines, in place, across what is not finite: resampling would spread it."""
        if self._bridges is None:
            with np.errstate(over="ignore", invalid="ignore"):
                if np.isfinite(x.sum()):
                    return
            # All blocks before this one were finite, so nothing that was handed out changes.
            self._bridges = self._survey()
        for (a, b), (left, right) in zip(self.not_finite[channel], self._bridges[channel], strict=True):
            first, last = max(a, start), min(b, start + len(x))
            if first < last:
                where = np.arange(first, last)
                x[first - start : last - start] = np.interp(where, [a - 1, b], [left, right])

    def _survey(self) -> list[list[tuple[float, float]]]:
        """Find what is not finite in any channel.

        Return the values before and after each stretch.
        """
        present = [i for i, there in enumerate(self.present) if there]
        buffers = np.empty((2, min(BLOCK_SAMPLES, self.n_samples)), np.float32)
        for start in range(0, self.n_samples, BLOCK_SAMPLES):
            stop = min(start + BLOCK_SAMPLES, self.n_samples)
            block = self._reader.block(start, stop)
            for channel in present:
                x = self._derive(block, channel, buffers[:, : stop - start])
                for a, b in _spans(~np.isfinite(x)):
                    _join(self.not_finite[channel], [a + start, b + start], touching=True)
        return [[self._beside(channel, a, b) for a, b in spans] for channel, spans in enumerate(self.not_finite)]

    def _beside(self, channel: int, a: int, b: int) -> tuple[float, float]:
        """Return the values before and after a stretch; what is missing is as the other, or 0."""
        left = [self._value(channel, a - 1)] if a > 0 else []
        right = [self._value(channel, b)] if b < self.n_samples else []
        return (left or right or [0.0])[0], (right or left or [0.0])[0]

    def _value(self, channel: int, sample: int) -> float:
        block = self._reader.block(sample, sample + 1)
        return float(self._derive(block, channel, np.empty((2, 1), np.float32))[0])


def header_notes(raw: mne.io.BaseRaw, plan: MontagePlan) -> list[str]:
    """Say which labels and channels of a recording are not used, and which units were concluded."""
    notes = [plan.names.reason] if plan.names.withheld else []
    notes += [f"cannot be used: {plan.unusable_text}"] if plan.unusable else []
    return notes + unit_notes(raw, plan.needed)


def _derived_from(sources: Sequence[tuple[int, float]]) -> list[int]:
    """Return the places of what a channel is derived from; none of one that is taken as it is."""
    return [place for place, _ in sources] if len(sources) > 1 else []


def _without_zero_channels(raw: mne.io.BaseRaw, montage: Montage) -> list[str]:
    """Return the channel names; those exactly zero throughout get one that nothing matches."""
    names = list(raw.ch_names)
    reader = open_reader(raw, plan_montage(montage, names).needed)
    level: dict[int, np.float32] = {}
    zero = set(range(len(reader.ch_names)))
    buffer = np.empty(min(BLOCK_SAMPLES, reader.n_samples), np.float32)
    for start in range(0, reader.n_samples, BLOCK_SAMPLES):
        x = buffer[: reader.n_samples - start]
        block = reader.block(start, start + len(x))
        for i in sorted(zero):
            block.read(i, x)
            first = level.setdefault(i, x[0])
            if not (abs(first) < ZERO_UV and (x == first).all()):
                zero.discard(i)
        if not zero:
            break
    absent = {reader.ch_names[i] for i in zero}
    return [f"{name} (zero throughout)" if name in absent else name for name in names]


def _spans(mask: NDArray[np.bool_]) -> list[Span]:
    """Return the runs of True as [start, stop]."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return [[int(a), int(b)] for a, b in edges.reshape(-1, 2)]


def _join(spans: list[Span], span: Span, touching: bool = False) -> None:
    """Add a stretch to those found before; overlapping pieces of neighbouring blocks become one.

    Stretches of different values may touch without being one, so that touching ones are joined only
    on demand.
    """
    place = bisect.bisect_right(spans, span)
    spans.insert(place, span)
    while place > 0 and (spans[place - 1][1] + touching > spans[place][0]):
        spans[place - 1] = [spans[place - 1][0], max(spans[place - 1][1], spans[place][1])]
        del spans[place]
        place -= 1


def maybe_constant(x: NDArray[Any], shortest: int) -> list[int]:
    """Return the signals ``(n_signals, n)`` that may hold ``shortest`` constant samples.

    Such a stretch holds at least four neighbours of a coarse grid.
    """
    if shortest < 8:
        return list(range(len(x)))
    coarse = x[:, :: shortest // 4]
    same = coarse[:, 1:] == coarse[:, :-1]
    return np.flatnonzero((same[:, 2:] & same[:, 1:-1] & same[:, :-2]).any(axis=1)).tolist()


def constant_spans(x: NDArray[Any], shortest: int) -> list[Span]:
    """Return the stretches, [start, stop], of ``shortest`` constant samples or more."""
    change = np.flatnonzero(x[1:] != x[:-1]) + 1
    edges = np.concatenate([[0], change, [len(x)]])
    long = np.flatnonzero(np.diff(edges) >= shortest)
    return [[int(edges[i]), int(edges[i + 1])] for i in long]
