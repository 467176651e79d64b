"""Dictionaries of arrays in ``.npy`` files, read as data: nothing in them is unpickled.

THINGS-EEG2 is published as ``numpy.save(path, {"raw_eeg_data": array, "ch_names": [...], ...})``.
numpy writes such an object as a pickle, a program that ``numpy.load(allow_pickle=True)`` would run.
Here its few steps that make numbers, texts, lists, dictionaries and arrays are followed, any other
one is an error, no object is ever built by a name in the file, and the numbers of a large array are
not read but mapped where they lie.

References
----------
The format of ``.npy``: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html;
the steps of a pickle: ``pickletools`` of the standard library.
"""

from __future__ import annotations

import os
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from biot_bd.exceptions import BiotBdError

MAPPED_FROM_BYTES = 1 << 16
"""Arrays of at least this many bytes are mapped."""
MOST_STEPS = 2_000_000
_DTYPE = re.compile(r"[biuf][1248]|f16|U\d{1,4}|S\d{1,4}")
_MAKES_ARRAY = re.compile(r"numpy\.(_core|core)\.multiarray:_reconstruct")
_MAKES_NUMBER = re.compile(r"numpy\.(_core|core)\.multiarray:scalar")
_CLASSES = ("numpy:ndarray", "numpy:dtype")


class ObjectFileError(BiotBdError, ValueError):
    """A file does not hold a dictionary of arrays, numbers, texts and lists.

    Examples
    --------
    >>> from biot_bd_things.object_npy import ObjectFileError
    >>> issubclass(ObjectFileError, ValueError)
    True
    """


@dataclass(frozen=True)
class _Span:
    """Bytes that stay in the file."""

    offset: int
    n_bytes: int

    def __len__(self) -> int:
        return self.n_bytes


@dataclass(frozen=True)
class _Name:
    """What a pickle would import."""

    text: str


@dataclass
class _Making:
    """An array or a dtype before its state is known."""

    kind: str
    of: Any = None
    made: Any = None


class _Skipping:
    """A file that leaves long stretches of bytes where they are; ``pickletools`` reads from it."""

    def __init__(self, file: BufferedReader) -> None:
        self.file = file
        self.size = os.fstat(file.fileno()).st_size

    def read(self, n: int) -> Any:
        if n < MAPPED_FROM_BYTES:
            return self.file.read(n)
        start = self.file.tell()
        if start + n > self.size:
            raise ObjectFileError(f"ends {start + n - self.size} bytes too early: the file is cut off")
        self.file.seek(n, os.SEEK_CUR)
        return _Span(start, n)

    def readline(self) -> bytes:
        return self.file.readline(1000)

    def tell(self) -> int:
        return self.file.tell()


