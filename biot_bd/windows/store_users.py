"""Who uses a store: runs and models whose windows must not change behind their back.

A run or a training notes itself in ``users/`` of the store whose windows it reads; ``prepare`` asks
there before it replaces a table or signals.  A user that is no longer where it was counts, too: it
may have been moved, alone or with the store.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from biot_bd.json_values import check_values
from biot_bd.runs import read_json, write_json

if TYPE_CHECKING:
    from biot_bd.windows.windows import Windows

USERS = "users"
ANONYMOUS = "a run or model that is not named"
"""Who uses anonymous windows: a path could name a person."""


@dataclass(frozen=True)
class StoreUser:
    """A run or a model that was made from a store's windows.

    Parameters
    ----------
    path : Path
        Its folder.
    table : str
        Fingerprint of the table that it read.
    """

    path: Path
    table: str


@dataclass(frozen=True)
class Changes:
    """What a call of ``prepare`` would change of the windows that are there.

    Parameters
    ----------
    settings : tuple of str
        Settings of the table that differ, as a message tells them.
    added, gone, changed : tuple of str
        Recordings: not there yet, no longer in the data set, other files or seizures than before.
    """

    settings: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def affected(self, users: Iterable[StoreUser], table: str) -> list[StoreUser]:
        """Return the users whose windows would change.

        Tables that ``Windows.relabel`` made depend on the signals alone; ``table`` is the store's.
        """
        if self.gone or self.changed:
            return list(users)
        return [user for user in users if user.table == table] if self.settings or self.added else []

    def __str__(self) -> str:
        parts = list(self.settings)
        for names, what in ((self.added, "new"), (self.gone, "not in the data set"), (self.changed, "changed")):
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                parts.append(f"{', '.join(names[:3])}{more} {'is' if len(names) == 1 else 'are'} {what}")
        return "; ".join(parts)


def note_user(windows: Windows, folder: Path) -> None:
    """Note in the stores of windows that a run or a model in ``folder`` uses them.

    A store that cannot be written is left as it is: nobody with these rights can replace it.
    """
    where = ANONYMOUS if windows.anonymous else str(folder.resolve())
    for path, table in _note_files(windows, folder):
        with suppress(OSError):
            write_json(path, {"path": where, "table": table})


@contextmanager
def forgotten_with(windows: Windows, folder: Path) -> Iterator[None]:
    """Take the notes of a user back whose folder is gone when the block ends: it failed at once."""
    others = {path for path, _ in _note_files(windows, folder) if windows.anonymous and path.exists()}
    try:
        yield
    finally:
        if not folder.is_dir():
            for path in {path for path, _ in _note_files(windows, folder)} - others:
                with suppress(OSError):
                    path.unlink(missing_ok=True)


def _note_files(windows: Windows, folder: Path) -> Iterable[tuple[Path, str]]:
    """Return the note of a user in each store, and the fingerprint of the table there.

    Users of anonymous windows have one note together: the hash of a path could be guessed.
    """
    name = "used" if windows.anonymous else hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return [(t.store / USERS / f"{name}-{t.fingerprint}.json", t.fingerprint) for t in windows.tables]


class _Note(TypedDict):
    path: str
    table: str


def users_of(store: Path) -> list[StoreUser]:
    """Return the users of a store by path, those that were moved or deleted among them."""
    users = [StoreUser(Path(note["path"]), str(note["table"])) for note in _notes(store)]
    return sorted(users, key=lambda user: user.path)


def _notes(store: Path) -> Iterable[_Note]:
    for path in (store / USERS).glob("*.json"):
        if path.name.startswith("."):
            continue
        note = read_json(path)
        try:
            check_values(note, _Note)
        except ValueError as error:
            raise ValueError(
                f"{path}: not the note of a user of these windows ({error}); delete it if no run of yours reads them"
            ) from error
        yield note


def forget_users(store: Path) -> None:
    """Forget all users: their windows are replaced by their owner's wish."""
    shutil.rmtree(store / USERS, ignore_errors=True)


def told(users: Iterable[StoreUser], limit: int = 3) -> str:
    """Name the first users, for a message."""
    gone = " (moved or deleted since)"
    known = {ANONYMOUS} & {os.fspath(user.path) for user in users}
    others = {os.fspath(user.path) for user in users} - known
    paths = sorted(known | {f"{path}{'' if Path(path).is_dir() else gone}" for path in others})
    return ", ".join(paths[:limit]) + (f" and {len(paths) - limit} more" if len(paths) > limit else "")
