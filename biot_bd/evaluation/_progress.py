"""A progress bar over folds, and over the epochs of the fold that runs in this process."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from biot_bd.evaluation.run_facts import FoldFacts


class _EpochColumn(ProgressColumn):
    """Reads the epoch from the net being trained whenever the bar is drawn; costs the training nothing."""

    net: Any = None

    def render(self, task: Task) -> Text:
        history = getattr(self.net, "history_", None)
        if not history or task.finished:
            return Text("")
        return Text(f"epoch {len(history)} of {getattr(self.net, 'max_epochs', '?')}")


class FoldProgress:
    """Shows how many folds are finished; one line for each on stderr.

    Parameters
    ----------
    n_folds : int
    already : int
        Folds that an earlier call finished.
    show : bool
        False shows nothing.
    """

    def __init__(self, n_folds: int, already: int = 0, show: bool = True) -> None:
        self.n_folds = n_folds
        self.already = already
        self._epochs = _EpochColumn()
        self._progress = Progress(
            TextColumn("folds"),
            BarColumn(),
            MofNCompleteColumn(),
            self._epochs,
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not show,
        )

    def __enter__(self) -> FoldProgress:
        self._progress.start()
        self._task = self._progress.add_task("folds", total=self.n_folds, completed=self.already)
        if self.already:
            self._say(f"{self.already} of {self.n_folds} folds were finished before")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def watch(self, net: Any) -> None:
        """Show the epochs of ``net`` (with ``history_``) from now on."""
        self._epochs.net = net

    def finished(self, facts: FoldFacts) -> None:
        """Count a fold (the content of its ``fold.json``) as finished."""
        self.watch(None)
        self._progress.advance(self._task)
        scores = facts["scores"]["pooled"]
        shown = [
            f"{name.replace('_', ' ')} {value['value']:.3f}"
            for name, value in scores.items()
            if isinstance(value, dict) and value["value"] is not None
        ]
        tested = ", ".join(facts["test"][:4]) + (" ..." if len(facts["test"]) > 4 else "")
        self._say(f"fold {facts['fold']}, test {tested}: {', '.join(shown) or 'no score'} ({facts['wall_s']:.0f} s)")

    def _say(self, line: str) -> None:
        if not self._progress.disable:
            self._progress.console.print(line, highlight=False, markup=False)
