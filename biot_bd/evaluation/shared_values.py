"""What all tasks of a call share: pickled once, read once a process, its large arrays mapped."""

from __future__ import annotations

import io
import pickle
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from biot_bd.bounded_files import read_npy
from biot_bd.runs import atomic_path

LARGE_BYTES = 1_000_000
"""Arrays of more bytes reach processes of this machine as memory maps, as joblib has it."""
VALUES = "values.pkl"


class SharedValues:
    """Values that many tasks need; a process that gets them again has them already.

    Parameters
    ----------
    values : mapping
        Anything that can be pickled.

    Notes
    -----
    Pickled by loky, large arrays go through joblib's memory maps.  A process keeps what the last
    call shared.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values, self._token = values, uuid.uuid4().hex
        self._packed: tuple[bytes, list[np.ndarray]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _read_once, (self._token, *self._pack())

    def save(self, folder: Path) -> Path:
        """Write them into a folder below ``folder``, for jobs of this call; return it."""
        packed, arrays = self._pack()
        with atomic_path(folder / f"shared-{self._token}") as temporary:
            temporary.mkdir()
            (temporary / VALUES).write_bytes(packed)
            for place, array in enumerate(arrays):
                np.save(temporary / f"{place}.npy", array, allow_pickle=False)
        return folder / f"shared-{self._token}"

    @classmethod
    def load(cls, folder: Path) -> SharedValues:
        """Read what :meth:`save` of the call that submitted this job wrote; arrays are mapped."""
        places = range(len(list(folder.glob("*.npy"))))
        arrays = [read_npy(folder / f"{place}.npy") for place in places]
        return cls(_unpack((folder / VALUES).read_bytes(), arrays))

    def _pack(self) -> tuple[bytes, list[np.ndarray]]:
        if self._packed is None:
            self._packed = _pack(self.values)
        return self._packed


_kept: dict[str, SharedValues] = {}


def _read_once(token: str, packed: bytes, arrays: Sequence[np.ndarray]) -> SharedValues:
    found = _kept.get(token)
    if found is None:
        found = SharedValues(_unpack(packed, arrays))
        _kept.clear()
        _kept[token] = found
    return found


def _pack(values: Any) -> tuple[bytes, list[np.ndarray]]:
    """Pickle all but large arrays."""
    arrays: list[np.ndarray] = []
    places: dict[int, int] = {}

    class Pickler(cloudpickle.Pickler):
        def persistent_id(self, value: Any) -> int | None:
            if not isinstance(value, np.ndarray) or value.dtype.hasobject or value.nbytes < LARGE_BYTES:
                return None
            if id(value) not in places:
                places[id(value)] = len(arrays)
                arrays.append(value)
            return places[id(value)]

    file = io.BytesIO()
    Pickler(file).dump(values)
    return file.getvalue(), arrays


def _unpack(packed: bytes, arrays: Sequence[np.ndarray]) -> Any:
    class Unpickler(pickle.Unpickler):
        def persistent_load(self, place: int) -> np.ndarray:
            return arrays[place]

    return Unpickler(io.BytesIO(packed)).load()
