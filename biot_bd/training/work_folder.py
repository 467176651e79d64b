"""A folder that a long computation fills: what it makes appears whole, and a killed one goes on.

While it works, it keeps restart points, curves and what shall be published in a hidden folder
inside; what it made is then moved to its place, the description last.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from biot_bd.exceptions import RunFolderError
from biot_bd.runs import finishing, make_folder, read_json, write_json

TENSORBOARD = "tensorboard"


class WorkFolder:
    """The folder that one process trains into.

    Parameters
    ----------
    folder : Path
        Where the result shall be.
    study : str
        Fingerprint of all that decides the result.

    Attributes
    ----------
    name : str
        Of the hidden folder.
    what : str
        What is made, for messages: ``"a model"``.
    restart, log, model : Path
        While the training works: restart points, curves, and the result to be.
    """

    name: str
    what: str

    def __init__(self, folder: Path, study: str) -> None:
        self.folder, self.study = folder, study
        self.work = folder / self.name
        self.restart, self.log, self.model = self.work / "restart", self.work / TENSORBOARD, self.work / "model"

    def record(self) -> dict[str, Any] | None:
        """Return the record of the result that stands in the folder; None where there is none."""
        raise NotImplementedError

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any] | None]:
        """Hold the folder for this process.

        Yields
        ------
        dict or None
            The record of the result, where this very training had finished and was only stopped
            while it tidied up.

        Raises
        ------
        RunFolderError
            Another process trains there.
        FileExistsError
            The result of another training was finished there, and only its tidying up stopped.
        """
        make_folder(self.work)
        lock = FileLock(self.work / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunFolderError(
                f"{self.folder} is being trained into by another process; wait for it or name another folder "
                f"(if it ended with its machine, delete {lock.lock_file})"
            ) from None
        try:
            yield self._found()
        finally:
            lock.release()
            if not any(self.restart.glob("*.pt")):  # it failed before there was anything to go on from
                shutil.rmtree(self.work, ignore_errors=True)
                with suppress(OSError):  # other files are there
                    self.folder.rmdir()

    def _found(self) -> dict[str, Any] | None:
        """Return the record of this training if it is finished; else make ready to go on."""
        path = self.work / "study.json"
        begun = read_json(path)["study"] if path.is_file() else None
        record = self.record()
        if begun is not None and (record or {}).get("study") == begun:
            self._tidy_up()
            if begun != self.study:
                raise FileExistsError(f"{self.folder} holds {self.what} already; name a new folder or delete it")
            return record
        if begun == self.study and record is None and not self.log.exists() and self.curves.is_dir():
            os.replace(self.curves, self.log)  # killed between this move and the description
        write_json(path, {"study": self.study})
        return None

    @property
    def curves(self) -> Path:
        """Where the curves lie in the end."""
        return self.folder / TENSORBOARD

    def _publish(self, names: tuple[str, ...], description: str) -> None:
        """Move what was made to its place, the description last, and remove the rest.

        Of an earlier result nothing stays that could be taken for a part of this one.
        """
        (self.folder / description).unlink(missing_ok=True)
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
            if (self.model / name).is_file():
                os.replace(self.model / name, self.folder / name)
        shutil.rmtree(self.curves, ignore_errors=True)
        if self.log.is_dir():
            os.replace(self.log, self.curves)
        with finishing(f"{self.folder} holds the {self.what.removeprefix('a ')}"):
            os.replace(self.model / description, self.folder / description)
        self._tidy_up()

    def _tidy_up(self) -> None:
        """Remove what a finished training needs no more.

        Its name goes last: by it a call after a kill knows whose result this is.
        """
        for path in self.work.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.work, ignore_errors=True)
