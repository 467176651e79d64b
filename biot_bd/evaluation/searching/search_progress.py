"""A progress bar over the fits of a search."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from biot_bd.evaluation.searching.trial import TrialOutcome
from biot_bd.runs import note_done


class SearchProgress(Progress):
    """Shows how many fits of the rounds so far are finished, on stderr.

    Parameters
    ----------
    show : bool
        False shows nothing.
    """

    def __init__(self, show: bool = True) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        super().__init__(*columns, console=Console(stderr=True), disable=not show)
        self._fits = self.add_task("search", total=0)
        self._n_rounds = self._n_done = self._n_fits = self._n_failed = 0
        note_done("fits of the search", 0, 0)

    def round_begins(self, n_fits: int, already: int) -> None:
        """Add a round, of which some fits are there already."""
        self._n_rounds += 1
        self._n_fits += n_fits
        self._n_done += already
        self._show()

    def trial_finished(self, outcome: TrialOutcome) -> None:
        """Count a fit as finished."""
        self._n_done += 1
        self._n_failed += outcome.state != "finished"
        self._show()

    def _show(self) -> None:
        failed = f", {self._n_failed} failed" if self._n_failed else ""
        text = f"search, round {self._n_rounds}{failed}"
        self.update(self._fits, description=text, total=self._n_fits, completed=self._n_done)
        note_done("fits of the search", self._n_done, self._n_fits)
