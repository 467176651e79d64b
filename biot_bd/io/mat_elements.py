"""Whether a MATLAB file of version 5 to 7 is one, element by element.

A damaged file can end the whole process within SciPy, with all other recordings of a folder; so it
is looked at first.

References
----------
https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from math import prod
from pathlib import Path
from typing import BinaryIO, cast

HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
_LEAVES = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18))
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE = range(1, 6)
_FUNCTION, _OPAQUE = 16, 17
_NUMBERS = range(6, 16)
_COMPLEX = 0x800
_HOLD_OTHERS = (_CELL, _STRUCT, _OBJECT, _FUNCTION, _OPAQUE)
_INT32 = (5, 6)
MOST_AXES = 32
DEEPEST = 50
CHUNK_BYTES = 2**16


def check_mat(path: str | os.PathLike[str]) -> None:
    """Raise where a MATLAB file has elements that its format does not know.

    Parameters
    ----------
    path : path-like
        A file; those of other versions (4, 7.3) are passed over, as their readers look themselves.

    Raises
    ------
    ValueError
        An element is of no type of the format, or reaches beyond what holds it; says at which byte.
    """
    with Path(path).open("rb") as file:
        head = file.read(HEADER_BYTES)
        order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
        if order is None or 0 in head[:4] or head[125 if order == "<" else 124] != 1:
            return
        size = os.fstat(file.fileno()).st_size
        while file.tell() < size:
            begin = file.tell()
            try:
                kind, n_bytes, _ = _tag(file, order)
                if kind == _COMPRESSED:
                    _matrix(cast(BinaryIO, io.BufferedReader(_Inflated(file, n_bytes))), order)
                elif kind == _MATRIX:
                    file.seek(begin)
                    _matrix(file, order)
                file.seek(begin + 8 + n_bytes)
            except (ValueError, zlib.error) as error:
                raise ValueError(f"damaged MATLAB file, variable at byte {begin}: {error}") from error


class _Inflated(io.RawIOBase):
    """What a compressed element holds; it is read once, and never all in memory."""

    def __init__(self, file: BinaryIO, n_bytes: int) -> None:
        self._file, self._left, self._inflate = file, n_bytes, zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._inflate.eof:
            compressed = self._inflate.unconsumed_tail
            if not compressed:
                compressed = self._file.read(min(self._left, CHUNK_BYTES))
                self._left -= len(compressed)
            plain = self._inflate.decompress(compressed, len(buffer))
            if plain or not compressed:
                buffer[: len(plain)] = plain
                return len(plain)
        return 0


def _tag(file: BinaryIO, order: str) -> tuple[int, int, bytes | None]:
    """Return type and size of the next element, and its data where the tag holds them itself."""
    tag = _read(file, 8)
    kind, n_bytes = struct.unpack(f"{order}II", tag)
    if kind >> 16:
        kind, n_bytes = kind & 0xFFFF, kind >> 16
        if n_bytes > 4:
            raise ValueError(f"a small element of {n_bytes} bytes; at most 4")
        return kind, n_bytes, tag[4 : 4 + n_bytes]
    return kind, n_bytes, None


def _read(file: BinaryIO, n_bytes: int) -> bytes:
    data = file.read(n_bytes)
    if len(data) < n_bytes:
        raise ValueError("it ends within an element")
    return data


def read_element(file: BinaryIO, order: str, keep: int = 0) -> tuple[bytes, int]:
    """Go past an element that holds no others.

    Parameters
    ----------
    file : binary file
        At the element's first byte.
    order : {"<", ">"}
        Order of bytes.
    keep : int
        How many bytes its data may have to be returned; 0 returns none of an element with a tag of
        its own.

    Returns
    -------
    data : bytes
        Its data, if asked for.
    n_bytes : int
        What it takes in the file, padding and all.

    Raises
    ------
    ValueError
        It is of no type of numbers or letters, longer than ``keep``, or the file ends within.
    """
    kind, n_bytes, data = _tag(file, order)
    if kind not in _LEAVES:
        raise ValueError(f"an element of type {kind}, which is none of numbers or letters")
    if data is not None:
        return data, 8
    padded = n_bytes + -n_bytes % 8
    if keep:
        if n_bytes > keep:
            raise ValueError(f"{n_bytes} bytes where at most {keep} are expected")
        return _read(file, padded)[:n_bytes], 8 + padded
    _skip(file, padded)
    return b"", 8 + padded


def _skip(file: BinaryIO, n_bytes: int) -> None:
    if file.seekable():
        file.seek(n_bytes, io.SEEK_CUR)
        return
    for begin in range(0, n_bytes, CHUNK_BYTES):
        _read(file, min(CHUNK_BYTES, n_bytes - begin))


def _int32s(file: BinaryIO, order: str, what: str) -> tuple[tuple[int, ...], int]:
    """Return the numbers of an element, and what it takes; SciPy trusts that they are there."""
    kind, n_bytes, data = _tag(file, order)
    if kind not in _INT32 or n_bytes % 4 or not 0 < n_bytes <= 4 * MOST_AXES:
        raise ValueError(f"{what} in an element of type {kind} and {n_bytes} bytes")
    used = 8 if data is not None else 8 + n_bytes + -n_bytes % 8
    numbers = struct.unpack(f"{order}{n_bytes // 4}i", (_read(file, used - 8) if data is None else data)[:n_bytes])
    if min(numbers) < 0:
        raise ValueError(f"{what} of {min(numbers)}")
    return numbers, used


def _n_fields(file: BinaryIO, order: str) -> tuple[int, int]:
    """Return how many fields a structure has, and what their names take."""
    lengths, used = _int32s(file, order, "a length of names")
    kind, n_bytes, data = _tag(file, order)
    if kind not in _LEAVES or not lengths[0] or n_bytes % lengths[0]:
        raise ValueError(f"names of fields, {lengths[0]} bytes each, in {n_bytes} bytes of type {kind}")
    if data is not None:
        return n_bytes // lengths[0], used + 8
    padded = n_bytes + -n_bytes % 8
    _skip(file, padded)
    return n_bytes // lengths[0], used + 8 + padded


def _matrix(file: BinaryIO, order: str, depth: int = 0) -> int:
    """Check a matrix and all within; return how many bytes it takes."""
    kind, n_bytes, small = _tag(file, order)
    if kind != _MATRIX or small is not None:
        raise ValueError(f"an element of type {kind} where a matrix is expected")
    if depth > DEEPEST:
        raise ValueError(f"matrices within matrices, more than {DEEPEST} deep")
    if n_bytes == 0:
        return 8
    flags, used = read_element(file, order, keep=8)
    if len(flags) < 8:
        raise ValueError("a matrix without its kind")
    bits = struct.unpack(f"{order}I", flags[:4])[0]
    mat_class = bits & 0xFF
    if mat_class not in (*_HOLD_OTHERS, _CHAR, _SPARSE, *_NUMBERS):
        raise ValueError(f"a matrix of class {mat_class}")
    sizes: tuple[int, ...] = ()
    if mat_class == _OPAQUE:
        size_bytes = read_element(file, order)[1]
    else:
        sizes, size_bytes = _int32s(file, order, "the sizes of a matrix")
        if len(sizes) < 2:
            raise ValueError(f"a matrix of {len(sizes)} sizes")
    used += size_bytes + read_element(file, order)[1]
    if mat_class in _HOLD_OTHERS:
        if mat_class in (_OBJECT, _OPAQUE):
            used += read_element(file, order)[1]
        n_fields = 1
        if mat_class in (_STRUCT, _OBJECT):
            n_fields, name_bytes = _n_fields(file, order)
            used += name_bytes
        n_found = 0
        while used < n_bytes:
            used, n_found = used + _matrix(file, order, depth + 1), n_found + 1
        if mat_class in (_CELL, _STRUCT, _OBJECT) and n_found != n_fields * prod(sizes):
            raise ValueError(f"a matrix of {n_fields * prod(sizes)} others holds {n_found}")
    else:
        for _ in range((3 if mat_class == _SPARSE else 1) + bool(bits & _COMPLEX)):
            used += read_element(file, order)[1]
    if used != n_bytes:
        raise ValueError(f"a matrix of {n_bytes} bytes holds {used}")
    return 8 + n_bytes
