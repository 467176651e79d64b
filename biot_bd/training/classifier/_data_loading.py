"""How windows reach a classifier.

Data sets, the training windows of an epoch, batches, on a GPU scaled there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Subset

from biot_bd.training.classifier._facts import FactKeeping
from biot_bd.training.labels import encode_labels
from biot_bd.training.sampling.augmentation import describe_augment, resolve_augment
from biot_bd.training.sampling.strategies import PAGE_SHUFFLE, make_epochs, resolve_sampler
from biot_bd.training.soft_targets import are_soft, read_targets
from biot_bd.windows import Windows
from biot_bd.windows.device_signals import put_windows, windows_there
from biot_bd.windows.page_shuffle import PageShuffle
from biot_bd.windows.torch_dataset import HeldDataset, WindowsDataset


def training_note(sampler: Any, augment: Any) -> str | None:
    """Return what a reader of training scores must know, or None where they are of all training
    windows as they are.
    """
    parts = []
    by_pages = isinstance(sampler, str) and sampler == PAGE_SHUFFLE
    if sampler is not None and not by_pages:
        parts.append(f"epochs drawn by sampler={sampler!r}")
    if augment is not None:
        names = [step["name"].rpartition(":")[2] for step in describe_augment(augment)]
        shown = f"{augment!r} ({', '.join(names)})" if isinstance(augment, str) else ", ".join(names)
        parts.append(f"windows changed by augment={shown}")
    said = [f"windows shuffled by where they lie (sampler={sampler!r}), each once an epoch"] if by_pages else []
    if parts:
        said.append(f"training scores are of {' and '.join(parts)}; validation and test windows are as they are")
    return "; ".join(said) or None


def training_targets(train: Any) -> NDArray[np.int64]:
    """Return the targets of the training windows, positions in the classes."""
    return np.asarray(train.dataset.y)[np.asarray(train.indices)]


class DataLoading(FactKeeping):
    """Data sets, samplers and loaders of a classifier.

    See :class:`biot_bd.training.BIOTClassifier`.
    """

    augment: Any
    data_on_device: Any
    _fit_epochs: tuple[Any, Any] | None = None  # the training windows of a running fit, and their sampler
    _loads_fit = False

    def _check_sampling(self) -> None:
        resolve_augment(self.augment)
        if resolve_sampler(self.sampler) is None:
            return
        taken = [name for name in ("sampler", "batch_sampler") if f"iterator_train__{name}" in vars(self)]
        if taken:
            raise ValueError(f"give either sampler or iterator_train__{taken[0]}, not both")

    def get_dataset(self, X: Any, y: ArrayLike | None = None) -> Any:
        """Return a torch data set that reads batches of ``X``; one that this made passes through.

        ``y`` are labels, or soft targets with a column a class, as in ``classes_``.

        Raises
        ------
        TypeError, ValueError
            See :class:`biot_bd.training.input_data.SignalData`; also data unlike those of ``fit``.
        """
        if isinstance(X.dataset if isinstance(X, Subset) else X, WindowsDataset):
            return X
        data = self._checked_data(X)
        packed = self._scales_on_device()
        if are_soft(y):
            soft = read_targets(y)[:, self._outputs.astype(np.int64)]
            return data.dataset(soft.argmax(axis=1), packed, soft)
        dataset = data.dataset(None if y is None else encode_labels(y, self._outputs), packed)
        there = windows_there(data, self.device) if self.data_on_device else None
        return dataset if there is None else HeldDataset(data, dataset.y, None, there)

    def _put_on_device(self, dataset: Any) -> Any:
        """Return the data set of a fit, its windows on the device where they shall lie there."""
        if isinstance(dataset, HeldDataset):
            return dataset
        there = put_windows(dataset.windows, self.device, self.data_on_device)
        return dataset if there is None else HeldDataset(dataset.windows, dataset.y, dataset.soft, there)

    def _make_epochs(self, train: Any, groups: Any) -> Any:
        """Return the torch sampler over the training windows, or None."""
        windows = getattr(getattr(train.dataset, "windows", None), "windows", None)
        if isinstance(windows, Windows) and self._by_pages(windows):
            read_ahead = not isinstance(train.dataset, HeldDataset)
            return PageShuffle(windows, positions=train.indices, read_ahead=read_ahead)
        subjects = None if groups is None else np.asarray(groups, dtype=object)[train.indices]
        return make_epochs(self.sampler, training_targets(train), subjects)

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        """Return the parameters with a prefix.

        Those of a running fit take its sampler in the place of shuffling.
        """
        params = super().get_params_for(prefix)
        if not prefix.startswith("iterator_"):
            return params
        if prefix == "iterator_valid" and not self._runs_fit():
            # A loader draws a number even where nothing is shuffled.
            params.setdefault("generator", torch.Generator())
        if not self._loads_fit or self._fit_epochs is None or prefix != "iterator_train":
            return params
        epochs = self._fit_epochs[1]  # in the place of shuffling
        if params.get("batch_size", self.batch_size) == -1:
            params["batch_size"] = len(epochs)
        return {**{k: v for k, v in params.items() if k != "shuffle"}, "sampler": epochs}

    def get_iterator(self, dataset: Any, training: bool = False, **kwargs: Any) -> Any:
        """Return batches of a data set, on a GPU where the model is there.

        Those of a running fit come from its sampler.
        """
        self._loads_fit = training and self._fit_epochs is not None and dataset is self._fit_epochs[0]
        if getattr(dataset.dataset if isinstance(dataset, Subset) else dataset, "soft", None) is not None:
            kwargs["drop_index"] = False  # braindecode's loader, which drops indices, makes whole numbers of targets
        try:
            return super().get_iterator(dataset, training=training, **kwargs)
        finally:
            del self._loads_fit