def read_object_npy(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a dictionary that ``numpy.save`` wrote, without running anything.

    Parameters
    ----------
    path : path
        The ``.npy`` file: one object, a dictionary of arrays, numbers, texts and lists of them.

    Returns
    -------
    dict
        Arrays of 64 KiB and more are read-only memory maps of the file.

    Raises
    ------
    FileNotFoundError
        It is not there.
    ObjectFileError
        It is no such file, is cut off, or its pickle does anything but make arrays, numbers, texts,
        lists and dictionaries.

    See Also
    --------
    biot_bd_things.load_things_eeg2 : Recordings made of such files.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd_things import read_object_npy
    >>> np.save("raw.npy", {"raw_eeg_data": np.zeros((2, 5)), "sfreq": 1000})
    >>> read_object_npy("raw.npy")["raw_eeg_data"].shape
    (2, 5)
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            _skip_header(file)
            found = _Reader(path).run(_Skipping(file))
        except ObjectFileError as error:
            raise ObjectFileError(f"{path}: {error}") from error.__cause__
        except (ValueError, KeyError, IndexError, TypeError, OverflowError, EOFError, AttributeError) as error:
            raise ObjectFileError(
                f"{path}: is no dictionary of arrays as numpy.save writes one ({type(error).__name__}: {error})"
            ) from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ObjectFileError(f"{path}: holds a {type(found).__name__}, expected a dictionary with texts as keys")
    return found


def _skip_header(file: BufferedReader) -> None:
    """Pass the header of the one object; raise where the file holds something else."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.kind != "O" or shape != ():
        raise ObjectFileError(f"holds an array {shape} of {dtype}, expected one dictionary")


@dataclass
class _Reader:
    """The machine that a pickle's steps are written for, without imports and calls."""

    path: Path
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, file: Any) -> Any:
        for step, (opcode, given, _) in enumerate(pickletools.genops(file)):
            if step > MOST_STEPS:
                raise ObjectFileError(
                    f"takes more than {MOST_STEPS:,} steps to read; expected one dictionary of arrays"
                )
            if opcode.name == "STOP":
                break
            self._step(opcode.name, given)
        (top,) = self.stack
        # A 0-d object array holds the dictionary.
        return top.made[0] if isinstance(top, _Making) and isinstance(top.made, list) else self._plain(top)

    def _step(self, name: str, given: Any) -> None:
        if name in ("PROTO", "FRAME"):
            return
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _PUSHES:
            self.stack.append(given)
        elif name in _TUPLES:
            n = _TUPLES[name]
            self.stack[len(self.stack) - n :] = [tuple(self.stack[len(self.stack) - n :])]
        elif (act := _ACTS.get(name)) is not None:
            act(self, given)
        else:
            raise ObjectFileError(
                f"its pickle has the step {name}, which no dictionary of arrays needs; the file may be from elsewhere: "
                "do not load it by other means"
            )

    # --- steps ---

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        found = self.stack[start:]
        del self.stack[start:]
        return found

    def tuple_since_mark(self, _: Any) -> None:
        found = tuple(self.since_mark())
        self.stack.append(found)

    def get(self, number: Any) -> None:
        self.stack.append(self.memo[int(number)])

    def put(self, number: Any) -> None:
        self.memo[int(number)] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def name(self, text: Any) -> None:
        self.stack.append(_Name(":".join(text.split(" "))))

    def stack_name(self, _: Any) -> None:
        module, attribute = self.stack[-2:]
        self.stack[-2:] = [_Name(f"{module}:{attribute}")]

    def append(self, _: Any) -> None:
        value = self.stack.pop()
        self._list().append(self._plain(value))

    def appends(self, _: Any) -> None:
        values = self.since_mark()
        self._list().extend(self._plain(value) for value in values)

    def set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._dict()[key] = self._plain(value)

    def set_items(self, _: Any) -> None:
        values = self.since_mark()
        target = self._dict()
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[key] = self._plain(value)

    def reduce(self, _: Any) -> None:
        """Take a note of what would be called; nothing is."""
        given, called = self.stack.pop(), self.stack.pop()
        text = called.text if isinstance(called, _Name) else repr(type(called).__name__)
        if _MAKES_ARRAY.fullmatch(text) and given[0] == _Name("numpy:ndarray"):
            self.stack.append(_Making("array"))
        elif text == "numpy:dtype" and isinstance(given[0], str):
            self.stack.append(_Making("dtype", of=given[0]))
        elif _MAKES_NUMBER.fullmatch(text):
            self.stack.append(np.frombuffer(given[1], dtype=self._dtype(given[0]), count=1)[0].item())
        elif text == "_codecs:encode" and len(given) == 2 and given[1] == "latin1":  # bytes in protocol 2
            self.stack.append(given[0].encode("latin1"))
        else:
            raise ObjectFileError(
                f"its pickle calls {text}, which no dictionary of arrays needs; the file may be from elsewhere: "
                "do not load it by other means"
            )

    def build(self, _: Any) -> None:
        state = self.stack.pop()
        making = self.stack[-1]
        if not isinstance(making, _Making) or not isinstance(state, tuple):
            raise ObjectFileError(f"its pickle sets the state of a {type(making).__name__}; expected arrays alone")
        if making.kind == "dtype":
            order = state[1]
            making.made = making.of if making.of.startswith("O") else f"{order if order in '<>' else '|'}{making.of}"
        else:
            making.made = self._array(state)

    # --- values ---

    def _array(self, state: tuple[Any, ...]) -> Any:
        _, shape, dtype, fortran, content = state
        if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise ObjectFileError(f"has an array of the shape {shape!r}")
        if dtype.made.startswith("O"):
            if not isinstance(content, list) or len(content) != prod(shape):
                raise ObjectFileError(f"has an array of objects {shape} with other content than its shape says")
            return content
        kind, order = self._dtype(dtype), "F" if fortran else "C"
        if len(content) != prod(shape) * kind.itemsize:
            raise ObjectFileError(f"has an array {shape} of {kind} in {len(content):,} bytes")
        if isinstance(content, _Span):
            return np.memmap(self.path, kind, mode="r", offset=content.offset, shape=shape, order=order)
        return np.frombuffer(content, dtype=kind).reshape(shape, order=order)

    @staticmethod
    def _dtype(making: Any) -> np.dtype[Any]:
        text = making.made if isinstance(making, _Making) and making.kind == "dtype" else None
        if text is None or not _DTYPE.fullmatch(text[1:]):
            raise ObjectFileError(f"has an array of {text or making!r}; expected numbers or texts")
        return np.dtype(text)

    @staticmethod
    def _plain(value: Any) -> Any:
        """Return a value that a list or dictionary may hold."""
        if isinstance(value, _Making):
            return value.made
        if isinstance(value, (_Name, _Span)):
            raise ObjectFileError(
                f"its pickle keeps {getattr(value, 'text', 'bytes')} as a value; expected arrays, numbers and texts"
            )
        return value

    def _list(self) -> list[Any]:
        if not isinstance(self.stack[-1], list):
            raise ObjectFileError(f"its pickle appends to a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    def _dict(self) -> dict[Any, Any]:
        if not isinstance(self.stack[-1], dict):
            raise ObjectFileError(f"its pickle sets items of a {type(self.stack[-1]).__name__}")
        return self.stack[-1]


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_PUSHES = frozenset(
    "BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINBYTES SHORT_BINBYTES BINBYTES8".split()
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_ACTS: dict[str, Callable[[_Reader, Any], None]] = {
    "MARK": _Reader.mark,
    "TUPLE": _Reader.tuple_since_mark,
    "BINGET": _Reader.get,
    "LONG_BINGET": _Reader.get,
    "BINPUT": _Reader.put,
    "LONG_BINPUT": _Reader.put,
    "MEMOIZE": _Reader.memoize,
    "GLOBAL": _Reader.name,
    "STACK_GLOBAL": _Reader.stack_name,
    "APPEND": _Reader.append,
    "APPENDS": _Reader.appends,
    "SETITEM": _Reader.set_item,
    "SETITEMS": _Reader.set_items,
    "REDUCE": _Reader.reduce,
    "BUILD": _Reader.build,
}
