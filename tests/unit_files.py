"""EDF, BDF and GDF files whose headers say what a test wants, and what such a header means."""

import numpy as np

MICRO = {
    "u": b"u", "micro sign": b"\xb5", "micro sign, utf-8": b"\xc2\xb5", "mu, utf-8": b"\xce\xbc", "mu, shift-jis": b"\x83\xca",
    "mu, gbk": b"\xa6\xcc", "micro sign, cp437": b"\xe6",
}  # fmt: skip
# Prefix -> microvolts a unit.
PREFIXES = {**dict.fromkeys(MICRO.values(), 1.0), b"m": 1e3, b"n": 1e-3, b"": 1e6}


def padded(value, width):
    data = value if isinstance(value, bytes) else str(value).encode("latin-1")
    if len(data) > width:
        raise ValueError(f"{value!r} does not fit {width} bytes")
    return data.ljust(width)


def of_each(value, n):
    return list(value) if isinstance(value, (list, tuple)) else [value] * n


def write_digital(
    path, labels, digital, sfreq, *, unit="uV", low=-3276.8, high=3276.7, digital_low=-32768, digital_high=32767
):
    """Write digital values ``(n_chans, n)`` in records of a second; fields are one for all or a list; BDF by the ending."""
    n, width = len(labels), 3 if path.suffix == ".bdf" else 2
    fields = [
        (labels, 16), ("", 80), (unit, 8), (low, 8), (high, 8), (digital_low, 8), (digital_high, 8), ("", 80), (sfreq, 8), ("", 32)
    ]  # fmt: skip
    n_records = digital.shape[1] // sfreq
    head = b"\xffBIOSEMI" if width == 3 else padded("0", 8)
    head += padded("X X X X", 80) + padded("Startdate 02-MAR-2020 X X X", 80) + b"02.03.2010.11.12"
    head += (
        padded(256 * (n + 1), 8)
        + padded("24BIT" if width == 3 else "", 44)
        + padded(n_records, 8)
        + padded(1, 8)
        + padded(n, 4)
    )
    head += b"".join(padded(value, size) for values, size in fields for value in of_each(values, n))
    records = digital.reshape(n, n_records, sfreq).swapaxes(0, 1).astype("<i4")[..., None].view(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + records[..., :width].tobytes())
    return path


def meant_uv(digital, uv, low, high, digital_low, digital_high):
    """What digital values mean in microvolts, by the standard's own formula."""
    share = (digital.astype(np.float64) - digital_low) / (float(digital_high) - float(digital_low))
    return (float(low) + share * (float(high) - float(low))) * uv


def write_units(path, labels, x_uv, sfreq, units, top_uv=3276.8):
    """Write microvolts, each channel in the unit that ``units`` gives as (spelling, microvolts a unit)."""
    digital = np.rint(x_uv / top_uv * 32767).astype(np.int32)
    tops = [f"{top_uv / uv:.8g}"[:8] for _, uv in units]
    return write_digital(
        path, labels, digital, sfreq, unit=[text for text, _ in units], low=[f"-{top}"[:8] for top in tops],
        high=[top[:7] for top in tops], digital_low=-32767, digital_high=32767
    )  # fmt: skip


def write_gdf(path, labels, digital, sfreq, codes, low, high, digital_low=-32768, digital_high=32767):
    """Write int16 values as GDF 2.20, the physical unit of each channel as a code (4275 is uV, 4274 mV, 4256 V, 512 none)."""
    n, n_records = len(labels), digital.shape[1] // sfreq
    fixed = padded("GDF 2.20", 8) + padded("X X", 66) + bytes(10) + bytes(4) + padded("X", 64) + bytes(16)
    start = np.uint64((737852 + 0.4244) * 2**32).tobytes()
    fixed += (
        start
        + bytes(8)
        + np.uint16(n + 1).tobytes()
        + bytes(6)
        + bytes(8)
        + bytes(6)
        + bytes(6)
        + bytes(12)
        + bytes(12)
    )
    fixed += np.int64(n_records).tobytes() + np.uint32([1, 1]).tobytes() + np.uint16(n).tobytes() + bytes(2)
    if len(fixed) != 256:
        raise ValueError(f"{len(fixed)} bytes")
    head = b"".join(label.encode().ljust(16, b"\0") for label in labels) + bytes(80 * n) + bytes(6 * n)
    head += np.array(codes, "<u2").tobytes()
    for value in (low, high, digital_low, digital_high):
        head += np.array(of_each(value, n), "<f8").tobytes()
    head += bytes(68 * n) + bytes(4 * n) + bytes(4 * n) + bytes(4 * n) + np.full(n, sfreq, "<u4").tobytes()
    head += np.full(n, 3, "<u4").tobytes() + bytes(12 * n) + bytes(20 * n)
    if len(head) != 256 * n:
        raise ValueError(f"{len(head)} bytes")
    records = digital.reshape(n, n_records, sfreq).swapaxes(0, 1).astype("<i2")
    path.write_bytes(fixed + head + records.tobytes())
    return path
