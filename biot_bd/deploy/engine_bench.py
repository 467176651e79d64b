"""How fast, exact, large and slow to start a model is in each engine on this machine."""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.deploy.engine_candidates import Candidate
from biot_bd.deploy.engine_worker import N_WINDOWS
from biot_bd.export.artifact import BOUNDS, read_facts
from biot_bd.models.checkpoints.pipeline_folder import is_exported

ROUNDS = 3
WORKER = "biot_bd.deploy.engine_worker"
_HALF = 5e-3
"""Bound of precisions that no export has (fp16), and of torch's own choice."""


@dataclass(frozen=True)
class EngineFigures:
    """What was measured of an engine in a precision.

    Parameters
    ----------
    engine, precision : str
        What computed.
    seconds_a_batch : dict of int to list of float
        By windows a batch: one value a round.
    error : float
        Largest difference of a probability to the reference.
    memory_mb : float
        By how much the resident memory of a fresh process grew, engine, model and the largest batch
        included.
    size_mb : float
        Of the folder's files.
    start_cpu_s : float
        Processor seconds from the start of the process to the first probability.
    """

    engine: str
    precision: str
    seconds_a_batch: dict[int, list[float]]
    error: float
    memory_mb: float
    size_mb: float
    start_cpu_s: float

    @property
    def name(self) -> str:
        """Engine and precision."""
        return f"{self.engine} {self.precision}"

    @property
    def exact(self) -> bool:
        """Whether the error is within the bound of the precision."""
        return self.error <= BOUNDS.get(self.precision, _HALF)

    def windows_a_second(self, batch: int) -> float:
        """Return the median of the rounds."""
        return batch / statistics.median(self.seconds_a_batch[batch])

    def speed_to(self, other: EngineFigures, batch: int) -> float:
        """Return how many times as fast as another this is, the median of the rounds' ratios."""
        pairs = zip(other.seconds_a_batch[batch], self.seconds_a_batch[batch], strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)


@dataclass(frozen=True)
class EngineTable:
    """The figures of all engines of a model, the first being what others are compared with.

    Parameters
    ----------
    figures : list of EngineFigures
        In the order of the candidates.
    failed : dict of str to str
        Reason by name of what could not run.
    reference : str
        What errors are measured against, in words.
    window_s : float
        Length of a window in seconds.
    """

    figures: list[EngineFigures]
    failed: dict[str, str] = field(default_factory=dict)
    reference: str = ""
    window_s: float = 10.0

    def recommended(self, batch: int) -> EngineFigures | None:
        """Return the fastest that is exact enough; the first stays unless another gains 3 %."""
        exact = [one for one in self.figures if one.exact]
        if not exact:
            return None
        best = max(exact, key=lambda one: one.windows_a_second(batch))
        return best if best.windows_a_second(batch) > exact[0].windows_a_second(batch) / 0.97 else exact[0]

    def recommendation(self, batches: Sequence[int]) -> str:
        """Return in a sentence what to take, for recordings and for a live signal."""
        large, small = max(batches), min(batches)
        first, best = self.figures[0], self.recommended(large)
        if best is None:
            return "Take none of these: every one moves probabilities by more than its precision may."
        text = f"Take {best.name} for recordings"
        if best is not first:
            text += f": {best.speed_to(first, large):.1f} times as fast as {first.name} at batch {large}"
            text += f", probabilities within {best.error:.1g} of {self.reference}"
        else:
            text += ": nothing else that is exact enough is faster here"
        live = self.recommended(small)
        ratio = 1.0 if live is None or small == large else live.speed_to(best, small)
        if live is not None and ratio > 1.1:
            text += f"; at batch {small}, as live signals have it, {live.name} is {ratio:.1f} times as fast as that"
        quick = min((one for one in self.figures if one.exact), key=lambda one: one.start_cpu_s)
        if quick.engine != best.engine and quick.start_cpu_s < best.start_cpu_s / 1.5:
            text += f"; {quick.name} starts soonest ({quick.start_cpu_s:.1f} s)"
        return text + "."

    def as_dict(self, batches: Sequence[int]) -> dict[str, Any]:
        """Return the table as JSON holds it."""
        rows = []
        for one in self.figures:
            batch_rows = [
                {
                    "batch": batch,
                    "windows_a_second": one.windows_a_second(batch),
                    "ms_a_batch": 1000 * statistics.median(one.seconds_a_batch[batch]),
                    "times_as_fast": one.speed_to(self.figures[0], batch),
                }
                for batch in batches
            ]
            facts = {key: value for key, value in asdict(one).items() if key != "seconds_a_batch"}
            rows.append({**facts, "exact_enough": one.exact, "batches": batch_rows})
        return {
            "engines": rows,
            "compared_with": self.figures[0].name,
            "reference": self.reference,
            "window_s": self.window_s,
            "failed": self.failed,
            "recommendation": self.recommendation(batches),
        }


