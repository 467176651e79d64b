"""Samples as text for a page: int16 steps, differences, zlib and base64, minute by minute.

A chunk is what :func:`encode_chunk` returns, as JSON holds it::

    n       samples a channel
    data    base64 of zlib of: one byte a channel (the order of its differences), then the low
            bytes of all channels, then their high bytes; a value is the zigzag of an int16
    steps   only where some are not the viewer's: channel -> its step in microvolts
    offset  only where some are not 0: channel -> microvolts that were taken off
    absent  only where there are some: [channel, first, stop] of samples without signal

Differences wrap around in 16 bits, which summing them up undoes.
"""

from __future__ import annotations

import base64
import itertools
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.viewer.traces import Traces

CHUNK_S = 60.0
LARGEST = 32767
MOST_ORDER = 3
FAR_OFFSET_UV = 1000.0
NO_SIGNAL = -32768
LOOKED_AT = 12  # chunks whose size tells that of all


@dataclass(frozen=True)
class Resolution:
    """How finely amplitudes are kept.

    Parameters
    ----------
    step_uv : float
        The smallest step.
    share : float
        Where this share of a channel's robust standard deviation in a chunk is more, that is its
        step; 0 for never.
    """

    step_uv: float
    share: float = 0.0

    @property
    def text(self) -> str:
        """For the page."""
        loud = f", in louder channels to 1/{1 / self.share:.0f} of their spread" if self.share else ""
        return f"amplitudes to {self.step_uv:g} µV{loud}"


RESOLUTIONS = (
    *(Resolution(step_uv) for step_uv in (0.1, 0.2, 0.5, 1.0, 2.0)),
    *(Resolution(2.0, share) for share in (1 / 16, 1 / 12, 1 / 8, 1 / 6)),
)


class Samples:
    """Some samples of all channels, and what their encoding at any resolution depends on.

    Parameters
    ----------
    values : ndarray, shape (n_chans, n_samples)
        NaN where there is no signal.
    """

    def __init__(self, values: NDArray[np.floating]) -> None:
        self.absent = np.isnan(values)
        # What is unknown repeats what was before it: cheapest to write.
        self._values = np.asarray(values, np.float64)
        if self.absent.any():
            last = np.maximum.accumulate(np.where(self.absent, -1, np.arange(values.shape[1])), axis=1)
            before = np.take_along_axis(self._values, np.maximum(last, 0), axis=1)
            self._values = np.where(last >= 0, before, 0.0)
        median = np.median(self._values, axis=1, keepdims=True)
        self._offset = np.where(np.abs(median) > FAR_OFFSET_UV, np.round(median), 0.0)
        self._values = self._values - self._offset  # the values may be the caller's
        away = np.abs(self._values - (median - self._offset))
        self._spread = 1.4826 * np.median(away, axis=1, keepdims=True)
        self._farthest = np.abs(self._values).max(axis=1, keepdims=True)

    def steps_uv(self, resolution: Resolution) -> NDArray[np.float64]:
        """Return the step of each channel, shape (n_chans, 1), three digits of its own ones."""
        wanted = np.maximum(resolution.share * self._spread, self._farthest / (LARGEST - 1))
        digits = 10.0 ** np.floor(np.log10(np.maximum(wanted, resolution.step_uv)) - 2)
        return np.where(wanted > resolution.step_uv, np.ceil(wanted / digits) * digits, resolution.step_uv)

    def planes(self, resolution: Resolution) -> tuple[list[int], NDArray[np.uint8], NDArray[np.uint8]]:
        """Return each channel's order of differences, and low and high bytes of their zigzag."""
        steps = np.round(self._values / self.steps_uv(resolution)).astype(np.int16)
        tried = [steps]
        for _ in range(MOST_ORDER):
            tried.append(np.diff(tried[-1], axis=1, prepend=np.int16(0)))
        sizes = np.array([np.abs(d.astype(np.int32)).sum(axis=1) for d in tried])
        orders = sizes.argmin(axis=0)
        signed = np.choose(orders[:, None], tried).astype(np.int32)
        zigzag = ((signed << 1) ^ (signed >> 31)).astype(np.uint16)
        return orders.tolist(), (zigzag & 255).astype(np.uint8), (zigzag >> 8).astype(np.uint8)

    def estimated_bytes(self, resolution: Resolution) -> float:
        """Return about how many characters :meth:`encode` would write, by the bytes' entropy."""
        bits = 0.0
        for plane in self.planes(resolution)[1:]:
            counts = np.bincount(plane.ravel(), minlength=256)
            share = counts[counts > 0] / plane.size
            bits -= plane.size * float(share @ np.log2(share))
        return bits / 8 * 4 / 3 + 200

    def encode(self, resolution: Resolution) -> dict[str, Any]:
        """Return the chunk, as the module's text says."""
        orders, low, high = self.planes(resolution)
        # Low bytes are noise to a search for repeats: runs and Huffman codes are as small.
        packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
        body = packer.compress(bytes(orders) + low.tobytes() + high.tobytes()) + packer.flush()
        chunk: dict[str, Any] = {"n": low.shape[1], "data": base64.b64encode(body).decode("ascii")}
        steps, offsets = self.steps_uv(resolution)[:, 0], self._offset[:, 0]
        if (steps != resolution.step_uv).any():
            own = np.flatnonzero(steps != resolution.step_uv)
            chunk["steps"] = {str(channel): float(f"{steps[channel]:.3g}") for channel in own}
        if offsets.any():
            chunk["offset"] = {str(channel): int(offsets[channel]) for channel in np.flatnonzero(offsets)}
        if self.absent.any():
            chunk["absent"] = _runs(self.absent)
        return chunk


