"""What TensorBoard shows of a pretraining: every number of the history, by epoch.

Tags: ``loss/train``, ``loss/valid``, and so for each log of the objectives (``skill/valid``,
``kl/train``, ``embedding_std/valid``); ``learning_rate`` and ``gradient_norm``.  The step is the
epoch.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

from biot_bd.training.tensorboard_folder import FolderLogger, add_step, naming_its_folder


class CurveLogger(FolderLogger):
    """Write a pretraining to TensorBoard.

    Parameters
    ----------
    log_dir : path or None
        Folder of this run; None takes the ``log_dir`` of the net.

    See Also
    --------
    biot_bd.Pretrainer : Has it with ``log_dir``.

    Examples
    --------
    >>> from biot_bd.pretraining.curves import CurveLogger
    >>> CurveLogger("runs/a").get_params()
    {'log_dir': 'runs/a'}
    """

    def __init__(self, log_dir: Any = None) -> None:
        self.log_dir = log_dir

    @naming_its_folder
    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Open the file."""
        self._open(net)

    @naming_its_folder
    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Write the epoch."""
        writer, epoch = self._open(net), len(net.history)
        for name, value in net.history[-1].items():
            side, _, key = name.partition("_")
            if side in ("train", "valid") and isinstance(value, Real) and not key.startswith("batch"):
                writer.add_scalar(f"{key}/{side}", value, epoch)
        add_step(writer, net, epoch)
        # A killed process must not lose epochs that its restart point counts as done.
        writer.flush()

    @naming_its_folder
    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Close the file."""
        self._close()
