"""How a net makes its callbacks: checked, named, with files of their own in a clone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from sklearn.metrics import get_scorer_names
from skorch import NeuralNet
from skorch.callbacks import Callback, EpochScoring, InputShapeSetter, ParamMapper, PrintLog

from biot_bd import registry
from biot_bd.exceptions import UnknownNameError
from biot_bd.training._validation import did_you_mean, plain_scalar
from biot_bd.training.net.parameters import NetParameters
from biot_bd.training.private_paths import private_callbacks
from biot_bd.training.scorers import is_scorer_name
from biot_bd.training.tensorboard import with_folder_of


class EpochTable(PrintLog):
    """Prints the table of epochs on stderr, where ``verbose`` asks for it.

    Stdout belongs to results.
    """

    def _sink(self, text: str, verbose: int) -> None:
        if verbose:
            print(text, file=sys.stderr)


def _plain_epoch(item: Any) -> None:
    """Make the epoch of a ``Freezer`` and its like Python's number: skorch calls any other."""
    callback = item[1] if isinstance(item, (tuple, list)) and len(item) == 2 else item
    if isinstance(callback, ParamMapper):
        callback.at = plain_scalar(callback.at)


class NetCallbacks(NetParameters):
    """Callbacks of a net: its own, and those that are given."""

    _own_callbacks_only = False  # while a saved model is loaded
    _callbacks_wait = False
    callbacks_: list[tuple[str, Any]]

    def initialize_callbacks(self) -> Any:
        """Make the callbacks; those of a loaded model wait until it is trained on."""
        given = self.callbacks
        if self._own_callbacks_only:
            self.__dict__["callbacks"] = None
        try:
            for callback in self._given_callbacks():
                _plain_epoch(callback)
            super().initialize_callbacks()
        finally:
            self.__dict__["callbacks"] = given
        if self._place is not None:
            made = [(name, with_folder_of(callback, self)) for name, callback in self.callbacks_]
            self.callbacks_ = private_callbacks(made, self._place)
        self._callbacks_wait = self._own_callbacks_only and bool(given)
        return self

    def _start_waiting_callbacks(self) -> None:
        """Start the given callbacks of a loaded model, beside those that it has."""
        if self._callbacks_wait:
            made = dict(self.callbacks_)
            self.initialize_callbacks()
            self.callbacks_ = [(name, made.get(name, callback)) for name, callback in self.callbacks_]

    def _yield_callbacks(self) -> Iterator[tuple[str, Any, bool]]:
        given, self.__dict__["callbacks"] = self.callbacks, self._given_callbacks()
        try:
            found = list(NeuralNet._yield_callbacks(self))
        finally:
            self.__dict__["callbacks"] = given
        for name, callback, named in found:
            if not isinstance(callback, str):
                yield name, callback, named
            elif callback in registry.callbacks:
                yield (name if named else callback), registry.callbacks[callback], True
            elif is_scorer_name(callback):
                yield from self._both_sides(name if named else callback, callback)
            else:
                known = [*registry.callbacks, *get_scorer_names()]
                raise UnknownNameError(
                    f"callbacks: {callback!r} is neither a callback ({', '.join(registry.callbacks)}) nor a scorer of scikit-learn"
                    f"{did_you_mean(callback, known)}"
                )

    def _both_sides(self, name: str, scorer: str) -> Iterator[tuple[str, Any, bool]]:
        """Yield the callbacks that score training and validation windows, as braindecode's names
        do.
        """
        sides = ("train",) if self.train_split is None else ("train", "valid")
        for side in sides:
            scoring = EpochScoring(scorer, lower_is_better=False, on_train=side == "train", name=f"{side}_{name}")
            yield f"{side}_{name}", scoring, True

    def _check_callbacks(self) -> None:
        """Raise where a callback cannot work here, before anything is trained."""
        if self.callbacks == "disable":
            return
        for item in self._given_callbacks():
            callback = item[1] if isinstance(item, (tuple, list)) and len(item) == 2 else item
            kind = callback if isinstance(callback, type) else type(callback)
            if not isinstance(callback, str) and callback is not None and not issubclass(kind, Callback):
                raise ValueError(
                    f"callbacks: found {item!r}; expected callbacks of skorch, names, or pairs (name, callback)"
                )
            if issubclass(kind, InputShapeSetter):
                raise ValueError(
                    "callbacks: InputShapeSetter builds the module anew when training has begun; leave it out: the module is "
                    "given n_chans, n_times, n_outputs, sfreq and ch_names of the data by itself"
                )
            if isinstance(callback, EpochScoring) and callback.on_train and not callback.use_caching:
                raise ValueError(
                    f"callbacks: {kind.__name__} would predict the training windows once more after each epoch; take "
                    "EpochScoring(on_train=True), which scores the predictions made while training"
                )
        for name, _, _ in self._yield_callbacks():
            if not isinstance(name, str):
                raise ValueError(f"callbacks: a name must be a text, found {name!r}")
