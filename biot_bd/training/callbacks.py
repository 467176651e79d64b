"""Scores by epoch from the epoch's own predictions, and stopping on them."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score
from sklearn.preprocessing import label_binarize
from skorch.callbacks import Callback
from skorch.callbacks import EarlyStopping as SkorchEarlyStopping

from biot_bd.training.object_texts import ParametersRepr


def probabilities(y_pred: Any) -> torch.Tensor:
    """Return the softmax, in float32, of what a module returned (the first of a tuple).

    Parameters
    ----------
    y_pred : tensor (n, n_classes) or tuple of tensors
        Logits.

    Raises
    ------
    ValueError
        The logits are not of shape ``(n, n_classes)`` with two or more classes.
    """
    logits = y_pred[0] if isinstance(y_pred, tuple) else y_pred
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(
            f"the module returned the shape {tuple(logits.shape)}; expected (n, n_classes) with at least two logits "
            "(one logit z is the two logits [0, z])"
        )
    return torch.softmax(logits.float(), dim=1)


def epoch_scores(y: NDArray[np.int64], proba: NDArray[Any]) -> dict[str, float | None]:
    """Score probabilities: average precision, area under the ROC curve, balanced accuracy.

    Parameters
    ----------
    y : ndarray of int, shape (n,)
        True classes, positions in the columns of ``proba``.
    proba : ndarray, shape (n, n_classes)
        Probabilities.  With two classes the second is the positive one; with more the scores are
        means over one against the rest.

    Returns
    -------
    dict
        ``average_precision``, ``roc_auc`` and ``balanced_accuracy`` (most probable class); None
        where a class has no windows and the score is not defined.
    """
    names = ("average_precision", "roc_auc", "balanced_accuracy")
    n_classes = proba.shape[1]
    if len(np.unique(y)) < n_classes:
        return dict.fromkeys(names)
    truth, scores = (y, proba[:, 1]) if n_classes == 2 else (label_binarize(y, classes=np.arange(n_classes)), proba)
    areas = average_precision_score(truth, scores), roc_auc_score(truth, scores)  # means over classes where several
    return dict(zip(names, map(float, (*areas, balanced_accuracy_score(y, proba.argmax(1)))), strict=True))


class EpochScores(ParametersRepr, Callback):
    """Keep the predictions of each epoch and record their scores in the history.

    Training scores come from the predictions made while training (weights changing, dropout on),
    validation scores from the validation pass: no further pass over the data.

    Attributes
    ----------
    train_, valid_ : tuple of ndarray or None
        ``(y, proba)`` of the last epoch: int64 (n,) and float32 (n, n_classes); validation windows
        in their order.

    See Also
    --------
    EarlyStopping : Stops on one of these scores.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.training import BIOTClassifier
    >>> x = np.random.default_rng(0).normal(size=(8, 2, 200)).astype("float32")
    >>> net = BIOTClassifier(
    ...     "shallow", max_epochs=1, train_split=None, device="cpu", random_state=0
    ... )
    >>> row = net.fit(x, [0, 1] * 4).history[
    ...     -1
    ... ]  # BIOTClassifier has the callback without being told
    >>> [
    ...     name
    ...     for name in row
    ...     if name.startswith("train_") and "loss" not in name and "batch" not in name
    ... ]
    ['train_average_precision', 'train_roc_auc', 'train_balanced_accuracy']
    """

    def initialize(self) -> EpochScores:
        """Forget earlier predictions."""
        self.train_: tuple[NDArray[Any], NDArray[Any]] | None = None
        self.valid_: tuple[NDArray[Any], NDArray[Any]] | None = None
        self.collected_: dict[bool, list[tuple[NDArray[Any], NDArray[Any]]]] = {True: [], False: []}
        return self

    def state_dict(self) -> dict[str, Any]:
        """Return what a restart point keeps.

        The last validation predictions, for pictures of the end.
        """
        return {"valid": self.valid_}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up again."""
        self.valid_ = state.get("valid")

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Start anew."""
        self.collected_ = {True: [], False: []}

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, y_pred: Any = None, **kwargs: Any
    ) -> None:
        """Keep the batch's labels and probabilities."""
        proba = probabilities(y_pred).detach().cpu().numpy()
        y = np.asarray(batch[1])
        self.collected_[training].append((y.argmax(axis=1) if y.ndim == 2 else y, proba))

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Score both parts."""
        for training, part in ((True, "train"), (False, "valid")):
            pieces = self.collected_[training]
            if not pieces:
                continue
            y, proba = (np.concatenate(column) for column in zip(*pieces, strict=True))
            setattr(self, f"{part}_", (y, proba))
            for name, value in epoch_scores(y, proba).items():
                net.history.record(f"{part}_{name}", value)
        self.collected_ = {True: [], False: []}


class EarlyStopping(ParametersRepr, SkorchEarlyStopping):
    """Early stopping of skorch without its ``KeyboardInterrupt``.

    The classifier looks at ``misses_`` itself, so that later callbacks (logging, restart points)
    still see the last epoch, and a real Ctrl-C stays one.

    Parameters
    ----------
    monitor : str
        Column of the history that is watched.
    patience : int
        Epochs without a better value after which training stops.
    threshold : float
        How much better counts as better.
    threshold_mode : {"rel", "abs"}
        Whether ``threshold`` is a share of the best value so far, or a difference to it.
    lower_is_better : bool
        Whether less is better.
    sink : callable
        What the message about stopping is given to.
    load_best : bool
        Whether the module gets the weights of the best epoch when training ends.

    See Also
    --------
    biot_bd.training.BIOTClassifier : Makes it of ``monitor`` and ``patience``.

    Examples
    --------
    >>> from biot_bd.training import EarlyStopping
    >>> EarlyStopping("valid_roc_auc", patience=3, lower_is_better=False).patience
    3
    """

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Compare the epoch with the best one.

        Raises
        ------
        ValueError
            The history has no such score, or it is not defined.
        """
        found = net.history[-1].get(self.monitor)
        if found is None or not np.isfinite(found):
            known = sorted(k for k, v in net.history[-1].items() if isinstance(v, float) and not k.startswith("dur"))
            raise ValueError(
                f"early stopping watches {self.monitor!r}, which is {found} after epoch {len(net.history)}; "
                f"there are: {', '.join(known)}. Choose another monitor, or patience=None"
            )
        with contextlib.suppress(KeyboardInterrupt):
            super().on_epoch_end(net, **kwargs)
