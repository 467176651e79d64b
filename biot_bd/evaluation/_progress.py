"""A progress bar over folds, and over the epochs of the fold that runs in this process."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from biot_bd.evaluation.run_facts import FoldFacts
from biot_bd.number_texts import score_text
from biot_bd.runs import note_done


class _EpochColumn(ProgressColumn):
    """Reads the epoch from the net being trained whenever the bar is drawn.

    Costs the training nothing.
    """

    net: Any = None

    def render(self, task: Task) -> Text:
        history = getattr(self.net, "history_", None)
        if not history or task.finished:
            return Text("")
        return Text(f"epoch {len(history)} of {getattr(self.net, 'max_epochs', '?')}")


class FoldProgress(Progress):
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
        self._epochs = _EpochColumn()
        columns = (TextColumn("folds"), BarColumn(), MofNCompleteColumn(), self._epochs, TimeElapsedColumn())
        super().__init__(*columns, console=Console(stderr=True), disable=not show)
        self._folds = self.add_task("folds", total=n_folds, completed=already)
        self._n_done, self._n_folds = already, n_folds
        note_done("folds", already, n_folds)
        if already:
            self._say(f"{already} of {n_folds} folds were finished before")

    def watch(self, net: Any) -> None:
        """Show the epochs of ``net`` (with ``history_``) from now on."""
        self._epochs.net = net

    def fold_finished(self, facts: FoldFacts) -> None:
        """Count a fold (the content of its ``fold.json``) as finished."""
        self.watch(None)
        self.advance(self._folds)
        self._n_done += 1
        note_done("folds", self._n_done, self._n_folds)
        note_done("epochs", 0, 0)  # those of the next fold are yet to come
        scores = facts["scores"]["pooled"]
        prevalence = f" (prevalence {score_text(scores.get('prevalence'))})"
        shown = [
            f"{name.replace('_', ' ')} {score_text(value['value'])}{prevalence if name == 'average_precision' else ''}"
            for name, value in scores.items()
            if isinstance(value, dict) and value["value"] is not None
        ]
        tested = ", ".join(facts["test"][:4]) + (" ..." if len(facts["test"]) > 4 else "")
        self._say(f"fold {facts['fold']}, test {tested}: {', '.join(shown) or 'no score'} ({facts['wall_s']:.0f} s)")

    def _say(self, line: str) -> None:
        if not self.disable:
            self.console.print(line, highlight=False, markup=False)
