"""Pictures of reconstructions beside the curves of a pretraining, in TensorBoard."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.utils.data import Subset
from torch.utils.tensorboard import SummaryWriter

from biot_bd.pretraining.reconstruction import Reconstruction
from biot_bd.pretraining.reconstruction_figures import reconstruction_figure, reconstruction_spectra_figure
from biot_bd.pretraining.reconstruction_scores import joined, reconstructing, reconstructions, shown_facts
from biot_bd.training.tensorboard import add_figure
from biot_bd.training.tensorboard_folder import FolderLogger, naming_its_folder

FIGURE_PX = 900


class ReconstructionLogger(FolderLogger):
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
        self.drawn_, self.valid_ = 0, None
        super().initialize()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "valid_": None}

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Check that there is a folder."""
        super().on_train_begin(net, **kwargs)
        self.drawn_ = 0

    @naming_its_folder
    def on_epoch_end(self, net: Any, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Draw after epochs 1, 2, 4, 8, and so on."""
        epoch, self.valid_ = len(net.history), dataset_valid
        if epoch & (epoch - 1) == 0:
            self._draw(net, epoch)

    @naming_its_folder
    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Draw the final model, where its last epoch was not drawn, and close the file."""
        if net.history and self.drawn_ != len(net.history):
            self._draw(net, len(net.history))
        self.valid_ = None
        self._close()

    def _writer(self, net: Any) -> SummaryWriter:
        """Return the file that curves go to, where one is open: TensorBoard reads a folder's files
        one behind the other, and would miss what is added to the first.
        """
        others = (one for _, one in net.callbacks_ if isinstance(one, FolderLogger) and one is not self)
        same = (one.writer_ for one in others if one.writer_ is not None and one._folder(net) == self._folder(net))
        return next(same, None) or self._open(net)

    def _draw(self, net: Any, epoch: int) -> None:
        self.drawn_ = epoch
        names = list(reconstructing(net.module_))
        if not names:
            return
        writer = self._writer(net)
        if self.valid_ is None or not len(self.valid_):
            writer.add_text("reconstruction", "no pictures: there are no validation windows", epoch)
            return
        for name in names:
            self._draw_objective(writer, net, name, epoch)
        writer.flush()

    def _draw_objective(self, writer: SummaryWriter, net: Any, name: str, epoch: int) -> None:
        found, facts = self._reconstructed(net, self.valid_, name), shown_facts(net)
        words: dict[str, Any] = {
            "footnote": f"{name}, after epoch {epoch}, validation windows",
            "width_px": FIGURE_PX,
        }
        for window in _spread(len(found.original), self.n_windows):
            drawn = reconstruction_figure(found, window=window, **words, **facts.window)
            add_figure(writer, f"reconstruction/{name}/window-{window:02d}", drawn, epoch)
        spectra = reconstruction_spectra_figure(found, **words, **facts.spectra)
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
