"""What TensorBoard shows of a training.

Curves by epoch, precision-recall, confusion matrix, attention maps.

Tags: ``loss/train``, ``loss/valid``, ``average_precision/...``, ``roc_auc/...``,
``balanced_accuracy/...``, ``learning_rate``, ``gradient_norm``, ``precision_recall/valid``,
``confusion/valid``, ``attention/layers``; when training ends the hyper-parameters with
``final/...``; ``test/...`` and ``precision_recall/test`` once, when somebody calls
:func:`log_test_metrics`; ``training_scores``, a text, where those of training are of a part of the
windows.  The step is the epoch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import confusion_matrix
from skorch.callbacks import Callback
from torch.utils.data import Subset
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from biot_bd.models.attention.maps import channel_attention, early_middle_late
from biot_bd.models.attention.record import attention_layers, record_attention
from biot_bd.plots import attention_figure, confusion_figure
from biot_bd.training.callbacks import EarlyStopping, EpochScores
from biot_bd.windows.torch_dataset import WindowsDataset

SCORES = ("loss", "average_precision", "roc_auc", "balanced_accuracy")
HIDDEN_PARAMETERS = ("log_dir", "restart_dir", "verbose", "callbacks")


@contextmanager
def _naming(folder: Any) -> Iterator[None]:
    """Name the folder of curves that cannot be written, which TensorBoard does not."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(folder)) from error


def with_folder_of(callback: Any, net: Any) -> Any:
    """Return a logger with the folder that it takes from a net; any other callback as it is."""
    if not isinstance(callback, TensorBoardLogger) or callback.log_dir is not None:
        return callback
    return TensorBoardLogger(**{**callback.get_params(), "log_dir": net.log_dir}).initialize()


def _naming_its_folder(method: Callable[..., None]) -> Callable[..., None]:
    @wraps(method)
    def named(self: TensorBoardLogger, net: Any, *args: Any, **kwargs: Any) -> None:
        with _naming(self._folder(net)):
            method(self, net, *args, **kwargs)

    return named


