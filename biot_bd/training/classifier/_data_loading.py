"""How windows reach a classifier: whole batches, scaled on the device where that is a GPU."""

from __future__ import annotations

from typing import Any

import torch
from braindecode import EEGClassifier
from numpy.typing import ArrayLike
from torch.utils.data import Subset

from biot_bd.training.input_data import SignalData, encode_labels
from biot_bd.windows.torch_dataset import OnDevice, WindowsDataset, collate_windows


class Fed(EEGClassifier):
    """Data sets and loaders of a classifier; see :class:`biot_bd.training.BIOTClassifier`."""

    def get_dataset(self, X: Any, y: ArrayLike | None = None) -> Any:
        """Return a torch data set that reads batches of ``X``; a data set passes through.

        Raises
        ------
        TypeError, ValueError
            See :class:`biot_bd.training.input_data.SignalData`; also data unlike those of ``fit``.
        """
        if isinstance(X, (WindowsDataset, Subset)):
            return X
        data = X if isinstance(X, SignalData) else SignalData(X)
        if hasattr(self, "input_info_"):
            self.input_info_.check_same(data.info)
        if not data.present.all():
            module = getattr(self, "module_", None) or self._module_class()
            if not getattr(module, "accepts_absent_channels", False):
                data.refuse_absent(module.__name__ if isinstance(module, type) else type(module).__name__)
        targets = None if y is None else encode_labels(y, self.classes_)
        return data.dataset(targets, packed=self._unpacks())

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        """Return the parameters with a prefix; iterators read whole batches unless they are told otherwise."""
        params = super().get_params_for(prefix)
        if not prefix.startswith("iterator_"):
            return params
        return {"collate_fn": collate_windows, "pin_memory": self._unpacks(), **params}

    def _unpacks(self) -> bool:
        """Return whether windows travel as they are stored and are scaled on the device: on a GPU."""
        return torch.device(self.device).type == "cuda"

    def get_iterator(self, dataset: Any, training: bool = False, **kwargs: Any) -> Any:
        """Return batches of a data set, on a GPU where the model is there."""
        loader = super().get_iterator(dataset, training=training, **kwargs)
        return OnDevice(loader, self.device) if self._unpacks() else loader
