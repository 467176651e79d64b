"""Pictures of reconstructions beside the curves of a pretraining, in TensorBoard."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from skorch.callbacks import Callback
from torch.utils.data import Subset

from biot_bd.pretraining.reconstruction import Reconstruction
from biot_bd.pretraining.reconstruction_figures import reconstruction_figure, reconstruction_spectra_figure
from biot_bd.pretraining.reconstruction_scores import joined, reconstructing, reconstructions, shown_facts
from biot_bd.training.tensorboard import add_figure

FIGURE_PX = 900


class ReconstructionLogger(Callback):
    """Draw what a pretraining reconstructs of validation windows, under the same masks each time.

    After epochs 1, 2, 4, 8, and so on, and of the final model.  Training windows are never drawn:
    without validation there are no pictures, and a text says so.

    Parameters
    ----------
    log_dir : path or None
        Folder of TensorBoard; None takes the ``log_dir`` of the net.
    n_windows : int
        Windows that are drawn, evenly spread over those of validation.
    n_spectra : int
        Windows whose spectra are averaged.

    See Also
    --------
    biot_bd.pretraining.score_reconstruction : Numbers, by channel and by subject.

    Examples
    --------
    >>> from biot_bd.pretraining import ReconstructionLogger
    >>> ReconstructionLogger("runs/a", n_windows=2).get_params()["n_windows"]
    2
    """

    def __init__(self, log_dir: Any = None, n_windows: int = 1, n_spectra: int = 32) -> None:
        self.log_dir = log_dir
        self.n_windows = n_windows
        self.n_spectra = n_spectra

    def initialize(self) -> ReconstructionLogger:
        """Start without having drawn."""
        self.drawn_ = 0
        return self

    def state_dict(self) -> dict[str, Any]:
        """Return what a restart point keeps: nothing, the pictures are on disk."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up again."""

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Check that there is a folder.

        Raises
        ------
        ValueError
            Neither the callback nor the net has a ``log_dir``.
        """
        self.drawn_ = 0
        if self._folder(net) is None:
            raise ValueError("ReconstructionLogger needs a folder: give it log_dir=, or the Pretrainer")

    def _folder(self, net: Any) -> str | None:
        folder = self.log_dir if self.log_dir is not None else getattr(net, "log_dir", None)
        return None if folder is None else os.fspath(folder)

    def on_epoch_end(self, net: Any, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Draw after epochs 1, 2, 4, 8, and so on."""
        epoch = len(net.history)
        if epoch & (epoch - 1) == 0:
            self._draw(net, dataset_valid, epoch)
        self.valid_ = dataset_valid

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Draw the final model, where its last epoch was not drawn."""
        if net.history and self.drawn_ != len(net.history):
            self._draw(net, getattr(self, "valid_", None), len(net.history))
        self.valid_ = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "valid_": None}

    def _draw(self, net: Any, valid: Any, epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.drawn_ = epoch
        names = list(reconstructing(net.module_))
        if not names:
            return
        with SummaryWriter(self._folder(net), filename_suffix=".reconstruction") as writer:
            if valid is None or not len(valid):
                writer.add_text("reconstruction", "no pictures: there are no validation windows", epoch)
                return
            for name in names:
                found = self._reconstructed(net, valid, name)
                facts = shown_facts(net)
                footnote = f"{name}, after epoch {epoch}, validation windows"
                for window in _spread(len(found.original), self.n_windows):
                    draw = reconstruction_figure(
                        found, window=window, footnote=footnote, width_px=FIGURE_PX, **facts.window
                    )
                    add_figure(writer, f"reconstruction/{name}/window-{window:02d}", draw, epoch)
                spectra = reconstruction_spectra_figure(found, footnote=footnote, width_px=FIGURE_PX, **facts.spectra)
                add_figure(writer, f"reconstruction/{name}/spectra", spectra, epoch)

    def _reconstructed(self, net: Any, valid: Any, name: str) -> Reconstruction:
        rows = _spread(len(valid), max(self.n_windows, self.n_spectra))
        # A subset of a subset would hide the data set that reads batches.
        inner = isinstance(valid, Subset)
        part = Subset(valid.dataset, [valid.indices[row] for row in rows]) if inner else Subset(valid, rows)
        return joined(list(reconstructions(net, part, objective=name)))


def _spread(n: int, most: int) -> list[int]:
    """Return at most so many places, evenly spread over ``n``."""
    return [int(place) for place in np.unique(np.linspace(0, n - 1, min(n, most)).round())]
