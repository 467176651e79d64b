"""What ``biot-bd search --dry-run`` says: how many fits there are, and how long they take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from biot_bd import Windows


def hours_left(
    planned: Mapping[str, int | None], run: Path, first: Pipeline, windows: Windows, validation_fraction: float
) -> tuple[float | None, str]:
    """Return how long the fits that are left take, and what that rests on."""
    from biot_bd.evaluation import estimate_cost, measure_throughput
    from biot_bd.training import BIOTClassifier

    fits, outer = planned["inner_fits"] or 0, planned["outer_fits"] or 0
    if outer and planned["outer_done"] == outer:
        return 0.0, f"all folds lie in {run}"  # pruned candidates leave inner fits that nobody makes
    inner_s, outer_s = (_mean_wall_s(run, pattern) for pattern in ("search/fold-*/c*.json", "folds/*/fold.json"))
    if inner_s is not None:
        # An outer fit has more subjects than an inner one, and scores events besides.
        left_s = (fits - (planned["inner_done"] or 0)) * inner_s
        left_s += (outer - (planned["outer_done"] or 0)) * (outer_s or 2 * inner_s)
        return left_s / 3600, f"by the fits that lie in {run}, {inner_s:.3g} s an inner one"
    if not isinstance(first[-1], BIOTClassifier) or not fits:
        return None, f"no fit lies in {run} yet: begin, stop with Ctrl-C after some (they are kept), and ask again"
    n_inner = max(2, planned["inner_folds"] or 0)
    cost = estimate_cost(
        measure_throughput(first, windows),
        n_windows=len(windows),
        n_folds=outer,
        epochs=first[-1].max_epochs,
        n_candidates=max(1, round(fits / n_inner / outer)),
        inner_folds=n_inner,
        validation_fraction=validation_fraction,
    )
    return (
        cost.hours,
        "the first candidate on a few windows, every epoch of every fit; training that stops early, and halving, need less",
    )


def _mean_wall_s(run: Path, pattern: str) -> float | None:
    """Return the mean seconds of the fits that lie in a run, None where none does."""
    from biot_bd.runs import read_json

    seconds = [float(read_json(path)["wall_s"]) for path in run.glob(pattern)]
    return sum(seconds) / len(seconds) if seconds else None


def show(
    planned: Mapping[str, int | None], left: tuple[float | None, str], run: Path, jobs: int | None, *, json: bool
) -> None:
    """Say how many fits there are, and how long they take."""
    from biot_bd.commands._output import print_json
    from biot_bd.number_texts import count_text, duration_text

    hours, rests_on = left
    if json:
        print_json({**planned, "hours_left": hours, "rests_on": rests_on, "folder": run})
        return
    counts = {name: 0 if n is None else n for name, n in planned.items()}
    candidates = (
        "candidates that follow from scores"
        if planned["candidates"] is None
        else count_text(counts["candidates"], "candidate")
    )
    typer.echo(
        f"{count_text(counts['outer_folds'], 'outer fold')}, {candidates}, {count_text(counts['inner_folds'], 'inner fold')} each:\n"
        f"at most {count_text(counts['inner_fits'], 'inner fit')} ({counts['inner_done']} done), then "
        f"{count_text(counts['outer_fits'], 'fit')} of what is chosen ({counts['outer_done']} done)"
    )
    if hours is None:
        typer.echo(f"time: not known, {rests_on}")
        return
    if hours == 0:
        typer.echo("time: none, all is done; the command itself writes the page")
        return
    together = (
        ""
        if jobs in (None, 1, -1)
        else f"; {duration_text(3600 * hours / jobs)} with {jobs} at once, where they do not slow each other"
    )
    typer.echo(f"time: about {duration_text(3600 * hours)} one after another{together} ({rests_on})")
