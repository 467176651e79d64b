"""Tensors of a safetensors file as arrays: the runtime without torch has no library for it.

The format, https://huggingface.co/docs/safetensors: eight bytes with the length of a JSON header,
the header with type, shape and place of each tensor, their bytes.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.json_values import naming

LARGEST_HEADER = 100_000_000
"""Bytes; the limit of the library."""
_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # widened below
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


class TensorFile:
    """The tensors of a file, read one by one.

    Parameters
    ----------
    path : path
        A ``.safetensors`` file.

    Raises
    ------
    ValueError
        It is damaged.
    OSError
        It cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with naming(self.path), open(self.path, "rb") as file:
            size_bytes = self.path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            if size_bytes < 8 or length > min(LARGEST_HEADER, size_bytes - 8):
                raise ValueError(f"a header of {length} bytes in a file of {size_bytes}")
            header = json.loads(file.read(length))
            if not isinstance(header, dict):
                raise ValueError("its header is no object")
            header.pop("__metadata__", None)
            self._start, self._size = 8 + length, size_bytes - 8 - length
            self._header: dict[str, Any] = header
            for name in header:
                self._place(name)

    @property
    def names(self) -> list[str]:
        """Names of the tensors, sorted."""
        return sorted(self._header)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return tuple(self._header[name]["shape"])

    def read(self, name: str) -> NDArray[Any]:
        """Return a tensor; bfloat16 as float32, which holds it exactly."""
        start, n_values = self._place(name)
        kind = self._header[name]["dtype"]
        found = np.fromfile(self.path, _TYPES[kind], n_values, offset=start).reshape(self.shape(name))
        return (found.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else found

    def _place(self, name: str) -> tuple[int, int]:
        """Return the first byte of a tensor, and how many values it has."""
        one: Mapping[str, Any] = self._header[name]
        if one["dtype"] not in _TYPES:
            raise ValueError(f"{name}: of type {one['dtype']!r}, which is not known here")
        begin, end = one["data_offsets"]
        if not all(type(number) is int and number >= 0 for number in (begin, end, *one["shape"])):
            raise ValueError(f"{name}: sizes that are no whole numbers")
        n_values = math.prod(one["shape"])
        if end - begin != n_values * np.dtype(_TYPES[one["dtype"]]).itemsize or end > self._size:
            raise ValueError(f"{name}: {end - begin} bytes at {begin} do not hold {n_values} values of {one['dtype']}")
        return self._start + begin, n_values