class TensorBoardLogger(Callback):
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
        Windows that the attention maps are a mean of: seizure windows of the validation part where
        there are any.

    See Also
    --------
    log_test_metrics : Test scores beside the training.

    Notes
    -----
    Training scores come from the predictions made while training.  Pictures are drawn of the final
    model and after epochs 1, 2, 4, 8, and so on.

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
        self.writer_: SummaryWriter | None = None
        self.batch_: torch.Tensor | None = None
        self.drawn_ = ""
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "writer_": None, "batch_": None}

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
        self.batch_, self.drawn_ = None, ""
        if self._folder(net) is None:
            raise ValueError("TensorBoardLogger needs a folder: give it log_dir=, or the classifier")

    def _folder(self, net: Any) -> str | None:
        folder = self.log_dir if self.log_dir is not None else getattr(net, "log_dir", None)
        return None if folder is None else os.fspath(folder)

    @_naming_its_folder
    def on_epoch_begin(self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Open the file and choose the windows for the attention maps."""
        if self.writer_ is None:
            # Epochs from here on may stand in the folder from a fit that was killed: the new ones
            # replace them.
            self.writer_ = SummaryWriter(self._folder(net), purge_step=len(net.history))
            if getattr(net, "training_note_", None):
                self.writer_.add_text("training_scores", net.training_note_, len(net.history))
        self._choose_windows(dataset_train, dataset_valid)

    def _choose_windows(self, train: Any, valid: Any) -> None:
        if self.batch_ is None and self.attention:
            self.batch_ = _windows_to_draw(valid if valid is not None else train, self.max_windows)

    @_naming_its_folder
    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Write the epoch."""
        if self.writer_ is None:
            return
        epoch, row = len(net.history), net.history[-1]
        for name in SCORES:
            for part in ("train", "valid"):
                if row.get(f"{part}_{name}") is not None:
                    self.writer_.add_scalar(f"{name}/{part}", row[f"{part}_{name}"], epoch)
        groups = net.optimizer_.param_groups
        for number, group in enumerate(groups):
            # A fine-tuning recipe names its groups, which become more while parts thaw.
            name = group.get("name") or ("" if len(groups) == 1 else str(number))
            self.writer_.add_scalar(f"learning_rate/{name}".rstrip("/"), float(group["lr"]), epoch)
        if "gradient_norm" in row:
            self.writer_.add_scalar("gradient_norm", row["gradient_norm"], epoch)
        valid = _epoch_predictions(net)
        if valid is not None and valid[1].shape[1] == 2 and 0 < valid[0].mean() < 1:
            self.writer_.add_pr_curve("precision_recall/valid", valid[0], valid[1][:, 1], epoch)
        if epoch & (epoch - 1) == 0:
            self._draw(net, epoch, _when(epoch))
        # A killed process must not lose epochs that its restart point counts as done.
        self.writer_.flush()

    @_naming_its_folder
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

    def _close(self) -> None:
        if getattr(self, "writer_", None) is not None:
            self.writer_.close()  # type: ignore[union-attr]
        self.writer_ = None

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
        maps = {} if self.batch_ is None else _attention_maps(net.module_, self.batch_.to(net.device))
        if maps and self.batch_ is not None:
            labels = _labels(maps, getattr(net, "input_info_", None))
            title = f"attention {when}: mean of {len(self.batch_)} windows and all heads"
            self._add_figure("attention/layers", attention_figure(maps, labels=labels, title=title), epoch)

    def _add_figure(self, tag: str, figure: Figure, epoch: int) -> None:
        # SummaryWriter.add_figure would import pyplot.
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        if self.writer_ is not None:
            self.writer_.add_image(tag, pixels, epoch, dataformats="HWC")


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


def _windows_to_draw(dataset: Any, n: int) -> torch.Tensor | None:
    """Read a few windows, of the last class first, evenly spaced in time."""
    if not isinstance(dataset, Subset) or not isinstance(dataset.dataset, WindowsDataset):
        return None
    rows = np.asarray(dataset.indices)
    labels = np.asarray(dataset.dataset.y)[rows]
    wanted = rows[labels == labels.max()]
    chosen = wanted[np.unique(np.linspace(0, len(wanted) - 1, min(n, len(wanted))).astype(int))]
    return torch.from_numpy(dataset.dataset.windows.read(chosen)).float()


def _attention_maps(module: torch.nn.Module, x: torch.Tensor) -> dict[str, NDArray[Any]]:
    """Return the attention of an early, a middle and a late layer, mean over windows and heads."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            layers = attention_layers(module, x)
            if not layers:
                return {}
            shown = early_middle_late(len(layers))
            chosen = [layers[i] for i in shown.values()]
            with record_attention(module, layers=chosen, reduce=lambda weights: weights.mean(dim=1)) as trace:
                module(x)
        return {name: _map(module, trace.of(layers[i])[0]) for name, i in shown.items()}
    finally:
        module.train(was_training)


def _map(module: Any, record: Any) -> NDArray[Any]:
    """Return one map: by channel where the model says what its tokens are, else by token."""
    weights = record.weights.float().cpu().numpy()
    if record.key_mask is not None:
        absent = ~record.key_mask.cpu().numpy()
        weights = np.where(absent[:, :, None] | absent[:, None, :], np.nan, weights)
    if hasattr(module, "token_layout"):
        layout = module.token_layout()
        weights = channel_attention(weights, layout.n_chans, layout.n_frames)
    return np.ma.masked_invalid(weights).mean(axis=0).filled(np.nan)


def _labels(maps: Mapping[str, NDArray[Any]], info: Any) -> tuple[str, ...] | None:
    names = getattr(info, "ch_names", None)
    return names if names and all(m.shape == (len(names), len(names)) for m in maps.values()) else None


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
    with _naming(folder), SummaryWriter(folder) as writer:
        for name, value in metrics.items():
            writer.add_scalar(f"test/{name}", float(value), epoch)
        if y_true is not None and proba is not None:
            writer.add_pr_curve("precision_recall/test", np.asarray(y_true), np.asarray(proba), epoch)
