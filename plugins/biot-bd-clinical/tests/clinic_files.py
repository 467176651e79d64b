"""Small recordings of three clinical systems, written by hand from the layouts that eeg2edf documents."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta

import numpy as np

OLE_EPOCH = datetime(1899, 12, 30)


# Nihon Kohden EEG-1100 --------------------------------------------------------------------------------------------------


def write_nihon_kohden(path, blocks, sfreq, electrodes, log=()):
    """Write ``.EEG``, ``.21E`` and ``.LOG``.

    blocks: (datetime, array (n_chans, n) of int16 steps) each; electrodes: {index in the .21E: name}; log: (datetime, text).
    """
    bodies, addresses, at = [], [], 0x1800
    for start, digital in blocks:
        n_chans, n = digital.shape
        head = bytearray(0x27)
        head[0] = 1
        head[1:17] = f"TIME{start:%H%M%S}000000".encode()
        head[0x14:0x1A] = bytes.fromhex(f"{start:%y%m%d%H%M%S}")
        struct.pack_into("<H", head, 0x1A, sfreq)
        struct.pack_into("<I", head, 0x1C, 10 * n // sfreq)
        head[0x26] = n_chans
        table = b"".join(bytes([index]) + bytes(9) for index in electrodes)
        words = np.vstack([digital.astype(np.int32) + 32768, np.zeros((1, n), np.int32)]).T.astype("<u2")
        bodies.append(bytes(head) + table + words.tobytes())
        addresses.append(at)
        at += len(bodies[-1])
    file = bytearray(0x1800)
    file[0:16] = file[0x81:0x91] = b"EEG-1100C V01.00"
    file[0x91] = file[0x17FE] = 1  # the last: samples of EEG, as MNE wants it said
    struct.pack_into("<I", file, 0x92, 0x400)
    file[0x411] = len(blocks)
    for i, address in enumerate(addresses):
        struct.pack_into("<I", file, 0x412 + 20 * i, address)
    path.write_bytes(bytes(file) + b"".join(bodies))
    names = "".join(f"{index:04d}={name}\n" for index, name in electrodes.items())
    path.with_suffix(".21E").write_text(f"[ELECTRODE]\n{names}[REFERENCE]\n")
    if log:
        records = bytearray(0x400 + 0x14 + 45 * len(log))
        records[0:16] = b"EEG-1100C V01.00"
        records[0x91] = 1
        struct.pack_into("<I", records, 0x92, 0x400)
        records[0x412] = len(log)
        for i, (when, text) in enumerate(log):
            entry = text.encode().ljust(20, b"\0") + f"000000({when:%y%m%d%H%M%S})".encode() + bytes(5)
            records[0x414 + 45 * i : 0x414 + 45 * (i + 1)] = entry
        path.with_suffix(".LOG").write_bytes(records)
    return path


# Micromed ---------------------------------------------------------------------------------------------------------------


def write_micromed(path, start, digital, sfreq, labels, uv_per_step, notes=(), cuts=()):
    """Write a ``.vwr`` of unsigned 16-bit samples around 32768; notes: (sample, text); cuts: (original sample, sample)."""
    n_chans, _ = digital.shape
    span = round(uv_per_step * 65536)
    labcod = b"".join(
        bytes([1, 0]) + label.encode().ljust(6, b"\0") + b"G2".ljust(6, b"\0")
        + struct.pack("<iiiiih", 0, 65535, 32768, -span // 2, span // 2, 0) + bytes(92)
        for label in labels
    )  # fmt: skip
    order = struct.pack("<256H", *range(n_chans), *[0] * (256 - n_chans))
    note = b"".join(struct.pack("<I", at) + text.encode().ljust(40, b"\0") for at, text in notes)
    note += (struct.pack("<I", 0xFFFFFFFF) + bytes(40)) * (1000 - len(notes))
    tronca = b"".join(struct.pack("<II", *cut) for cut in cuts)
    parts = [("ORDER", order), ("LABCOD", labcod), ("NOTE", note)] + ([("TRONCA", tronca)] if cuts else [])
    head, at = bytearray(640), 640
    head[0:32] = b"MICROMED  Brain-Quick file".ljust(32)
    head[128:134] = bytes([start.day, start.month, start.year - 1900, start.hour, start.minute, start.second])
    for i, (name, body) in enumerate(parts):
        struct.pack_into("<8sII", head, 176 + 16 * i, name.encode(), at, len(body))
        at += len(body)
    struct.pack_into("<I", head, 138, at)
    struct.pack_into("<H", head, 142, n_chans)
    struct.pack_into("<HH", head, 146, sfreq, 2)
    samples = (digital.astype(np.int32) + 32768).T.astype("<u2")
    path.write_bytes(bytes(head) + b"".join(body for _, body in parts) + samples.tobytes())
    return path


# Nicolet ----------------------------------------------------------------------------------------------------------------


def _guid(text):
    a, b, c, d, e = text.strip("{}").split("-")
    return struct.pack("<IHH", int(a, 16), int(b, 16), int(c, 16)) + bytes.fromhex(d + e)


def _ole(when):
    return (when - OLE_EPOCH) / timedelta(days=1)


def _wide(text, n_bytes):
    return text.encode("utf-16-le").ljust(n_bytes, b"\0")


def write_nicolet(path, segments, digital, sfreq, labels, uv_per_step, events=()):
    """Write a ``.e``; segments: (datetime, seconds); digital as it lies in the file; events: (datetime, seconds, type, text)."""
    table = bytearray(760 + 552 * len(labels))
    struct.pack_into("<I", table, 752, len(labels))
    for i, label in enumerate(labels):
        at = 760 + 552 * i
        table[at : at + 64], table[at + 0x80 : at + 0xC0] = _wide(label, 64), _wide(label, 64)
        table[at + 0xC0 : at + 0x100] = _wide("REF", 64)
        struct.pack_into("<dddd", table, at + 0x100, 0.5, 70.0, sfreq, uv_per_step)
    stream = b"".join(
        struct.pack("<d", _ole(start)) + bytes(8) + struct.pack("<d", length) + bytes(128) for start, length in segments
    )
    packets = b""
    for when, length, kind, text in events:
        packet = bytearray(0x108 + 2 * len(text) + 2)
        packet += bytes(max(0, 272 - len(packet)))
        packet[0:16] = _guid("{B799F680-72A4-11D3-93D3-00500400C148}")
        struct.pack_into("<Q", packet, 0x10, len(packet))
        struct.pack_into("<d", packet, 0x20, _ole(when))
        struct.pack_into("<d", packet, 0x30, length)
        packet[0x88:0x98] = _guid(kind)
        packet[0x108 : 0x108 + 2 * len(text)] = text.encode("utf-16-le")
        packets += bytes(packet)
    sections = [
        ("{A271CCCB-515D-4590-B6A1-DC170C8D6EE2}", bytes(table)),
        ("SegmentStream", stream),
        ("Events", packets),
    ]
    sections += [(str(i), row.astype("<i2").tobytes()) for i, row in enumerate(digital)]
    sections = [(name, body) for name, body in sections if body]
    tags = b"".join(_wide(name, 80) + struct.pack("<I", i) for i, (name, _) in enumerate(sections))
    index_at = 0xB0 + len(tags)
    at = index_at + 8 + 24 * len(sections)
    index = struct.pack("<Q", len(sections))
    for i, (_, body) in enumerate(sections):
        index += struct.pack("<QQII", i, at, len(body), len(body))
        at += len(body)
    head = bytearray(0xB0)
    head[0:16] = bytes.fromhex("0fc37b1ccf2d6d4b8aea1f64ced2b917")
    struct.pack_into("<I", head, 0x18, index_at)
    struct.pack_into("<I", head, 0xAC, len(sections))
    path.write_bytes(bytes(head) + tags + index + b"".join(body for _, body in sections))
    return path
