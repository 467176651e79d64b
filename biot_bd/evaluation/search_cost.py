"""How long a cross-validation or a nested search will take, from measured windows a second."""

from __future__ import annotations

import math
from dataclasses import dataclass

from biot_bd.number_texts import count_text, duration_text


@dataclass(frozen=True)
class Throughput:
    """What one worker of a machine was measured to do.

    Parameters
    ----------
    training : float
        Windows a second of training steps.
    inference : float
        Windows a second of predictions.
    reading : float or None
        Windows a second that are read; None where the two figures include reading, or where the
        windows lie in the memory of the device.
    preparing : float or None
        Hours of recordings a second that are prepared; None where that is not counted.
    machine : str
        What was measured, and when.

    Raises
    ------
    ValueError
        A figure that is not positive.

    See Also
    --------
    estimate_cost : Takes it.
    measure_throughput : Measures it.

    Examples
    --------
    >>> from biot_bd.evaluation import Throughput
    >>> Throughput(training=48, inference=146, machine="2 threads").reading is None
    True
    """

    training: float
    inference: float
    reading: float | None = None
    preparing: float | None = None
    machine: str = ""

    def __post_init__(self) -> None:
        for name in ("training", "inference", "reading", "preparing"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be a positive number a second, found {value!r}")


@dataclass(frozen=True)
class Cost:
    """Hours of one worker, by what they go to.

    Parameters
    ----------
    fits : int
        Models that are trained.
    training_windows, inference_windows : float
        Windows that pass through training steps, and through predictions.
    preparing_h, reading_h, training_h, inference_h : float
        Hours of one worker.
    n_workers : int
        Among which all but preparing is spread, at most a fit each.
    price : float or None
        Of all hours, in the unit of ``price_an_hour``.

    Attributes
    ----------
    hours : float
        Of all workers together, which is what is paid for.
    wall_h : float
        From beginning to end, were the work spread evenly.

    See Also
    --------
    estimate_cost : Returns it.

    Examples
    --------
    >>> from biot_bd.evaluation import Throughput, estimate_cost
    >>> measured = Throughput(training=100, inference=400)
    >>> print(estimate_cost(measured, n_windows=9000, n_folds=3, epochs=10, n_workers=3))
    3 fits, 25.9 min (training 24.0 min, prediction 1.9 min); 8.6 min with 3 workers
    """

    fits: int
    training_windows: float
    inference_windows: float
    preparing_h: float
    reading_h: float
    training_h: float
    inference_h: float
    n_workers: int = 1
    price: float | None = None

    @property
    def hours(self) -> float:
        """Hours of all workers together."""
        return self.preparing_h + self.reading_h + self.training_h + self.inference_h

    @property
    def wall_h(self) -> float:
        """Hours from beginning to end."""
        return self.preparing_h + (self.hours - self.preparing_h) / min(self.n_workers, max(self.fits, 1))

    def __str__(self) -> str:
        parts = {
            "preparing": self.preparing_h,
            "reading": self.reading_h,
            "training": self.training_h,
            "prediction": self.inference_h,
        }
        told = ", ".join(f"{name} {duration_text(3600 * hours)}" for name, hours in parts.items() if hours > 0)
        wall = f"; {duration_text(3600 * self.wall_h)} with {self.n_workers} workers" if self.n_workers > 1 else ""
        price = "" if self.price is None else f"; price {self.price:,.2f}"
        return f"{count_text(self.fits, 'fit')}, {duration_text(3600 * self.hours)} ({told}){wall}{price}"


def estimate_cost(
    throughput: Throughput,
    *,
    n_windows: int,
    n_folds: int,
    epochs: int,
    n_candidates: int = 0,
    inner_folds: int = 0,
    validation_fraction: float = 0.2,
    recordings_h: float = 0.0,
    n_workers: int = 1,
    price_an_hour: float | None = None,
) -> Cost:
    """Estimate what a cross-validation costs, or a nested search.

    Parameters
    ----------
    throughput : Throughput
        Of one worker.
    n_windows : int
        Windows of all subjects.
    n_folds : int
        Outer folds: the number of subjects in leave-one-subject-out.  1 trains one model on
        everybody, and tests nobody.
    epochs : int
        Epochs that a fit runs; fewer than ``max_epochs`` where it stops early.
    n_candidates : int
        Candidates of a search; 0 for a cross-validation.
    inner_folds : int
        Folds in which each candidate is tried, in each outer fold.
    validation_fraction : float
        Of the windows of a fit, predicted after each epoch; 0 without early stopping.
    recordings_h : float
        Hours of recordings to prepare, once.
    n_workers : int
        Workers side by side.
    price_an_hour : float, optional
        Of a worker; the caller's, in any currency.

    Returns
    -------
    Cost

    Raises
    ------
    ValueError
        Numbers that are none of such a search.

    See Also
    --------
    measure_throughput : Measures what it takes.
    biot_bd.evaluation.search : What is estimated.

    Notes
    -----
    With N windows, K folds, E epochs, C candidates, J inner folds and the share v that validates, a
    fit on n windows trains on ``E (1 - v) n`` windows and predicts ``E v n``.  An outer fit has
    ``n = N (1 - 1/K)`` and predicts ``N / K`` at last; an inner one, of which there are ``K C J``,
    has ``n = N (1 - 1/K) (1 - 1/J)`` and predicts ``N (1 - 1/K) / J``.  Windows over windows a
    second are seconds.  Folds of unequal size change nothing in the sum over leave-one-subject-out.

    Examples
    --------
    >>> from biot_bd.evaluation import Throughput, estimate_cost
    >>> measured = Throughput(training=500, inference=2000)
    >>> once = estimate_cost(measured, n_windows=326_000, n_folds=23, epochs=20)
    >>> grid = estimate_cost(
    ...     measured, n_windows=326_000, n_folds=23, epochs=20, n_candidates=9, inner_folds=3
    ... )
    >>> once.fits, grid.fits, round(once.hours), round(grid.hours)
    (23, 644, 68, 1296)
    """
    _check_counts(n_windows, n_folds, epochs, n_candidates, inner_folds, n_workers)
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"validation_fraction must be from 0 to below 1, found {validation_fraction!r}")
    if not 0 <= recordings_h < math.inf:
        raise ValueError(f"recordings_h must be hours of recordings, found {recordings_h!r}")
    if recordings_h and throughput.preparing is None:
        raise ValueError("recordings_h: the throughput says nothing of preparing; give Throughput(preparing=...)")
    outside = n_windows / n_folds if n_folds > 1 else 0.0
    inside = n_windows - outside
    tried = n_folds * n_candidates * inner_folds
    left_out = inside / inner_folds if inner_folds else 0.0
    seen = epochs * (n_folds * inside + tried * (inside - left_out))
    trained = (1 - validation_fraction) * seen
    predicted = validation_fraction * seen + n_folds * outside + tried * left_out
    hours = {
        "preparing_h": recordings_h / (throughput.preparing or 1.0) / 3600,
        "reading_h": 0.0 if throughput.reading is None else (trained + predicted) / throughput.reading / 3600,
        "training_h": trained / throughput.training / 3600,
        "inference_h": predicted / throughput.inference / 3600,
    }
    price = None if price_an_hour is None else price_an_hour * sum(hours.values())
    return Cost(n_folds + tried, trained, predicted, **hours, n_workers=n_workers, price=price)


def _check_counts(
    n_windows: int, n_folds: int, epochs: int, n_candidates: int, inner_folds: int, n_workers: int
) -> None:
    least = {"n_windows": 0, "n_folds": 1, "epochs": 0, "n_candidates": 0, "inner_folds": 0, "n_workers": 1}
    for name, value in list(locals().items()):
        if name in least and value < least[name]:
            raise ValueError(f"{name} must be at least {least[name]}, found {value!r}")
    if bool(n_candidates) != bool(inner_folds) or inner_folds == 1:
        raise ValueError(
            f"a search has candidates and 2 inner folds or more, found n_candidates={n_candidates}, "
            f"inner_folds={inner_folds}; 0 and 0 for a cross-validation"
        )
