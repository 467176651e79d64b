"""How a pretraining goes, on a terminal: a bar of batches, a line an epoch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from skorch.callbacks import Callback

from biot_bd.runs import note_done
from biot_bd.training.object_texts import ParametersRepr

SHOWN = ("loss", "chance", "skill", "skill_strict")


class TrainingProgress(ParametersRepr, Callback):
    """Show epochs and batches with the loss, its chance level and skill, on stderr.

    Nothing where the net's ``verbose`` is 0.  Where stderr is no terminal there is no bar, only a
    line an epoch.

    See Also
    --------
    biot_bd.Pretrainer : Has it without being told.

    Examples
    --------
    >>> from biot_bd.pretraining.progress import epoch_line
    >>> row = {
    ...     "epoch": 3,
    ...     "train_loss": 2.5,
    ...     "valid_loss": 2.25,
    ...     "valid_chance": 4.159,
    ...     "dur": 1.5,
    ... }
    >>> epoch_line(row, n_epochs=20)
    'epoch  3 of 20  train loss 2.5  valid loss 2.25  chance 4.159  1.5 s'
    """

    def initialize(self) -> TrainingProgress:
        """Begin without a bar."""
        self.bar_: Any = None
        return self

    def state_dict(self) -> dict[str, Any]:
        """Return what a restart point keeps: nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up again."""

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "bar_": None}

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Count the epochs that are planned."""
        self.stop()
        self.planned_ = len(net.history) + net.max_epochs

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Begin the epoch's bar."""
        if not net.verbose:
            return
        if self.bar_ is None and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self.bar_ = Progress(*columns, console=Console(stderr=True), transient=True)
            self.task_ = self.bar_.add_task("")
            self.bar_.start()
        if self.bar_ is not None:
            number = f"epoch {len(net.history)}{_last_words(net.history[-2] if len(net.history) > 1 else {})}"
            self.bar_.reset(self.task_, description=number, total=net.batches_an_epoch_)

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Count a batch of training or of validation."""
        if self.bar_ is not None:
            self.bar_.advance(self.task_)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Say how the epoch was."""
        note_done("epochs", len(net.history), self.planned_)
        if net.verbose:
            print(epoch_line(net.history[-1], self.planned_), file=sys.stderr)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Take the bar away."""
        self.stop()

    def stop(self) -> None:
        """Take the bar away, also where a fit ended by an error."""
        if self.bar_ is not None:
            self.bar_.stop()
        self.bar_ = None


def epoch_line(row: Mapping[str, Any], n_epochs: int) -> str:
    """Return one line about an epoch of a history.

    Parameters
    ----------
    row : mapping
        Of the history.
    n_epochs : int
        Epochs that are planned.
    """
    side = "valid" if "valid_loss" in row else "train"
    words = [f"epoch {row['epoch']:{len(str(n_epochs))}d} of {n_epochs}", f"train loss {row['train_loss']:.4g}"]
    for key in SHOWN:
        words += [
            f"{_word(name, side)} {value:.4g}"
            for name, value in row.items()
            if isinstance(value, float) and _is(name, key, side)
        ]
    return "  ".join([*words, *([f"{row['dur']:.1f} s"] if "dur" in row else [])])


def _is(name: str, key: str, side: str) -> bool:
    if name == "train_loss":
        return False
    return name.startswith(f"{side}_") and (name == f"{side}_{key}" or name.endswith(f"_{key}"))


def _word(name: str, side: str) -> str:
    words = name.removeprefix(f"{side}_").replace("_", " ")
    return f"valid {words}" if words == "loss" else words


def _last_words(row: Mapping[str, Any]) -> str:
    found = [f"{key} {row[f'valid_{key}']:.3g}" for key in SHOWN if isinstance(row.get(f"valid_{key}"), float)]
    return f" ({', '.join(found)})" if found else ""
