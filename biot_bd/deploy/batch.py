"""Many recordings: one after another or in several processes, none stopping the others."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, effective_n_jobs

from biot_bd.deploy.detector import Detector
from biot_bd.deploy.recording_files import Item
from biot_bd.deploy.results import Outputs, page_part, write_detection
from biot_bd.exceptions import DetectionError


@dataclass
class Outcome:
    """What became of one recording.

    Parameters
    ----------
    item : Item
        The recording.
    facts : dict, optional
        :meth:`Detection.as_dict`, None where it failed.
    files : list of Path
        What was written.
    error : str, optional
        One line that names the file and the reason.
    part : dict, optional
        What the patient's page shows of it.
    """

    item: Item
    facts: dict[str, Any] | None = None
    files: list[Path] = field(default_factory=list)
    error: str | None = None
    part: dict[str, Any] | None = None


@lru_cache(maxsize=2)
def load_cached(model: str, options: tuple[tuple[str, Any], ...]) -> Detector:
    """Load a detector once a process; ``options`` are those of :meth:`Detector.load`."""
    return Detector.load(model, **dict(options))


def detect_items(
    items: Sequence[Item],
    model: str | os.PathLike[str],
    options: dict[str, Any],
    outputs: Outputs,
    n_jobs: int = 1,
) -> Iterator[Outcome]:
    """Detect and write, recording by recording.

    Parameters
    ----------
    items : sequence of Item
        The recordings.
    model : path
        Folder of a saved model.
    options : dict
        Of :meth:`Detector.load`.
    outputs : Outputs
        What to write.
    n_jobs : int
        Processes; -1 for one a processor.

    Yields
    ------
    Outcome
        In the order of ``items``; failures are outcomes, too.

    Raises
    ------
    FileNotFoundError, ValueError
        The model cannot be loaded, or ``n_jobs`` is 0.
    """
    if n_jobs == 0:
        raise ValueError("n_jobs is how many recordings at once, 1 or more, or -1 for one a processor; got 0")
    key = tuple(sorted(options.items()))
    load_cached(os.fspath(model), key)  # what is wrong with the model is no recording's fault
    n_jobs = min(effective_n_jobs(n_jobs), max(1, len(items)))
    if n_jobs == 1:
        for item in items:
            yield _detect_item(item, os.fspath(model), key, outputs, None)
        return
    threads = max(1, (os.cpu_count() or 1) // n_jobs)
    done = 0
    try:
        for outcome in Parallel(n_jobs=n_jobs, return_as="generator")(
            delayed(_detect_item)(item, os.fspath(model), key, outputs, threads) for item in items
        ):
            done += 1
            yield outcome
    except RuntimeError as error:  # a process was killed, e.g. for its memory: the pool is gone
        for item in items[done:]:
            yield Outcome(item, error=f"{item.path}: a worker process ended ({_one_line(error)}); run it again")


def _detect_item(
    item: Item, model: str, options: tuple[tuple[str, Any], ...], outputs: Outputs, threads: int | None
) -> Outcome:
    """Do one recording; whatever goes wrong is its outcome."""
    try:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        detector = load_cached(model, options)
        detection = detector.detect(item.path)
        files = write_detection(detection, item, outputs, detector.scorer.montage)
        part = page_part(detection, detector.scorer.montage) if outputs.html else None
        return Outcome(item, detection.as_dict(), files, part=part)
    except DetectionError as error:
        return Outcome(item, error=_one_line(error))
    except OSError as error:
        return Outcome(item, error=f"{item.path}: its results cannot be written ({_one_line(error)})")
    except Exception as error:
        return Outcome(item, error=f"{item.path}: {type(error).__name__}: {_one_line(error)}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
