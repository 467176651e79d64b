"""Files of callbacks, apart for every fit.

A callback with a folder (``Checkpoint(dirname=...)``, ``TensorBoardLogger(log_dir)``, one of your
own) is copied with every clone of a classifier, so the folds of a cross-validation and the fits of
a search would write, and read, one and the same file.  A clone therefore writes in a folder of its
own inside each folder that its callbacks name: ``fit-0001``, ``fit-0002``, ...; a fold of
:func:`biot_bd.cross_validate` in ``fold-00``, and the fits of a search in it in
``fold-00/fit-0001``, ...  A classifier that is no clone writes where it was told to.
"""

from __future__ import annotations

import copy
import os
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sklearn.base import clone
from skorch.callbacks import Callback, LoadInitState, TrainEndCheckpoint

_PATH_NAME = re.compile(r"(^|_)(path|file|filename|fname|dir|dirname|dirpath|directory|folder)$|^f_", re.IGNORECASE)
_FOLDER_NAME = re.compile(r"(dir|dirname|dirpath|directory|folder)$", re.IGNORECASE)
_OPENING = frozenset(
    "open fdopen write_text write_bytes mkdir makedirs to_csv to_parquet to_json savetxt savez savez_compressed dump "
    "save save_params savefig save_file SummaryWriter".split()
)
"""Names that a method which writes files uses."""


class FitPlace:
    """Where the callbacks of one classifier write.

    Parameters
    ----------
    parts : sequence of str
        Folders inside each folder that a callback names.
    claims : bool
        Whether the fits of several clones share ``parts``, so that each needs a number of its own.

    See Also
    --------
    private_callbacks : Callbacks that write there.

    Examples
    --------
    >>> from biot_bd.training.private_paths import FitPlace
    >>> FitPlace(["fold-00"]).of("curves").as_posix()
    'curves/fold-00'
    >>> (
    ...     FitPlace(claims=True).of("curves").as_posix(),
    ...     FitPlace(claims=True).of("curves").as_posix(),
    ... )
    ('curves/fit-0001', 'curves/fit-0002')
    """

    def __init__(self, parts: Sequence[str] = (), claims: bool = False) -> None:
        self.parts, self.claims = tuple(parts), claims
        self._claimed: dict[str, Path] = {}

    def of(self, folder: str | os.PathLike[str]) -> Path:
        """Return, and make, the folder that stands for another one; always the same."""
        folder = Path(folder)
        if self.parts and folder.name == self.parts[-1] and not self.claims:
            return folder  # set for this very fold
        key = os.path.abspath(folder)
        if key not in self._claimed:
            inside = folder.joinpath(*self.parts)
            inside.mkdir(parents=True, exist_ok=True)
            self._claimed[key] = _claim(inside) if self.claims else inside
        return self._claimed[key]

    def for_clone(self) -> FitPlace:
        """Return the place of a clone."""
        return FitPlace(self.parts, claims=True)


def _claim(folder: Path) -> Path:
    """Make the next ``fit-NNNN``, which no other process or thread gets."""
    number = 1 + max((int(path.name[4:]) for path in folder.glob("fit-*") if path.name[4:].isdigit()), default=0)
    while True:
        claimed = folder / f"fit-{number:04d}"
        try:
            claimed.mkdir()
        except FileExistsError:
            number += 1
        else:
            return claimed


# --- callbacks ------------------------------------------------------------------------------------


def private_callbacks(callbacks: Sequence[tuple[str, Any]], place: FitPlace) -> list[tuple[str, Any]]:
    """Return initialised callbacks with files of their own, in the place of those of all fits.

    Parameters
    ----------
    callbacks : sequence of (str, Callback)
        Initialised ones; not changed.
    place : FitPlace

    Returns
    -------
    list of (str, Callback)
        Copies of those that name a path, and the others as they are.

    Notes
    -----
    What a callback only reads stays where it is if its class names the attributes in
    ``reads_paths``.  A ``LoadInitState`` of what a callback beside it writes is left out: a new fit
    has nothing to go on from.  One of other files stays.
    """
    written = [_paths(callback) for _, callback in callbacks if not isinstance(callback, LoadInitState)]
    made = []
    for name, callback in callbacks:
        if isinstance(callback, LoadInitState):
            if _paths(callback.checkpoint) not in written:
                if isinstance(callback.checkpoint, TrainEndCheckpoint):
                    callback.checkpoint.initialize()  # skorch expects the one that writes, and a clone has another
                made.append((name, callback))
            continue
        moved = _moved(callback, place)
        if moved is not callback:
            moved.initialize()
        made.append((name, moved))
    return made


