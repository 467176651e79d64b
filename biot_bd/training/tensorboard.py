"""What TensorBoard shows of a training.

Curves by epoch, precision-recall, confusion matrix, attention maps.

Tags: ``loss/train``, ``loss/valid``, ``average_precision/...``, ``roc_auc/...``,
``balanced_accuracy/...``, ``learning_rate``, ``gradient_norm``, ``precision_recall/valid``,
``confusion/valid``, ``attention/early`` (``middle``, ``late``; a single layer: ``only``),
``attention_entropy/layer-01`` and ``attention_rank/layer-01``; when training ends the
hyper-parameters with ``final/...``; ``test/...`` and ``precision_recall/test`` once, when
somebody calls :func:`log_test_metrics`; as texts ``attention/windows``, and ``training_scores``
where those of training are of a part of the windows.  The step is the epoch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import confusion_matrix
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from biot_bd.plots import attention_figure, confusion_figure
from biot_bd.training.attention_agreement import MAPS, WINDOWS
from biot_bd.training.attention_log import ProbeWindows, layer_attention, probe_windows
from biot_bd.training.callbacks import EarlyStopping, EpochScores
from biot_bd.training.tensorboard_folder import FolderLogger, add_step, naming, naming_its_folder

SCORES = ("loss", "average_precision", "roc_auc", "balanced_accuracy")
HIDDEN_PARAMETERS = ("log_dir", "restart_dir", "verbose", "callbacks")


def with_folder_of(callback: Any, net: Any) -> Any:
    """Return a logger with the folder that it takes from a net; any other callback as it is."""
    if not isinstance(callback, FolderLogger) or callback.log_dir is not None:
        return callback
    return type(callback)(**{**callback.get_params(), "log_dir": net.log_dir}).initialize()


class TensorBoardLogger(FolderLogger):
    """Write a training to TensorBoard.

    It holds a folder and opens its file when training begins, so it can be cloned and pickled.  A
    fit that is taken up again goes on in the same folder.

    Parameters
    ----------
    log_dir : path or None
        Folder of this run; None takes the ``log_dir`` of the net.
    attention : bool
        Whether to draw attention maps of an early, a middle and a late layer, for models that have
        attention.
    max_windows : int
        Windows that attention is a mean of: seizure windows, the same in every run of the same
        data, whatever training was told.

    See Also
    --------
    compare_attention : Correlations of the maps of several runs.
    log_test_metrics : Test scores beside the training.

    Notes
    -----
    Training scores come from the predictions made while training.  Pictures are drawn, and
    attention is measured, of the final model and after epochs 1, 2, 4, 8, and so on.  An attention
    map is the ratio to uniform attention by channel, in colours that are the same for all epochs
    and runs; :func:`biot_bd.models.entropy` (1: uniform) and
    :func:`biot_bd.models.effective_rank` are means over windows and heads.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from biot_bd.training import BIOTClassifier, TensorBoardLogger
    >>> x = np.random.default_rng(0).normal(size=(8, 2, 200)).astype("float32")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     logger = TensorBoardLogger(
    ...         folder, attention=False
    ...     )  # or BIOTClassifier(log_dir=folder)
    ...     net = BIOTClassifier(
    ...         "shallow", max_epochs=1, train_split=None, callbacks=[logger], device="cpu"
    ...     )
    ...     _ = net.fit(x, [0, 1] * 4)
    ...     any("tfevents" in path.name for path in Path(folder).iterdir())
    True
    """

    def __init__(self, log_dir: Any = None, attention: bool = True, max_windows: int = 8) -> None:
        self.log_dir = log_dir
        self.attention = attention
        self.max_windows = max_windows

    def initialize(self) -> TensorBoardLogger:
        """Start without an open file."""
        super().initialize()
        self.windows_: ProbeWindows | None = None
        self.drawn_ = self.told_ = ""
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "writer_": None, "windows_": None}

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Check that there is a folder; the file is opened with the first epoch.

        Raises
        ------
        ValueError
            Neither the callback nor the net has a ``log_dir``.
        """
        super().on_train_begin(net)
        self.windows_, self.drawn_, self.told_ = None, "", ""

    @naming_its_folder
    def on_epoch_begin(self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Open the file and choose the windows for the attention maps."""
        if self.writer_ is None:
            self._open(net)
            if getattr(net, "training_note_", None):
                self._open(net).add_text("training_scores", net.training_note_, len(net.history))
        self._choose_windows(dataset_train, dataset_valid)

    def _choose_windows(self, train: Any, valid: Any) -> None:
        if self.windows_ is None and self.attention and not self.told_:
            self.windows_ = probe_windows(train if train is not None else valid, self.max_windows)

    @naming_its_folder
    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Write the epoch."""
        if self.writer_ is None:
            return
        epoch, row = len(net.history), net.history[-1]
        for name in SCORES:
            for part in ("train", "valid"):
                if row.get(f"{part}_{name}") is not None:
                    self.writer_.add_scalar(f"{name}/{part}", row[f"{part}_{name}"], epoch)
        add_step(self.writer_, net, epoch)
        valid = _epoch_predictions(net)
        if valid is not None and valid[1].shape[1] == 2 and 0 < valid[0].mean() < 1:
            self.writer_.add_pr_curve("precision_recall/valid", valid[0], valid[1][:, 1], epoch)
        if epoch & (epoch - 1) == 0:
            self._draw(net, epoch, _when(epoch))
        # A killed process must not lose epochs that its restart point counts as done.
        self.writer_.flush()

    @naming_its_folder
    def on_train_end(self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Draw the final model, write hyper-parameters and final scores, close the file."""
        if not net.history:
            self._close()
            return
        if self.writer_ is None:  # taken up again behind the last epoch: nothing but the end may be missing
            if _has_end(self._folder(net)):
                return
            self.writer_ = SummaryWriter(self._folder(net))
            self._choose_windows(dataset_train, dataset_valid)
        taken = _taken_epoch(net)
        # The last epoch's weights may have been drawn already, and be those that are taken.
        self._draw(net, len(net.history), _when(taken) if taken == len(net.history) else f"{_when(taken)}, final model")
        row = net.history[taken - 1]
        final = {f"final/{k}": v for k, v in row.items() if k.partition("_")[2] in SCORES and isinstance(v, float)}
        final["final/epoch"] = float(taken)
        tested = dict.fromkeys((f"test/{name}" for name in SCORES[1:]), 0.0)
        for summary in hparams(_hyper_parameters(net), final | tested):
            self.writer_._get_file_writer().add_summary(summary, 0)
        for tag, value in final.items():
            self.writer_.add_scalar(tag, value, len(net.history))
        self._close()

    def _draw(self, net: Any, epoch: int, when: str) -> None:
        if self.drawn_ == when:
            return
        self.drawn_ = when
        valid = _epoch_predictions(net)
        if valid is not None:
            n = valid[1].shape[1]
            counts = confusion_matrix(valid[0], valid[1].argmax(axis=1), labels=range(n))
            names = [str(label) for label in (net.facts_.classes if hasattr(net, "facts_") else range(n))]
            self._add_figure(
                "confusion/valid", confusion_figure(counts, names, title=f"validation, epoch {epoch}"), epoch
            )
        if self.windows_ is not None:
            self._draw_attention(net, epoch, when)

    def _draw_attention(self, net: Any, epoch: int, when: str) -> None:
        """Draw and measure the attention over the chosen windows; what cannot be shown ends no
        training.
        """
        if self.writer_ is None or self.windows_ is None:
            return
        try:
            layers = layer_attention(net.module_, self.windows_.x.to(net.device))
        except (RuntimeError, ValueError, NotImplementedError) as error:
            layers, told = [], f"attention is not shown: {error}"
        else:
            classes = net.facts_.classes.tolist() if hasattr(net, "facts_") else None
            told = self.windows_.text(classes) if layers else ""
        if told != self.told_:
            self.writer_.add_text(WINDOWS, told, epoch)
        self.told_ = told or "no attention"
        if not layers:
            self.windows_ = None
        names = getattr(getattr(net, "input_info_", None), "ch_names", None)
        for layer in layers:
            self.writer_.add_scalar(f"attention_entropy/layer-{layer.number:02d}", layer.entropy, epoch)
            self.writer_.add_scalar(f"attention_rank/layer-{layer.number:02d}", layer.rank, epoch)
            if layer.ratio is not None:
                self.writer_.add_tensor(f"{MAPS}{layer.role}", torch.from_numpy(layer.ratio.astype(np.float32)), epoch)
                labels = names if names and layer.ratio.shape[0] == len(names) else None
                title = f"{layer.role} (layer {layer.number} of {layer.n_layers}), {when}"
                self._add_figure(
                    f"attention/{layer.role}", attention_figure(layer.ratio, labels=labels, title=title), epoch
                )

    def _add_figure(self, tag: str, figure: Figure, epoch: int) -> None:
        if self.writer_ is not None:
            add_figure(self.writer_, tag, figure, epoch)


def add_figure(writer: SummaryWriter, tag: str, figure: Figure, epoch: int) -> None:
    """Write a figure as a picture; that of ``SummaryWriter`` would import pyplot.

    Parameters
    ----------
    writer : SummaryWriter
    tag : str
        Name of the picture.
    figure : matplotlib.figure.Figure
    epoch : int
        Step that it stands at.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    writer.add_image(tag, pixels, epoch, dataformats="HWC")


def _told_elsewhere(arguments: Any, before: Any = threading.excepthook) -> None:
    """Keep quiet of a write that failed in TensorBoard's thread: the caller gets it, too."""
    if not (type(arguments.thread).__module__.startswith("tensorboard.") and isinstance(arguments.exc_value, OSError)):
        before(arguments)


threading.excepthook = _told_elsewhere


def _has_end(folder: Any) -> bool:
    """Return whether the last training in a folder wrote its final scores."""
    files = sorted(Path(folder).glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns)
    contents = [path.read_bytes() for path in files]
    trained = [i for i, content in enumerate(contents) if b"loss/train" in content]
    return any(b"final/epoch" in content for content in contents[trained[-1] if trained else 0 :])


def _when(epoch: int) -> str:
    return f"after epoch {epoch}"


def _epoch_predictions(net: Any) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return true classes and probabilities of the validation part in the last epoch, where they
    were kept.
    """
    return next((cb.valid_ for _, cb in net.callbacks_ if isinstance(cb, EpochScores)), None)


def _taken_epoch(net: Any) -> int:
    """Return the epoch whose weights the net has in the end."""
    best = [cb.best_epoch_ for _, cb in net.callbacks_ if isinstance(cb, EarlyStopping) and cb.load_best]
    return int(next(filter(None, best), len(net.history)))


def _hyper_parameters(net: Any) -> dict[str, Any]:
    """Return the parameters as TensorBoard holds them: numbers and texts."""
    params = {k: v.__name__ if isinstance(v, type) else v for k, v in net.get_params(deep=False).items()}
    shown = {k: v for k, v in params.items() if k not in HIDDEN_PARAMETERS and v is not None}
    return {k: v if isinstance(v, (bool, int, float, str)) else str(v) for k, v in shown.items()}


def log_test_metrics(
    classifier: Any,
    metrics: Mapping[str, float],
    y_true: ArrayLike | None = None,
    proba: ArrayLike | None = None,
) -> None:
    """Write test scores beside the training, once, when the model is final.

    Nothing where there is no ``log_dir``.

    Parameters
    ----------
    classifier : BIOTClassifier
        Fitted; its ``log_dir`` says where.
    metrics : mapping of str to float
        Scores by name; written as ``test/<name>`` at the last epoch.
    y_true, proba : array-like, shape (n,), optional
        Labels 0/1 and probabilities of class 1 of the test windows, for a precision-recall curve.

    Raises
    ------
    ValueError
        Only one of ``y_true`` and ``proba`` is given.

    See Also
    --------
    TensorBoardLogger : Writes the training.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from biot_bd.training import BIOTClassifier, log_test_metrics
    >>> x = np.random.default_rng(0).normal(size=(8, 2, 200)).astype("float32")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net = BIOTClassifier(
    ...         "shallow", max_epochs=1, train_split=None, log_dir=folder, device="cpu"
    ...     )
    ...     log_test_metrics(
    ...         net.fit(x, [0, 1] * 4), {"roc_auc": 0.8}, y_true=[0, 1], proba=[0.2, 0.9]
    ...     )
    """
    if (y_true is None) != (proba is None):
        raise ValueError("give both y_true and proba, or neither")
    if classifier.log_dir is None:
        return
    made = dict(getattr(classifier, "callbacks_", None) or ()).get("tensorboard")
    folder = made._folder(classifier) if isinstance(made, TensorBoardLogger) else os.fspath(classifier.log_dir)
    epoch = len(classifier.history)
    with naming(folder), SummaryWriter(folder) as writer:
        for name, value in metrics.items():
            writer.add_scalar(f"test/{name}", float(value), epoch)
        if y_true is not None and proba is not None:
            writer.add_pr_curve("precision_recall/test", np.asarray(y_true), np.asarray(proba), epoch)
