"""The engine and precision of a model, chosen by a short measurement on this machine."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from biot_bd.deploy.engine_candidates import PACKAGES, Candidate, find_candidates
from biot_bd.deploy.model import ModelScorer, load_model
from biot_bd.deploy.signal_chain import WindowBatch
from biot_bd.kept_choices import best_of, cached_choice
from biot_bd.processor import n_threads, this_processor
from biot_bd.runs import fingerprint

SECONDS = 1.8
"""For timing all candidates together; loading them comes on top."""
_LARGEST = 16  # windows a batch in the measurement
_ROUNDS = 4  # the best of them counts: others use the machine, too
_HOPELESS = 6  # times the fastest: not timed any further
_GPUS = Path("/proc/driver/nvidia/gpus")
FAILURES = (ValueError, OSError, LookupError, RuntimeError, ImportError, TypeError)
"""What loading or running an engine may raise; anything else is a fault of the program."""

Load = Callable[[Candidate], ModelScorer]


def open_model(
    model: str | os.PathLike[str], *, engine: str = "auto", precision: str | None = None, n_windows: int = 64
) -> tuple[ModelScorer, list[str]]:
    """Load a model by the engine and in the precision that are the fastest on this machine.

    Where only one engine in one precision can be meant, nothing is measured.  Else the candidates
    are loaded and timed once, and the choice is kept for this processor, these versions, threads,
    weights and size of batch (:mod:`biot_bd.kept_choices`).

    Parameters
    ----------
    model : path
        Folder of :func:`biot_bd.save_pipeline`, with what it was exported to in ``exports/``, or of
        :func:`biot_bd.export_model`.
    engine : str
        ``"auto"``, or a name in ``biot_bd.registry.engines``.
    precision : str or None
        ``"auto"``: the fastest that was accepted at export, or moves no probability by 0.01 in
        torch; ``"fp32"``, ``"bf16"``, ``"fp16"`` or ``"int8"``: this one; None: the model's own,
        fp32 but for one that was exported in int8.
    n_windows : int
        Windows of a batch in use.

    Returns
    -------
    scorer : ModelScorer
    notes : list of str
        What was chosen and why, as a reader of the results should know.

    Raises
    ------
    FileNotFoundError
        No model is there.
    ValueError
        It is damaged, cannot be a detector, or was not proven in what is asked for.
    biot_bd.exceptions.UnknownNameError
        No engine has this name.

    See Also
    --------
    biot_bd.deploy.engine_candidates.find_candidates : What is compared.
    """
    candidates, left_out = find_candidates(model, engine, precision)

    def load(candidate: Candidate) -> ModelScorer:
        scorer = load_model(candidate.folder, candidate.engine)
        told[candidate] = scorer.set_precision(candidate.precision, n_windows)
        return scorer

    told: dict[Candidate, list[str]] = {}
    if len(candidates) == 1:
        scorer = load(candidates[0])
        return scorer, [*told[candidates[0]], *_not_compared(left_out)]
    scorer, chosen, note = choose(candidates, load, n_windows, left_out)
    fell_back = chosen.precision not in ("auto", scorer.precision)
    return scorer, [note, *(told[chosen] if fell_back else [])]


def choose(
    candidates: Sequence[Candidate],
    load: Load,
    n_windows: int,
    left_out: Sequence[str] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[ModelScorer, Candidate, str]:
    """Take the fastest of some candidates, measured now or before on such a machine.

    Parameters
    ----------
    candidates : sequence of Candidate
        The one to prefer first: it stays unless another is faster by 3 %.
    load : callable
        ``load(candidate) -> ModelScorer``.
    n_windows : int
        Windows of a batch in use.
    left_out : sequence of str
        What could not be compared; the note says so.
    clock : callable
        Seconds.

    Returns
    -------
    scorer : ModelScorer
    chosen : Candidate
    note : str
        What was chosen and why.

    Raises
    ------
    ValueError
        No candidate can be loaded; the message has the reason of each.
    """
    loaded: dict[int, ModelScorer] = {}

    def measured() -> dict[str, Any]:
        return measure_candidates(candidates, load, n_windows, loaded, clock)

    kept = cached_choice(machine_key(candidates, n_windows), measured, lambda found: _is_kept(found, len(candidates)))
    number = int(kept["chosen"])
    scorer = loaded.pop(number, None) or load(candidates[number])
    return scorer, candidates[number], _note(candidates, kept, scorer.precision, left_out)


def measure_candidates(
    candidates: Sequence[Candidate],
    load: Load,
    n_windows: int,
    loaded: dict[int, ModelScorer] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Time candidates in turns and return what :func:`choose` keeps.

    Parameters
    ----------
    candidates, load, n_windows, clock
        As in :func:`choose`.
    loaded : dict, optional
        Gets the model of the chosen candidate, under its number.

    Returns
    -------
    dict
        ``chosen`` (number of a candidate), ``seconds_a_window`` (by number), ``n_windows`` (of the
        batches that were timed), ``failed`` (reason by number).

    Raises
    ------
    ValueError
        None can be loaded.
    """
    models: dict[int, ModelScorer] = {}
    failed: dict[str, str] = {}
    once: dict[int, float] = {}
    for number, candidate in enumerate(candidates):
        try:
            model = load(candidate)
            batch = noise(model, 1)
            model.score(batch)  # the first call prepares what the others use
            once[number] = _timed(model, batch, clock)
            models[number] = model
        except FAILURES as error:
            failed[str(number)] = " ".join(str(error).split())
    if not models:
        raise ValueError("; ".join(f"{candidates[int(n)].name}: {why}" for n, why in failed.items()))
    hopeful = [n for n in models if once[n] <= _HOPELESS * min(once.values())]
    left_s = SECONDS - 2 * sum(once.values())
    n = min(n_windows, _LARGEST, int(left_s / (_ROUNDS + 1) / max(sum(once[n] for n in hopeful), 1e-6)))
    best = {number: once[number] for number in hopeful}
    for turn in range(_ROUNDS + 1 if n > 0 else 0):  # the first round warms up; slow models have had their time
        for number in hopeful[turn % len(hopeful) :] + hopeful[: turn % len(hopeful)]:
            seconds = _timed(models[number], noise(models[number], n), clock) / n
            best[number] = seconds if turn <= 1 else min(best[number], seconds)
    chosen = int(best_of({str(number): best[number] for number in hopeful}))
    if loaded is not None:
        loaded[chosen] = models[chosen]
    seconds_a_window = {str(number): best.get(number, once[number]) for number in models}
    return {"chosen": chosen, "seconds_a_window": seconds_a_window, "n_windows": max(n, 1), "failed": failed}


