"""The folder of a training: the model appears in it whole, and a killed training goes on there.

While it works, a training keeps its restart points, curves and the model to be in ``.training``
inside the folder.  What it made is then moved to its place, the model's description last; so a
folder with a description holds all that belongs to it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from biot_bd.evaluation.run_facts import METRICS
from biot_bd.events.detector import EVENTS_JSON
from biot_bd.exceptions import RunFolderError
from biot_bd.models.checkpoints.pipeline_folder import CONFIG, PIPELINE, WEIGHTS, description_file
from biot_bd.runs import make_folder, note_finished, read_json, write_json

WORK = ".training"
TENSORBOARD = "tensorboard"


class TrainingFolder:
    """The folder that one process trains into.

    Parameters
    ----------
    folder : Path
        Where the model shall be.
    study : str
        Fingerprint of all that decides the model.

    Attributes
    ----------
    restart, log, model : Path
        While the training works: restart points, curves, and the model to be.
    """

    def __init__(self, folder: Path, study: str) -> None:
        self.folder, self.study = folder, study
        self.work = folder / WORK
        self.restart, self.log, self.model = self.work / "restart", self.work / TENSORBOARD, self.work / "model"

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any] | None]:
        """Hold the folder for this process.

        Yields
        ------
        dict or None
            The record of the model, where this very training had finished and was only stopped
            while it tidied up.

        Raises
        ------
        RunFolderError
            Another process trains there.
        FileExistsError
            The model of another training was finished there, and only its tidying up stopped.
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
        description = description_file(self.folder)
        record = {} if description is None else read_json(description).get("record") or {}
        if begun is not None and record.get("study") == begun:
            self._tidy_up()
            if begun != self.study:
                raise FileExistsError(f"{self.folder} holds a model already; name a new folder or delete it")
            return record
        if begun == self.study and description is None and not self.log.exists() and self.curves.is_dir():
            os.replace(self.curves, self.log)  # killed between this move and the description
        write_json(path, {"study": self.study})
        return None

    @property
    def curves(self) -> Path:
        """Where the curves lie in the end."""
        return self.folder / TENSORBOARD

    def publish(self) -> None:
        """Move what was made to its place, and remove the rest of the training.

        Of an earlier model nothing stays that could be taken for a part of this one.
        """
        (self.folder / PIPELINE).unlink(missing_ok=True)
        for name in (WEIGHTS, CONFIG, EVENTS_JSON, METRICS):
            (self.folder / name).unlink(missing_ok=True)
            if (self.model / name).is_file():
                os.replace(self.model / name, self.folder / name)
        shutil.rmtree(self.curves, ignore_errors=True)
        if self.log.is_dir():
            os.replace(self.log, self.curves)
        os.replace(self.model / PIPELINE, self.folder / PIPELINE)
        self._tidy_up()
        note_finished(f"{self.folder} holds the model")

    def _tidy_up(self) -> None:
        """Remove what a finished training needs no more.

        Its name goes last: by it a call after a kill knows whose model this is.
        """
        for path in self.work.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.work, ignore_errors=True)
