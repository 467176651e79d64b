"""What an exported model must pass before it is written: the numbers of the model it came from.

A gate compares a candidate (an engine in a precision) with a reference (the model in torch,
float32), on generated windows, on windows of validation subjects where there are some, and with
itself: one window must get one result, wherever it stands in a batch and whoever stands beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biot_bd.exceptions import ExportGateError
from biot_bd.export.artifact import BOUNDS
from biot_bd.export.gate_inputs import LOUDER, GateInputs, make_inputs

COMPANY_SHARE = 0.2
"""Share of the bound by which a window's result may move with its place or company in a batch.

Kernels add in another order for another batch size, so 0 is not possible; but what moves more than
a part of the rounding is not rounding.
"""
LEAST_AGREEMENT = 0.995
"""Share of decisions on validation windows that must stay as they are."""
LARGEST_FALL = 0.005
"""How much average precision (AUC-PR) may fall."""
BATCH_SIZES = (1, 3, 8, 64)
ABSENT_BOUND = 1e-7
"""How much what stands in an absent channel may matter: no more than a float32's last digit."""

Run = Callable[[NDArray[np.float32], NDArray[np.bool_]], Any]


class ReadableWindows(Protocol):
    """Windows in microvolts: ``biot_bd.Windows``, or what reads like them."""

    @property
    def y(self) -> NDArray[np.int64]:
        """Labels, shape (n,)."""
        ...

    def __len__(self) -> int: ...

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return windows, (n_rows, n_chans, n_times); absent channels NaN throughout."""
        ...


@dataclass(frozen=True)
class Check:
    """What one gate found on one kind of input.

    Parameters
    ----------
    gate : str
        ``"batch sizes"``, ``"difference"``, ``"decisions"``, ``"average precision"``,
        ``"place in the batch"``, ``"company in the batch"``, ``"absent channels"``.
    inputs : str
        What it was asked on.
    bound : float
        What may be found at most (at least, for decisions).
    found : float or None
        What was found; None where nothing could be measured.
    passed : bool or None
        None: the question has no answer here, ``note`` says why.
    note : str
        Where, or why.

    See Also
    --------
    GateReport : All checks of a candidate.
    """

    gate: str
    inputs: str
    bound: float
    found: float | None
    passed: bool | None
    note: str = ""

    def __str__(self) -> str:
        found = "nothing" if self.found is None else f"{self.found:.3g}"
        return f"{self.gate} on {self.inputs}: found {found}, bound {self.bound:g}" + (
            f" ({self.note})" * bool(self.note)
        )


@dataclass(frozen=True)
class GateReport:
    """What all gates found.

    Parameters
    ----------
    precision : str
        One of ``BOUNDS``: ``"fp32"``, ``"bf16"``, ``"int8"`` or ``"int8-bf16"``.
    checks : tuple of Check
        In the order in which they were made.
    validation : dict or None
        Facts on the validation windows: ``n_windows``, ``n_seizure_windows``, ``agreement``,
        ``average_precision`` (``torch``, ``exported``; None where undefined); None without windows.

    See Also
    --------
    check_export : Makes it.

    Examples
    --------
    >>> report = GateReport("fp32", (Check("difference", "EEG-like", 1e-5, 2e-7, True),))
    >>> report.passed, report.largest_difference, report.as_dict()["bound"]
    (True, 2e-07, 1e-05)
    """

    precision: str
    checks: tuple[Check, ...]
    validation: dict[str, Any] | None = None

    @property
    def passed(self) -> bool:
        """Whether no gate failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.passed is False)

    @property
    def unanswered(self) -> tuple[Check, ...]:
        """The checks whose question has no answer on these windows."""
        return tuple(check for check in self.checks if check.passed is None)

    @property
    def largest_difference(self) -> float:
        """The largest difference of a probability from the reference."""
        return max(
            (c.found for c in self.checks if c.gate == "difference" and c.found is not None), default=float("nan")
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON holds it."""
        return {
            "precision": self.precision,
            "bound": BOUNDS[self.precision],
            "passed": self.passed,
            "checks": [asdict(check) for check in self.checks],
        }


def check_export(
    reference: Run,
    candidate: Run,
    *,
    precision: str,
    n_chans: int,
    n_times: int,
    sfreq: float,
    threshold: float | None = None,
    positive: int = 1,
    absent_channels: bool = True,
    windows: ReadableWindows | None = None,
    name: str = "exported model",
    seed: int = 0,
) -> GateReport:
    """Compare an exported model with the one it came from, and raise where it may not be used.

    Parameters
    ----------
    reference, candidate : callable
        ``(x, present) -> probabilities (n, n_classes)``; ``x`` float32 ``(n, n_chans, n_times)``
        in microvolts, finite, 0 where ``present`` (bool ``(n, n_chans)``) is False.
    precision : {"fp32", "bf16", "int8", "int8-bf16"}
        What the candidate computes in; ``BOUNDS`` has the largest difference of each.
    n_chans, n_times : int
        Channels and samples of a window.
    sfreq : float
        Sampling rate in Hz.
    threshold : float or None
        Probability of the positive class from which a window counts as positive; None: the most
        probable class.
    positive : int
        Column of the positive class.
    absent_channels : bool
        Whether the model takes windows in which channels are absent.
    windows : Windows, optional
        Of the model's validation subjects, in microvolts.  They are only asked where the generated
        windows passed.
    name : str
        For messages.
    seed : int
        Of the generated windows.

    Returns
    -------
    GateReport
        Of a candidate that passed.

    Raises
    ------
    biot_bd.exceptions.ExportGateError
        A gate failed; the message says which, by how much and on what, and ``report`` has all.
    ValueError
        The precision has no bound, or the reference gives what are no probabilities.

    See Also
    --------
    biot_bd.export.gate_inputs.make_inputs : The generated windows.

    Notes
    -----
    Decisions are counted over all validation windows, those near the threshold included: a user
    sees every decision.  On generated windows, which are few and of a kind, a decision may change
    where the reference lies within the bound of the threshold, and nowhere else.

    Examples
    --------
    >>> def model(x, present):
    ...     p = 1 / (1 + np.exp(-x.std(axis=(1, 2), dtype=float) / 100))
    ...     return np.stack([1 - p, p], axis=1)
    >>> size = {"n_chans": 2, "n_times": 400, "sfreq": 200.0, "absent_channels": False}
    >>> check_export(model, model, precision="fp32", threshold=0.6, **size).largest_difference
    0.0
    >>> check_export(
    ...     model, lambda x, present: model(x, present) ** 1.01, precision="int8", **size
    ... )
    ... # doctest: +ELLIPSIS
    Traceback (most recent call last):
    biot_bd.exceptions.ExportGateError: exported model in int8: ...
    """
    if precision not in BOUNDS:
        raise ValueError(f"precision must be one of {', '.join(BOUNDS)}, found {precision!r}")
    inputs = make_inputs(n_chans, n_times, sfreq, absent_channels, seed=seed)
    trial = _Trial(reference, candidate, BOUNDS[precision], threshold, positive)
    trial.run_sizes(inputs)
    if all(check.passed for check in trial.checks):  # what does not run gives no numbers
        trial.compare_kinds(inputs)
        trial.move_in_batches(inputs)
        if absent_channels:
            trial.fill_absent(inputs)
    validation = None
    if windows is not None and all(check.passed for check in trial.checks):
        validation = trial.compare_windows(windows)
    report = GateReport(precision, tuple(trial.checks), validation)
    if not report.passed:
        more = len(report.failed) - 1
        also = f"; {more} more failed" if more else ""
        raise ExportGateError(f"{name} in {precision}: {report.failed[0]}{also}; it may not be used", report)
    return report


class Remembered:
    """A reference that computes each batch once, for all candidates that are compared with it.

    Parameters
    ----------
    run : callable
        ``(x, present) -> probabilities``.

    See Also
    --------
    check_export : Asks a reference for the same windows again for each candidate.

    Examples
    --------
    >>> calls = []
    >>> run = Remembered(lambda x, present: calls.append(len(x)) or x[:, 0, :2])
    >>> x, present = np.zeros((4, 1, 8), np.float32), np.ones((4, 1), bool)
    >>> bool((run(x, present) == run(x, present)).all()), calls
    (True, [4])
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._known: dict[bytes, NDArray[Any]] = {}

    def __call__(self, x: NDArray[np.float32], present: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the probabilities of windows, from memory where they are known."""
        digest = hashlib.sha256(repr(x.shape).encode())
        digest.update(np.ascontiguousarray(x).data)
        digest.update(np.ascontiguousarray(present).data)
        key = digest.digest()
        if key not in self._known:
            self._known[key] = np.asarray(self._run(x, present))
        return self._known[key]


class _Trial:
    def __init__(self, reference: Run, candidate: Run, bound: float, threshold: float | None, positive: int) -> None:
        self.reference, self.candidate = reference, candidate
        self.bound, self.threshold, self.positive = bound, threshold, positive
        self.checks: list[Check] = []

    def run_sizes(self, inputs: GateInputs) -> None:
        """Run batches of all sizes: a graph may have one baked in."""
        wanted = self._expected(inputs.x[:1], inputs.present[:1]).shape[1]
        for size in BATCH_SIZES:
            rows = np.resize(np.arange(len(inputs.x)), size)
            try:
                found = np.asarray(self.candidate(inputs.x[rows], inputs.present[rows]))
            except Exception as error:  # an engine raises what it likes
                told = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                self._add("batch sizes", f"a batch of {size}", 0, None, False, told)
                continue
            fits = found.shape == (size, wanted)
            fault = "" if fits else f"shape {found.shape}, expected {(size, wanted)}"
            if fits:
                with np.errstate(invalid="ignore"):
                    off = float(np.abs(found.sum(axis=1) - 1).max()) if np.isfinite(found).all() else float("inf")
                fault = "" if off < 1e-3 and (found >= 0).all() else f"no probabilities, e.g. {found[0].tolist()}"
            self._add("batch sizes", f"a batch of {size}", 0, float(bool(fault)), not fault, fault)

    def compare_kinds(self, inputs: GateInputs) -> None:
        """Compare probabilities and decisions with the reference, kind by kind."""
        for kind in dict.fromkeys(inputs.kinds):
            rows = inputs.of_kind(kind)
            x, present = inputs.x[rows], inputs.present[rows]
            expected, found = self._expected(x, present), np.asarray(self.candidate(x, present))
            self._difference(f"generated windows ({kind})", expected, found)
            changed = (self._decide(found) != self._decide(expected)) & (self._margin(expected) > self.bound)
            self._add(
                "decisions", f"generated windows ({kind}), not nearer to the threshold than the bound",
                LEAST_AGREEMENT, 1 - float(changed.mean()), not changed.any(),
            )  # fmt: skip

    def move_in_batches(self, inputs: GateInputs) -> None:
        """Put windows in every slot, among their like, among others, and beside a loud one."""
        bound = COMPANY_SHARE * self.bound
        plain = inputs.of_kind("EEG-like")
        spread = self._expected(inputs.x[plain], inputs.present[plain])
        # Windows that are hardest to decide move most: elsewhere the softmax hides what happened.
        rows = plain[np.argsort(spread.max(axis=1), kind="stable")]
        x, present = inputs.x[rows], inputs.present[rows]
        alone = np.concatenate([np.asarray(self.candidate(x[i : i + 1], present[i : i + 1])) for i in range(len(x))])

        def moved(order: NDArray[np.int64], signal: NDArray[np.float32] | None = None, skip: int | None = None) -> Any:
            signal = x[order] if signal is None else signal
            difference = np.abs(np.asarray(self.candidate(signal, present[order])) - alone[order]).max(axis=1)
            if skip is not None:
                difference[skip] = 0
            slot = int(np.argmax(np.where(np.isnan(difference), np.inf, difference)))
            return float(difference[slot]), slot

        for size in BATCH_SIZES[1:]:
            some = np.resize(np.arange(len(rows)), size)
            shifts = range(size) if size <= 8 else (0, size // 3, size - 1)
            found = [moved(np.roll(some, shift)) for shift in shifts]
            self._moved("place in the batch", f"batches of {size} in turn", bound, found)
            repeated = [moved(np.full(size, row)) for row in (range(3) if size <= 8 else (0,))]
            self._moved("place in the batch", f"one window in all {size} slots", bound, repeated)
            loud = []
            for mate in (0, size - 1):
                signal = x[some].copy()
                signal[mate] *= np.float32(LOUDER)
                loud.append(moved(some, signal, skip=mate))
            self._moved("company in the batch", f"batches of {size} with a window {LOUDER:g} times louder", bound, loud)

    def fill_absent(self, inputs: GateInputs) -> None:
        """Put signal into absent channels: it must not be seen."""
        rows = inputs.of_kind("absent channels")
        x, present = inputs.x[rows], inputs.present[rows]
        filled = np.where(present[..., None], x, np.float32(1e5) * np.sign(np.cos(np.arange(x.shape[-1]))))
        before = np.asarray(self.candidate(x, present))
        after = np.asarray(self.candidate(filled.astype(np.float32), present))
        found = float(np.abs(before - after).max())
        self._add("absent channels", "what stands in them", ABSENT_BOUND, found, found <= ABSENT_BOUND)

    def compare_windows(self, windows: ReadableWindows) -> dict[str, Any]:
        """Compare probabilities, decisions and average precision on windows of recordings."""
        what = f"{len(windows)} validation windows"
        both = [
            (self._expected(x, present), np.asarray(self.candidate(x, present))) for x, present in _batches(windows)
        ]
        expected, found = (np.concatenate(parts) for parts in zip(*both, strict=True))
        self._difference(what, expected, found)
        agreement = float((self._decide(found) == self._decide(expected)).mean())
        self._add("decisions", what, LEAST_AGREEMENT, agreement, agreement >= LEAST_AGREEMENT)
        y = np.asarray(windows.y)
        precision = self._average_precision(y, expected, found, what)
        return {
            "n_windows": len(windows),
            "n_seizure_windows": int((y == 1).sum()),
            "agreement": agreement,
            "average_precision": precision,
        }

    def _average_precision(
        self, y: NDArray[Any], expected: NDArray[Any], found: NDArray[Any], what: str
    ) -> dict[str, float] | None:
        from sklearn.metrics import average_precision_score

        if expected.shape[1] != 2 or len(np.unique(y)) != 2 or not np.isfinite(found).all():
            why = f"undefined: {expected.shape[1]} classes, labels {np.unique(y).tolist()}"
            self._add("average precision", what, LARGEST_FALL, None, None, why)
            return None
        positive = y == np.unique(y)[self.positive]
        scores = [float(average_precision_score(positive, p[:, self.positive])) for p in (expected, found)]
        fall = scores[0] - scores[1]
        self._add("average precision", what, LARGEST_FALL, fall, fall <= LARGEST_FALL)
        return {"torch": scores[0], "exported": scores[1]}

    def _expected(self, x: NDArray[np.float32], present: NDArray[np.bool_]) -> NDArray[Any]:
        expected = np.asarray(self.reference(x, present))
        if expected.ndim != 2 or len(expected) != len(x) or not np.isfinite(expected).all():
            raise ValueError(
                f"the reference must give finite probabilities of shape ({len(x)}, n_classes); got shape "
                f"{expected.shape}, {np.isfinite(expected).mean():.0%} of it finite"
            )
        return expected

    def _decide(self, probabilities: NDArray[Any]) -> NDArray[Any]:
        if self.threshold is None:
            return probabilities.argmax(axis=1)
        return (probabilities[:, self.positive] >= self.threshold).astype(np.intp)

    def _margin(self, probabilities: NDArray[Any]) -> NDArray[Any]:
        """Return by how much a probability must move for the decision to change."""
        if self.threshold is None:
            last = np.sort(probabilities, axis=1)
            return (last[:, -1] - last[:, -2]) / 2
        return np.abs(probabilities[:, self.positive] - self.threshold)

    def _difference(self, what: str, expected: NDArray[Any], found: NDArray[Any]) -> None:
        each = np.abs(found - expected).max(axis=1)
        worst = int(np.argmax(np.where(np.isnan(each), np.inf, each)))
        largest = float(each[worst])
        where = f"window {worst}: {_told(found[worst])} instead of {_told(expected[worst])}"
        self._add("difference", what, self.bound, largest, largest <= self.bound, where)

    def _moved(self, gate: str, what: str, bound: float, found: list[tuple[float, int]]) -> None:
        largest, slot = max(found, key=lambda one: np.inf if np.isnan(one[0]) else one[0])
        self._add(gate, what, bound, largest, largest <= bound, f"most in slot {slot}")

    def _add(
        self, gate: str, inputs: str, bound: float, found: float | None, passed: bool | None, note: str = ""
    ) -> None:
        measured = None if found is None or not np.isfinite(found) else found
        self.checks.append(Check(gate, inputs, bound, measured, passed, note))


def _batches(windows: ReadableWindows) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    for start in range(0, len(windows), BATCH_SIZES[-1]):
        x = windows.read(np.arange(start, min(start + BATCH_SIZES[-1], len(windows))))
        present = np.asarray(~np.isnan(x).all(axis=-1))
        yield np.where(present[..., None], x, np.float32(0)), present


def _told(probabilities: NDArray[Any]) -> str:
    return "(" + ", ".join(f"{p:.4g}" for p in probabilities) + ")"
