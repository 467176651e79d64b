"""What a classifier does for its parameters ``sampler`` and ``augment``: which training windows, and how changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from braindecode import EEGClassifier
from numpy.typing import NDArray
from skorch.dataset import unpack_data
from skorch.utils import to_tensor

from biot_bd.training.sampling.augmentation import build_augmenter, describe_augment, resolve_augment
from biot_bd.training.sampling.strategies import PAGE_SHUFFLE, make_epochs, resolve_sampler
from biot_bd.windows import Windows
from biot_bd.windows.page_shuffle import PageShuffle, beyond_memory


def training_note(sampler: Any, augment: Any) -> str | None:
    """Return what a reader of training scores must know, or None where they are of all training windows as they are."""
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


class Drawn(EEGClassifier):
    """Draw training windows and change them; see :class:`biot_bd.training.BIOTClassifier`."""

    sampler: Any
    augment: Any
    _epochs: tuple[Any, Any] | None = None
    _drawing = False
    _augmenter: Any = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; skorch would take a transform for a part of the net."""
        if name == "augment":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def _check_drawing(self) -> None:
        resolve_augment(self.augment)
        if resolve_sampler(self.sampler) is None:
            return
        taken = [name for name in ("sampler", "batch_sampler") if f"iterator_train__{name}" in vars(self)]
        if taken:
            raise ValueError(f"give either sampler or iterator_train__{taken[0]}, not both")

    def _make_epochs(self, train: Any, groups: Any) -> Any:
        """Return the torch sampler over the training windows, or None."""
        windows = getattr(getattr(train.dataset, "windows", None), "windows", None)
        if isinstance(windows, Windows) and self._by_pages(windows):
            return PageShuffle(windows, positions=train.indices)
        subjects = None if groups is None else np.asarray(groups, dtype=object)[train.indices]
        return make_epochs(self.sampler, training_targets(train), subjects)

    def _by_pages(self, windows: Any) -> bool:
        """Return whether windows are shuffled by where they lie; unasked only those that no memory can hold."""
        if self.sampler is not None:
            return isinstance(self.sampler, str) and self.sampler == PAGE_SHUFFLE
        given = vars(self)
        own = given.get("iterator_train__sampler") or given.get("iterator_train__batch_sampler")
        return bool(given.get("iterator_train__shuffle")) and own is None and beyond_memory(windows)

    def get_iterator(self, dataset: Any, training: bool = False, **kwargs: Any) -> Any:
        """Return batches of a data set; those of the training windows of a running fit come from the sampler."""
        self._drawing = training and self._epochs is not None and dataset is self._epochs[0]
        try:
            return super().get_iterator(dataset, training=training, **kwargs)
        finally:
            del self._drawing

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        """Return the parameters with a prefix; the sampler takes the place of shuffling."""
        params = super().get_params_for(prefix)
        if not self._drawing or self._epochs is None or prefix != "iterator_train":
            return params
        epochs = self._epochs[1]
        if params.get("batch_size", self.batch_size) == -1:
            params["batch_size"] = len(epochs)
        return {**{k: v for k, v in params.items() if k != "shuffle"}, "sampler": epochs}

    def _train(self, data: Any, train: Any, valid: Any, groups: Any, seed: int | None) -> None:
        # Models of braindecode raise where they were not told their rate.
        sfreq = None if self.augment is None else getattr(self.module_, "sfreq", None)
        self._augmenter = build_augmenter(self.augment, data.info, bool(data.present.all()), sfreq)
        epochs = self._make_epochs(train, groups)
        self._epochs = None if epochs is None else (train, epochs)
        by_pages = isinstance(epochs, PageShuffle)
        self.training_note_ = training_note(PAGE_SHUFFLE if by_pages else self.sampler, self.augment)
        try:
            super()._train(data, train, valid, groups, seed)  # type: ignore[misc]
        finally:
            self._epochs = self._augmenter = None

    def _fit_facts(self, *args: Any) -> dict[str, Any]:
        facts = super()._fit_facts(*args)  # type: ignore[misc]
        facts["parameters"]["augment"] = describe_augment(self.augment)
        return facts

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Begin an epoch; its row in the history says where training scores are not of plain training windows."""
        super().on_epoch_begin(net, **kwargs)
        drawn = None if isinstance(self.sampler, str) and self.sampler == PAGE_SHUFFLE else self.sampler
        parts = [word for word, given in (("sampled", drawn), ("augmented", self.augment)) if given is not None]
        if parts:
            self.history.record("train_scores_on", " and ".join(parts))

    def train_step_single(self, batch: Any, **fit_params: Any) -> Any:
        """Compute loss and gradients of a batch, of changed windows where ``augment`` says so."""
        if self._augmenter is None:
            return super().train_step_single(batch, **fit_params)
        x, y = unpack_data(batch)
        with torch.no_grad():
            changed = self._augmenter(to_tensor(x, device=self.device))
        return super().train_step_single((changed, y), **fit_params)
