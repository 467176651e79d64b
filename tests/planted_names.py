"""Recordings that name people, places and dates wherever a format lets them, and a search for what of it comes out."""

from __future__ import annotations

import base64
import datetime
import gzip
import html
import io
import re
import struct
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import edfio
import numpy as np
import pyarrow.parquet
from deploy_files import BIPOLAR

WARD, FIRST, SECOND, VISITOR, STAFF = "brackenbury", "quillfeather", "thistlewood", "oppenshaw", "zimmerwald"
WORDS = (WARD, FIRST, SECOND, VISITOR, STAFF, "mch-77812")
SUBJECTS = (FIRST, SECOND, "applegarth", "featherstone")
STARTED = datetime.datetime(2019, 11, 23, 21, 43, 17)
BORN = datetime.date(1951, 8, 19)


def plant(root: Path, seconds: int = 60, subjects: tuple[str, ...] = SUBJECTS) -> Path:
    """Write two recordings of each subject; return the folder, whose name tells the ward."""
    folder = root / f"Ward {WARD.title()}"
    for number, subject in enumerate(subjects):
        for run in range(2):
            _write(
                folder / subject.title() / f"{subject.title()}_{STARTED:%Y-%m-%d}_{run}.edf", 10 * number + run, seconds
            )
    rows = "".join(f"sub-{name}\t{BORN}\t{STAFF}\n" for name in subjects)
    (folder / "participants.tsv").write_text(f"participant_id\tbirthday\tphysician\n{rows}")
    (folder / "README").write_text(f"Recorded by {STAFF}, {WARD}\n")
    return folder


