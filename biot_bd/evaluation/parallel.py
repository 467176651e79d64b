"""Tasks that are computed side by side by joblib, on the backend that the caller chose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import torch
from sklearn.utils.parallel import Parallel, delayed


class Task(Protocol):
    """A dataclass with all that a worker needs.

    Attributes
    ----------
    threads : int or None
        Threads of torch while it is computed; None leaves them.
    """

    threads: int | None


Outcome = TypeVar("Outcome")


def run_tasks(run: Callable[[Any], Outcome], tasks: Sequence[Any], *, n_jobs: int = 1) -> Iterator[Outcome]:
    """Yield the outcomes of tasks as they come.

    Parameters
    ----------
    run : callable
        ``run(task)``, importable by its name.
    tasks : sequence of Task
    n_jobs : int
        How many at once, in joblib's sense; 1 computes them here, one after another.
    """
    if n_jobs == 1 or len(tasks) < 2:
        yield from map(run, tasks)
        return
    threads = torch.get_num_threads()
    jobs = (delayed(run)(replace(task, threads=threads)) for task in tasks)
    yield from Parallel(n_jobs=n_jobs, return_as="generator_unordered")(jobs)