def without_copy(callbacks: Sequence[Any]) -> str | None:
    """Return the class of the first callback that cannot be copied for another fit, or None."""
    for one in callbacks:
        callback = one[1] if isinstance(one, (tuple, list)) else one
        try:
            clone(callback, safe=False)
        except TypeError:
            return type(callback).__name__
    return None


def names_paths(callback: Any) -> bool:
    """Return whether a callback writes where its attributes say."""
    return isinstance(callback, Callback) and not isinstance(callback, LoadInitState) and bool(_paths(callback))


def hides_paths(callback: Any) -> bool:
    """Return whether a callback of somebody's writes files, and no attribute says where."""
    if isinstance(callback, type) or not isinstance(callback, Callback) or _paths(callback):
        return False
    if type(callback).__module__.partition(".")[0] in ("skorch", "biot_bd"):
        return False
    own = [cls for cls in type(callback).__mro__ if cls.__module__.partition(".")[0] not in ("skorch", "builtins")]
    return any(_OPENING & names for cls in own for names in _names_in(cls))


def _names_in(cls: type) -> Iterator[set[str]]:
    for member in vars(cls).values():
        code = getattr(member, "__code__", None)
        if isinstance(code, types.CodeType):
            yield set(code.co_names)


def _paths(callback: Any) -> dict[str, Any]:
    """Return all paths that a callback has, by attribute; with those of callbacks inside of it."""
    found: dict[str, Any] = {}
    for name, value in _attributes(callback):
        if isinstance(value, Callback):
            found |= {f"{name}.{inner}": path for inner, path in _paths(value).items()}
        elif listed := _listed(callback, name, value):
            found[name] = listed
    if found and isinstance(getattr(callback, "dirname", None), str):  # the same folder, other files
        names = {name: value for name, value in vars(callback).items() if name.startswith(("f_", "fn_"))}
        found["files"] = sorted((name, str(value)) for name, value in names.items())
    return found


def _listed(callback: Any, name: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [path for item in value.values() for path in _listed(callback, name, item)]
    if isinstance(value, (list, tuple)):
        return [path for item in value for path in _listed(callback, name, item)]
    return [os.fspath(value)] if _is_path(callback, name, value) else []


def _attributes(callback: Any) -> list[tuple[str, Any]]:
    only_read = getattr(callback, "reads_paths", ())
    return [(name, value) for name, value in vars(callback).items() if name not in only_read and name[-1] != "_"]


def _is_path(callback: Any, name: str, value: Any) -> bool:
    if isinstance(value, os.PathLike):
        return True
    if not isinstance(value, str):
        return False
    if name == "dirname":
        return True  # "" is the working folder
    if os.path.isabs(value):
        return True
    if name.startswith("f_") and isinstance(getattr(callback, "dirname", None), str):
        return False  # inside of dirname
    return bool(value) and (_PATH_NAME.search(name) is not None or os.path.isdir(value))


def _moved(callback: Any, place: FitPlace) -> Any:
    """Return a copy of a callback whose paths are those of a place; itself where it has none."""
    changed = {}
    for name, value in _attributes(callback):
        new = _moved(value, place) if isinstance(value, Callback) else _moved_value(callback, name, value, place)
        if new is not value:
            changed[name] = new
    if not changed:
        return callback
    made = copy.copy(callback)
    if changed.get("dirname") and not callback.dirname and _holds_memory(callback):
        # skorch takes no folder beside a file in memory, but a prefix.
        changed["fn_prefix"] = os.path.join(changed.pop("dirname"), callback.fn_prefix)
    vars(made).update(changed)
    return made


def _holds_memory(callback: Any) -> bool:
    return any(value and not isinstance(value, str) for name, value in vars(callback).items() if name.startswith("f_"))


def _moved_value(callback: Any, name: str, value: Any, place: FitPlace) -> Any:
    if isinstance(value, dict):
        items = {key: _moved_value(callback, name, item, place) for key, item in value.items()}
        return items if any(items[key] is not value[key] for key in value) else value
    if isinstance(value, list) or type(value) is tuple:
        listed = [_moved_value(callback, name, item, place) for item in value]
        return type(value)(listed) if any(a is not b for a, b in zip(listed, value, strict=True)) else value
    if not _is_path(callback, name, value):
        return value
    path = Path(value)
    found = place.of(path) if _is_folder(name, path) else place.of(path.parent) / path.name
    return os.fspath(found) if isinstance(value, str) else found


def _is_folder(name: str, path: Path) -> bool:
    if name.startswith(("f_", "fn_")):
        return False
    return _FOLDER_NAME.search(name) is not None or path.is_dir() or not (path.suffix or "file" in name)