def _runs(absent: NDArray[np.bool_]) -> list[list[int]]:
    """Return ``[row, first, stop]`` of each run of True."""
    edges = np.diff(np.pad(absent, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, first = np.nonzero(edges == 1)
    stop = np.nonzero(edges == -1)[1]
    return np.stack([rows, first, stop], axis=1).tolist()


def chunks_of(traces: Traces) -> list[tuple[int, int]]:
    """Return first and stop sample of each chunk of a stretch; none is shorter than half of one."""
    n, size = traces.values_uv.shape[1], max(1, round(CHUNK_S * traces.sfreq))
    edges = [*range(0, max(1, n - size // 2), size), n]
    return list(itertools.pairwise(edges))


def encode_series(values: NDArray[np.floating], step: float) -> dict[str, Any]:
    """Encode one series of numbers, such as a curve, to ``step``.

    Returns
    -------
    dict
        ``step`` and the chunk.
    """
    return {"step": step, "chunk": Samples(values[None]).encode(Resolution(step))}


def fitting_pieces(
    pieces: Sequence[Traces], budget_bytes: int
) -> tuple[Resolution, list[dict[str, Any]], Sequence[Traces]]:
    """Encode stretches as finely as a budget allows.

    Parameters
    ----------
    pieces : sequence of Traces
        Most important first: where even the coarsest step does not fit, the last are left out.
    budget_bytes : int
        For their JSON.

    Returns
    -------
    resolution : Resolution
        The finest that fits.
    encoded : list of dict
        ``{"start_s", "chunks"}`` of each stretch.
    kept : sequence of Traces
        The stretches that were encoded: all, or the first of them.

    Raises
    ------
    ValueError
        Not even the first stretch fits.
    """
    chunks = [[traces.values_uv[:, a:b] for a, b in chunks_of(traces)] for traces in pieces]
    every = [chunk for stretch in chunks for chunk in stretch]
    looked_at = every[:: max(1, len(every) // LOOKED_AT)]
    some, share = [Samples(chunk) for chunk in looked_at], sum(c.size for c in looked_at) / sum(c.size for c in every)
    encoded: list[dict[str, Any]] = []
    for resolution in RESOLUTIONS:
        estimate = sum(samples.estimated_bytes(resolution) for samples in some) / share
        if resolution is not RESOLUTIONS[-1] and estimate > 1.05 * budget_bytes:
            continue
        encoded = [
            {
                "start_s": round(traces.start_s, 6),
                "chunks": [Samples(chunk).encode(resolution) for chunk in stretch],
            }
            for traces, stretch in zip(pieces, chunks, strict=True)
        ]
        if sum(map(json_bytes, encoded)) <= budget_bytes:
            return resolution, encoded, pieces
    ends = np.cumsum([json_bytes(piece) for piece in encoded])
    kept = int((ends <= budget_bytes).sum())
    if not kept:
        raise ValueError(
            f"the first stretch of {pieces[0].stop_s - pieces[0].start_s:.0f} s takes {ends[0]} bytes and the page has "
            f"{budget_bytes} left for signals; give shorter stretches or a larger budget_bytes"
        )
    return RESOLUTIONS[-1], encoded[:kept], pieces[:kept]


def json_bytes(value: Any) -> int:
    """Return how many bytes a value takes as JSON."""
    return len(json.dumps(value, separators=(",", ":")))


def samples_message(traces: Traces, step_uv: float = 0.1) -> bytes:
    """Write a stretch as the binary message that ``fetchSource`` of the page reads.

    Parameters
    ----------
    traces : Traces
        What to send.
    step_uv : float
        Amplitudes are kept to half of it; it is doubled where the range of int16 wants it.

    Returns
    -------
    bytes
        The length of a JSON header (four bytes, little-endian), the header (``start_s``,
        ``sfreq``, ``n``, ``step_uv``), padded with spaces to a multiple of four, and int16 samples
        channel by channel, -32768 where there is no signal.

    See Also
    --------
    viewer_about : What the page must know beside the samples.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.viewer import Traces, samples_message
    >>> message = samples_message(Traces([[0.0, 0.5, np.nan]], 128.0, 60.0, ["Cz"]))
    >>> message[4:-6]
    b'{"start_s":60.0,"sfreq":128.0,"n":3,"step_uv":0.1}  '
    >>> np.frombuffer(message[-6:], "<i2").tolist()
    [0, 5, -32768]
    """
    values = traces.values_uv.astype(np.float64)
    unknown = np.isnan(values)
    largest = float(np.abs(values[~unknown]).max()) if not unknown.all() else 0.0
    while largest > LARGEST * step_uv:
        step_uv *= 2
    steps = np.where(unknown, NO_SIGNAL, np.round(np.where(unknown, 0, values) / step_uv)).astype("<i2")
    facts = {"start_s": traces.start_s, "sfreq": traces.sfreq, "n": values.shape[1], "step_uv": step_uv}
    header = json.dumps(facts, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 4)
    return len(header).to_bytes(4, "little") + header + steps.tobytes()
