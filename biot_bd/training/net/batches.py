"""How windows reach a net: subjects of windows, batches, on a GPU scaled there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Subset

from biot_bd.training._validation import plain_scalar
from biot_bd.training.input_data import SignalData
from biot_bd.training.net.module import NetModule
from biot_bd.training.sampling.strategies import PAGE_SHUFFLE
from biot_bd.windows.page_shuffle import beyond_memory
from biot_bd.windows.torch_dataset import HeldDataset, OnDevice, collate_windows


def subjects_given(data: SignalData, groups: ArrayLike | None) -> NDArray[Any] | None:
    """Return the subject of each window: those that are given, else those that the data carry.

    Raises
    ------
    ValueError
        Not one a window, one missing, or others than those that the data carry.
    """
    if groups is None:
        return data.groups
    masked = np.ma.getmaskarray(groups) if np.ma.isMaskedArray(groups) else False
    given = np.asarray(groups, dtype=object)
    if given.shape != (len(data),):
        raise ValueError(f"groups must name one subject a window: expected shape ({len(data)},), found {given.shape}")
    missing = masked | pd.isna(given)
    if missing.any():
        window = int(np.argmax(missing))
        raise ValueError(
            f"training window {window} has no subject in groups ({given[window]!r}{', masked' if np.any(masked) else ''})"
        )
    if data.groups is not None and not np.array_equal(given.astype(str), data.groups.astype(str)):
        raise ValueError("groups differ from the subjects that the Windows carry; leave groups out")
    return given


class NetBatches(NetModule):
    """Batches of a net."""

    sampler: Any

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True  # a channel that is NaN throughout is absent
        return tags

    def _checked_data(self, X: Any) -> SignalData:
        """Return windows that are like those of ``fit`` and that the module can take."""
        data = X if isinstance(X, SignalData) else SignalData(X)
        known = self._input()
        if known is not None:
            known.check_same(data.info)
        self._check_absent(data)
        return data

    def _by_pages(self, windows: Any) -> bool:
        """Return whether windows are shuffled by where they lie.

        Unasked only those that no memory can hold.
        """
        if self.sampler is not None:
            return isinstance(self.sampler, str) and self.sampler == PAGE_SHUFFLE
        given = vars(self)
        own = given.get("iterator_train__sampler") or given.get("iterator_train__batch_sampler")
        return bool(given.get("iterator_train__shuffle")) and own is None and beyond_memory(windows)

    def _scales_on_device(self) -> bool:
        """Return whether windows travel as they are stored and are scaled on the device.

        On a GPU.
        """
        return torch.device(self.device).type == "cuda"

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        """Return the parameters with a prefix.

        Iterators read whole batches unless they are told otherwise.  Scalars of numpy (of a random
        search) become Python's: torch's loaders take no others.
        """
        params = {key: plain_scalar(value) for key, value in super().get_params_for(prefix).items()}
        if not prefix.startswith("iterator_"):
            return params
        return {
            "batch_size": plain_scalar(self.batch_size),
            "collate_fn": collate_windows,
            "pin_memory": self._scales_on_device(),
            **params,
        }

    def get_iterator(self, dataset: Any, training: bool = False, **kwargs: Any) -> Any:
        """Return batches of a data set, on a GPU where the model is there."""
        loader = super().get_iterator(dataset, training=training, **kwargs)
        whole = dataset.dataset if isinstance(dataset, Subset) else dataset
        on_device = self._scales_on_device() or isinstance(whole, HeldDataset)
        return OnDevice(loader, self.device) if on_device else loader