def noise(model: ModelScorer, n: int) -> WindowBatch:
    """Return windows of noise of 30 uV, the same every time."""
    shape = (n, len(model.montage.ch_names), model.n_times)
    x = np.random.default_rng(0).normal(0, 30, shape).astype(np.float32)
    return WindowBatch(x, np.ones(shape[:2], dtype=bool), np.arange(n, dtype=np.float64))


def machine_key(candidates: Sequence[Candidate], n_windows: int) -> str:
    """Name all that a choice depends on: processor, versions, threads, cards, weights, batch."""
    torch: Any = sys.modules.get("torch")  # asked for its threads only where somebody imported it
    return "engine/" + fingerprint(
        {
            "processor": this_processor().as_dict(),
            "versions": {name: _version(name) for name in ("biot-bd", *sorted(set(PACKAGES.values())))},
            "threads": [n_threads(), n_threads() if torch is None else torch.get_num_threads()],
            "cards": [os.environ.get("CUDA_VISIBLE_DEVICES"), sorted(path.name for path in _GPUS.glob("*"))],
            "candidates": [[one.engine, one.precision, one.checksum] for one in candidates],
            "n_windows": n_windows,
        }
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _timed(model: ModelScorer, batch: WindowBatch, clock: Callable[[], float]) -> float:
    start = clock()
    model.score(batch)
    return clock() - start


def _is_kept(found: dict[str, Any], n_candidates: int) -> bool:
    """Return whether what the disk holds is a choice among so many candidates."""
    chosen, seconds = found.get("chosen"), found.get("seconds_a_window")
    return (
        type(chosen) is int
        and 0 <= chosen < n_candidates
        and isinstance(seconds, dict)
        and str(chosen) in seconds
        and all(isinstance(value, float) and 0 < value < math.inf for value in seconds.values())
        and set(seconds) <= set(map(str, range(n_candidates)))
        and isinstance(found.get("failed"), dict)
    )


def _note(candidates: Sequence[Candidate], kept: dict[str, Any], precision: str, left_out: Sequence[str]) -> str:
    chosen, seconds = int(kept["chosen"]), kept["seconds_a_window"]
    one, first = candidates[chosen], min(map(int, seconds))
    what = f"computed by {one.engine} in {precision}"
    if chosen == first:
        others = [candidates[int(number)].name for number in seconds if int(number) != chosen]
        what += f", the fastest here (compared: {', '.join(others)})" if others else ""
    else:
        ratio = seconds[str(first)] / seconds[str(chosen)]
        what += f", {ratio:.1f} times as fast here as {candidates[first].name}"
    if one.difference is not None:
        what += f"; probabilities within {one.difference:.1g} of the saved model's at export"
    failed = [f"{candidates[int(number)].name} ({why})" for number, why in kept["failed"].items()]
    return "; ".join([what, *_not_compared([*left_out, *failed])])


def _not_compared(left_out: Sequence[str]) -> list[str]:
    return [f"not compared: {', '.join(left_out)}"] if left_out else []