def bench_engines(
    candidates: Sequence[Candidate],
    *,
    batches: Sequence[int] = (1, 8, 64),
    seconds: float = 3.0,
    on_step: Callable[[str], object] = lambda text: None,
) -> EngineTable:
    """Measure candidates in turns, each in a process of its own.

    Errors are those to torch in fp32 on generated windows where it is among the candidates, else
    those to the probabilities that were stored at export.

    Parameters
    ----------
    candidates : sequence of Candidate
        What to measure; ratios are those to the first that runs.
    batches : sequence of int
        Windows a batch.
    seconds : float
        How long each candidate runs with each size of batch, in all rounds together.
    on_step : callable
        Told in words what is measured next.

    Returns
    -------
    EngineTable

    Raises
    ------
    ValueError
        Nothing runs; the message has every reason.

    See Also
    --------
    biot_bd.deploy.engine_candidates.find_candidates : Those of a model.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        started, failed = _start(candidates, folder, max(batches), stack, on_step)
        if not started:
            raise ValueError("; ".join(f"{name}: {why}" for name, why in failed.items()))
        file, expected, reference = _reference(list(started), folder)
        times: dict[Candidate, dict[int, list[float]]] = {one: {batch: [] for batch in batches} for one in started}
        for child, _ in started.values():
            child.ask("windows", file=file)
        _in_turns(started, times, seconds / ROUNDS, failed, on_step)
        on_step("probabilities and memory")
        figures: list[EngineFigures] = []
        for one, (child, facts) in started.items():
            if one.name in failed:
                continue
            try:
                found = np.array(child.ask("probabilities", batch=N_WINDOWS)["probabilities"])
                memory_mb = child.ask("memory")["memory_mb"]
            except ChildError as fault:
                failed[one.name] = str(fault)
                continue
            expected = found if expected is None else expected
            error = float(np.max(np.abs(found - expected)))
            figures.append(
                EngineFigures(
                    engine=one.engine,
                    precision=facts["precision"],
                    seconds_a_batch=times[one],
                    error=error if math.isfinite(error) else math.inf,
                    memory_mb=memory_mb,
                    size_mb=_size_mb(one.folder),
                    start_cpu_s=facts["start_cpu_s"],
                )
            )
    if not figures:
        raise ValueError("; ".join(f"{name}: {why}" for name, why in failed.items()))
    return EngineTable(figures, failed, reference, next(iter(started.values()))[1]["window_s"])


def _start(
    candidates: Sequence[Candidate], folder: Path, n_windows: int, stack: ExitStack, on_step: Callable[[str], object]
) -> tuple[dict[Candidate, tuple[_Child, dict[str, Any]]], dict[str, str]]:
    """Start a process for each candidate; those that compute something else than asked fail."""
    started: dict[Candidate, tuple[_Child, dict[str, Any]]] = {}
    failed: dict[str, str] = {}
    for one in candidates:
        on_step(f"starting {one.name}")
        asked = {"folder": str(one.folder), "engine": one.engine, "precision": one.precision}
        child = stack.enter_context(_Child(folder / f"{len(started)}-{len(failed)}.log"))
        try:
            facts = child.ask("load", **asked, n_windows=n_windows)
        except ChildError as error:
            failed[one.name] = str(error)
            continue
        if facts["precision"] != one.precision:
            failed[one.name] = "; ".join(facts["notes"]) or f"computes in {facts['precision']} here"
            continue
        started[one] = child, facts
    return started, failed


def _in_turns(
    started: dict[Candidate, tuple[_Child, dict[str, Any]]],
    times: dict[Candidate, dict[int, list[float]]],
    seconds: float,
    failed: dict[str, str],
    on_step: Callable[[str], object],
) -> None:
    """Time all in turning order; one that fails is left out from there on."""
    names = list(started)
    for batch in times[names[0]]:
        for turn in range(ROUNDS + 1):  # the first round warms up
            on_step(f"batch {batch}, round {turn} of {ROUNDS}" if turn else f"batch {batch}, warming up")
            for one in names[turn % len(names) :] + names[: turn % len(names)]:
                if one.name in failed:
                    continue
                try:
                    found = started[one][0].ask("time", batch=batch, seconds=seconds if turn else 0.0)
                except ChildError as error:
                    failed[one.name] = str(error)
                    continue
                if turn:
                    times[one][batch].append(found["seconds"] / found["calls"])


def _reference(started: Sequence[Candidate], folder: Path) -> tuple[str | None, NDArray[np.float64] | None, str]:
    """Return a file of windows, what their probabilities should be, and who says so.

    Torch in fp32 says it of generated windows; without it the windows count that came with the
    export.
    """
    exported = next((one.folder for one in started if is_exported(one.folder)), None)
    if exported is None or any(one.name == "torch fp32" for one in started):
        return None, None, started[0].name
    artifact = read_facts(exported)
    probe, classes, label = artifact.probe(), artifact.facts["classes"], artifact.facts["positive_label"]
    column = classes.index(label) if label in classes else len(classes) - 1
    np.save(folder / "windows.npy", np.where(probe.present[:, :, None], probe.x, np.float32(np.nan)))
    expected = probe.probabilities[:, column].astype(np.float64)
    return str(folder / "windows.npy"), expected, "the saved model at export"


def _size_mb(folder: Path) -> float:
    """Return the size of a folder's own files, without those of folders in it."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) / 2**20


class ChildError(Exception):
    """A process of an engine failed; the text is one line."""


class _Child:
    """A process that answers questions about an engine, ended with the block."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def __enter__(self) -> _Child:
        words = [sys.executable, "-W", "ignore", "-m", WORKER]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8"
            )
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                _close(pipe)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, what: str, **given: Any) -> dict[str, Any]:
        """Return the answer to a question.

        Raises
        ------
        ChildError
            The process says why it has none, or is gone.
        """
        questions, answers = self._process.stdin, self._process.stdout
        line = ""
        if questions is not None and answers is not None:
            try:
                questions.write(json.dumps({"ask": what, **given}) + "\n")
                questions.flush()
                line = answers.readline()
            except OSError:
                line = ""  # it is gone
        if not line:
            told = self._log.read_text("utf-8", "replace").strip().splitlines()
            raise ChildError(f"its process ended{': ' + told[-1] if told else ''}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ChildError(answer["error"])
        return answer


def _close(pipe: IO[str]) -> None:
    with contextlib.suppress(OSError):  # the process is gone
        pipe.close()
