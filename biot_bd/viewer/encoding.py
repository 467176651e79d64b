"""Samples as text for a page: int16 steps, differences, zlib and base64, minute by minute.

A chunk is what :func:`encode_chunk` returns, as JSON holds it::

    n       samples a channel
    data    base64 of zlib of: one byte a channel (the order of its differences), then the low
            bytes of all channels, then their high bytes; a value is the zigzag of an int16
    shift   only where one is above 0: channel -> its step is the viewer's times 2**shift
    offset  only where one is not 0: channel -> microvolts that were taken off
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


@dataclass(frozen=True)
class Resolution:
    """How finely amplitudes are kept.

    Parameters
    ----------
    step_uv : float
        The smallest step.
    share : float
        Where this share of a channel's robust amplitude in a chunk is more, the step is doubled
        until it would pass it; 0 for never.
    """

    step_uv: float
    share: float = 0.0

    @property
    def text(self) -> str:
        """For the page."""
        loud = f" (loud channels: to 1/{1 / self.share:.0f} of their amplitude)" if self.share else ""
        return f"amplitudes to {self.step_uv:g} µV{loud}"


RESOLUTIONS = (
    *(Resolution(step_uv) for step_uv in (0.1, 0.2, 0.5, 1.0, 2.0)),
    *(Resolution(2.0, share) for share in (1 / 16, 1 / 12, 1 / 8)),
)


def encode_chunk(values: NDArray[np.floating], resolution: Resolution) -> dict[str, Any]:
    """Encode some samples of all channels.

    Parameters
    ----------
    values : ndarray, shape (n_chans, n_samples)
        NaN where there is no signal.
    resolution : Resolution
        How finely.

    Returns
    -------
    dict
        The chunk, as the module's text says.
    """
    values = np.asarray(values, np.float64)
    absent = np.isnan(values)
    offsets, shifts, rows, orders = [], [], [], []
    for row, unknown in zip(values, absent, strict=True):
        known = row[~unknown]
        median = float(np.median(known)) if known.size else 0.0
        offset = round(median) if abs(median) > FAR_OFFSET_UV else 0
        away = np.abs(known - offset)
        shift = 0
        if known.size:
            allowed = max(resolution.step_uv, resolution.share * 1.4826 * float(np.median(np.abs(known - median))))
            shift = int(np.log2(allowed / resolution.step_uv))
            while away.max() > LARGEST * resolution.step_uv * 2.0**shift:
                shift += 1
        steps = np.zeros(row.size, np.int16)
        steps[~unknown] = np.round((known - offset) / (resolution.step_uv * 2.0**shift))
        if unknown.any() and known.size:  # what is unknown repeats what was before it: cheapest to write
            last = np.maximum.accumulate(np.where(unknown, -1, np.arange(row.size)))
            steps = np.where(last >= 0, steps[last], np.int16(0))
        order, differences = _cheapest(steps)
        offsets.append(offset)
        shifts.append(shift)
        orders.append(order)
        rows.append(differences)
    signed = np.array(rows, np.int16).astype(np.int32)
    zigzag = ((signed << 1) ^ (signed >> 31)).astype(np.uint16)
    body = bytes(orders) + (zigzag & 255).astype(np.uint8).tobytes() + (zigzag >> 8).astype(np.uint8).tobytes()
    # Low bytes are noise to a search for repeats: runs and Huffman codes are as small.
    packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    chunk: dict[str, Any] = {
        "n": values.shape[1],
        "data": base64.b64encode(packer.compress(body) + packer.flush()).decode("ascii"),
    }
    if any(shifts):
        chunk["shift"] = {str(channel): shift for channel, shift in enumerate(shifts) if shift}
    if any(offsets):
        chunk["offset"] = {str(channel): offset for channel, offset in enumerate(offsets) if offset}
    if absent.any():
        chunk["absent"] = _runs(absent)
    return chunk


def _cheapest(steps: NDArray[np.int16]) -> tuple[int, NDArray[np.int16]]:
    """Return the order of differences that leaves least, and the differences."""
    tried = [steps]
    for _ in range(MOST_ORDER):
        tried.append(np.diff(tried[-1], prepend=np.int16(0)))
    order = min(range(MOST_ORDER + 1), key=lambda k: int(np.abs(tried[k].astype(np.int32)).sum()))
    return order, tried[order]


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


def encode_pieces(pieces: Sequence[Traces], resolution: Resolution) -> list[dict[str, Any]]:
    """Encode stretches: ``{"start_s", "chunks"}`` of each."""
    return [
        {
            "start_s": round(traces.start_s, 6),
            "chunks": [encode_chunk(traces.values_uv[:, a:b], resolution) for a, b in chunks_of(traces)],
        }
        for traces in pieces
    ]


def encode_series(values: NDArray[np.floating], step: float) -> dict[str, Any]:
    """Encode one series of numbers, such as a curve, to ``step``.

    Returns
    -------
    dict
        ``step`` and the chunk.
    """
    return {"step": step, "chunk": encode_chunk(np.asarray(values)[None], Resolution(step))}


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
        The stretches, see :func:`encode_pieces`.
    kept : sequence of Traces
        The stretches that were encoded: all, or the first of them.

    Raises
    ------
    ValueError
        Not even the first stretch fits.
    """
    for resolution in RESOLUTIONS:
        if resolution is not RESOLUTIONS[-1] and _estimated_bytes(pieces, resolution) > 1.05 * budget_bytes:
            continue
        encoded = encode_pieces(pieces, resolution)
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


def _estimated_bytes(pieces: Sequence[Traces], resolution: Resolution) -> float:
    """Estimate the size of all chunks from some, spread evenly."""
    chunks = [(traces, a, b) for traces in pieces for a, b in chunks_of(traces)]
    looked_at = chunks[:: max(1, len(chunks) // 8)]
    size = sum(json_bytes(encode_chunk(traces.values_uv[:, a:b], resolution)) for traces, a, b in looked_at)
    return size * sum(b - a for _, a, b in chunks) / sum(b - a for _, a, b in looked_at)


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