def _write(path: Path, seed: int, seconds: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng, level = np.random.default_rng(seed), np.full(seconds * 256, 30.0)
    level[5 * 256 : 20 * 256] = 300
    signals = [
        edfio.EdfSignal(
            np.clip(rng.normal(0, 1, len(level)) * level, -799, 799),
            256,
            label=name,
            physical_dimension="uV",
            physical_range=(-800, 800),
            digital_range=(-16384, 16384),
            transducer_type=f"cap of {STAFF}",
            prefiltering=f"by {STAFF}",
        )
        for name in (*BIPOLAR, f"X {VISITOR}"[:16])
    ]
    edfio.Edf(
        signals,
        patient=edfio.Patient(code="MCH-77812", sex="F", birthdate=BORN, name=path.parent.name),
        recording=edfio.Recording(
            startdate=STARTED.date(),
            hospital_administration_code=WARD,
            investigator_technician_code=STAFF,
            equipment_code=f"amplifier_{WARD}",
        ),
        starttime=STARTED.time(),
        annotations=[
            edfio.EdfAnnotation(30, 1, f"Patient asked for Mr {VISITOR.title()}"),
            edfio.EdfAnnotation(5, 15, "sz_foc_ia"),
        ],
    ).write(path)
    path.with_suffix(".tsv").write_text(
        "onset\tduration\teventType\tconfidence\tchannels\tdateTime\trecordingDuration\n"
        f"5\t15\tsz_foc_ia\tn/a\tn/a\t{STARTED:%Y-%m-%d %H:%M:%S}\t{seconds}\n"
    )


def spellings(day: datetime.date) -> list[str]:
    """Return a date as people and programs write it."""
    forms = [
        "%Y-%m-%d",
        "%d.%m.%Y",
        "%d.%m.%y",
        "%d-%b-%Y",
        "%Y%m%d",
        "%Y/%m/%d",
        "%m/%d/%Y",
        "%d/%m/%Y",
        "%B %d, %Y",
        "%d %B %Y",
        "%d %b %Y",
    ]
    return [day.strftime(form).lower() for form in forms]


def pattern(days: list[datetime.date]) -> re.Pattern[str]:
    """Return what must not come out: names, numbers of patients, dates, the time of day, in any spelling."""
    second = int(STARTED.replace(tzinfo=datetime.UTC).timestamp())
    texts = [*WORDS, *SUBJECTS, *(text for day in [STARTED.date(), BORN, *days] for text in spellings(day))]
    texts += ["21:43:17", "21.43.17", "21-43-17", "214317", str(second), str(second * 1000)]
    words = [re.escape(text) for text in texts if not text[0].isdigit()]
    numbers = [re.escape(text) for text in texts if text[0].isdigit()]
    return re.compile(rf"{'|'.join(words)}|(?<![\d.])(?:{'|'.join(numbers)})(?!\d)")


def found_in(folder: Path, days: list[datetime.date]) -> list[str]:
    """Return what was found in names of files and folders, and in every byte, unpacked and decoded, of every file."""
    wanted, found = pattern(days), []
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
        name = path.relative_to(folder.parent).as_posix()
        found += [f"{name}: its name, {text}" for text in set(wanted.findall(name.lower()))]
        for where, data in layers(path.read_bytes(), path.name) if path.is_file() else ():
            found += [f"{name}: {where}, {text}" for text in sorted(_held(data, wanted))]
    return found


def found_in_text(text: str, days: list[datetime.date]) -> list[str]:
    """Return what was found in a text."""
    return sorted(set(pattern(days).findall(text.lower())))


def _held(data: bytes, wanted: re.Pattern[str]) -> set[str]:
    codings = ("utf-8", "utf-16-le", "utf-16-be") if b"\0" in data else ("utf-8",)
    return {text for coding in codings for text in wanted.findall(data.decode(coding, "replace").lower())}


def layers(data: bytes, name: str, depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield the bytes of a file, and what is packed or coded in it."""
    yield name, data
    if depth > 3:
        return
    inner: list[tuple[str, bytes]] = []
    if data[:2] == b"\x1f\x8b":
        inner.append((f"{name}, gunzipped", gzip.decompress(data)))
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as parts:
            for part in parts.infolist():
                about = f"{part.filename} {part.comment!r} {datetime.date(*part.date_time[:3])}".encode()
                inner += [(f"{name}/{part.filename}", parts.read(part)), (f"{name}, its list", about)]
    elif data[:4] == b"PAR1":
        table = pyarrow.parquet.read_table(io.BytesIO(data))
        inner.append((f"{name}, as a table", table.to_pandas().to_csv().encode()))
        inner.append((f"{name}, its schema", repr(table.schema).encode()))
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        inner += [(f"{name}, chunk {kind}", body) for kind, body in _png_texts(data)]
    elif b"\0" not in data[:4096]:  # a text
        text = data.decode("utf-8", "ignore")
        for coded in re.findall(r"[A-Za-z0-9+/]{40,}={0,2}", text):
            plain = base64.b64decode(coded[: len(coded) // 4 * 4])
            inner.append((f"{name}, base64", plain))
            inner += [(f"{name}, base64, inflated", big) for big in _inflated(plain)]
        inner += [
            (f"{name}, unescaped", html.unescape(text).encode()),
            (f"{name}, unquoted", urllib.parse.unquote(text).encode()),
        ]
        if "\\u" in text:
            inner.append(
                (
                    f"{name}, \\u",
                    re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text).encode("utf-8", "ignore"),
                )
            )
    for where, part in inner:
        if part != data and (
            where.endswith(("unescaped", "unquoted", "\\u", "schema", "table"))
            or part[:4] not in (b"PK\x03\x04", b"\x89PNG")
        ):
            yield where, part
        elif part != data:
            yield from layers(part, where, depth + 1)


def _inflated(data: bytes) -> Iterator[bytes]:
    for window in (15, -15, 31):
        try:
            yield zlib.decompress(data, window)
        except zlib.error:
            continue


def _png_texts(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 8
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        if kind not in (b"IDAT", b"IHDR", b"IEND"):
            yield kind.decode("latin-1"), body
            if kind in (b"zTXt", b"iTXt"):
                yield from (
                    (kind.decode(), plain)
                    for tail in [body.partition(b"\0")[2].lstrip(b"\0\1")]
                    for plain in _inflated(tail)
                )
        at += 12 + size


__all__ = ["SUBJECTS", "WORDS", "found_in", "found_in_text", "plant"]
