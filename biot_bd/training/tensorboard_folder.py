"""A folder of TensorBoard as a callback keeps it: opened with the first epoch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from skorch.callbacks import Callback
from torch.utils.tensorboard import SummaryWriter

from biot_bd.training.object_texts import ParametersRepr


@contextmanager
def naming(folder: Any) -> Iterator[None]:
    """Name the folder of curves that cannot be written, which TensorBoard does not."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(folder)) from error


def naming_its_folder(method: Callable[..., None]) -> Callable[..., None]:
    """Have a method of a :class:`FolderLogger` name its folder where that cannot be written."""

    @wraps(method)
    def named(self: FolderLogger, net: Any, *args: Any, **kwargs: Any) -> None:
        with naming(self._folder(net)):
            method(self, net, *args, **kwargs)

    return named


class FolderLogger(ParametersRepr, Callback):
    """Write what an epoch says into a folder of TensorBoard.

    It holds a folder and opens its file when training begins, so it can be cloned and pickled.  A
    fit that is taken up again goes on in the same folder.

    Parameters
    ----------
    log_dir : path or None
        Folder of this run; None takes the ``log_dir`` of the net.
    """

    log_dir: Any

    def initialize(self) -> Any:
        """Start without an open file."""
        self.writer_: SummaryWriter | None = None
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "writer_": None}

    def state_dict(self) -> dict[str, Any]:
        """Return what a restart point keeps: nothing, the file is on disk."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up again."""

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Check that there is a folder; the file is opened with the first epoch.

        Raises
        ------
        ValueError
            Neither the callback nor the net has a ``log_dir``.
        """
        self._close()
        if self._folder(net) is None:
            raise ValueError(f"{type(self).__name__} needs a folder: give it log_dir=, or the net")

    def _folder(self, net: Any) -> str | None:
        folder = self.log_dir if self.log_dir is not None else getattr(net, "log_dir", None)
        return None if folder is None else os.fspath(folder)

    def _open(self, net: Any) -> SummaryWriter:
        """Open the file.

        Epochs from here on may stand in the folder from a fit that was killed: the new ones replace
        them.
        """
        if self.writer_ is None:
            self.writer_ = SummaryWriter(self._folder(net), purge_step=len(net.history))
        return self.writer_

    def _close(self) -> None:
        if getattr(self, "writer_", None) is not None:
            self.writer_.close()  # type: ignore[union-attr]
        self.writer_ = None


def add_step(writer: SummaryWriter, net: Any, epoch: int) -> None:
    """Write learning rates and the norm of the gradients of an epoch."""
    groups = net.optimizer_.param_groups
    for number, group in enumerate(groups):
        # A fine-tuning recipe names its groups, which become more while parts thaw.
        name = group.get("name") or ("" if len(groups) == 1 else str(number))
        writer.add_scalar(f"learning_rate/{name}".rstrip("/"), float(group["lr"]), epoch)
    if "gradient_norm" in net.history[-1]:
        writer.add_scalar("gradient_norm", net.history[-1]["gradient_norm"], epoch)
