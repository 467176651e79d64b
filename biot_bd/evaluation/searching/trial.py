"""One fit of a search: a candidate in an inner fold, and the file that keeps its score."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from biot_bd.evaluation.data import Data
from biot_bd.evaluation.fold import class_probabilities, configure, fit, fitted_rows
from biot_bd.evaluation.metrics.thresholds import NO_THRESHOLD, choose_threshold
from biot_bd.evaluation.metrics.window_metrics import Metric, Score
from biot_bd.evaluation.model_selection.folds import Fold
from biot_bd.evaluation.run_facts import Cells, read_facts, write_facts
from biot_bd.evaluation.searching.grids import as_text, params_text, with_params
from biot_bd.evaluation.study_identity import final_step
from biot_bd.exceptions import ContaminationError, DownloadError, RunFolderError, SplitError
from biot_bd.training.private_paths import FitPlace

FINISHED, FAILED = "finished", "failed"

NOT_OF_A_CANDIDATE = (OSError, MemoryError, ImportError, SplitError, ContaminationError, DownloadError)
"""Faults of the machine or of the data, which say nothing of a candidate and end the search."""


@dataclass(frozen=True)
class TrialOutcome:
    """What a fit of a search gave.

    Attributes
    ----------
    fold, candidate, rung, inner : int
        Outer fold, candidate, rung and inner fold.
    state : {"finished", "failed"}
    score : float or None
        None where it is undefined or the fit failed.
    reason : str or None
        Why there is none.
    n_epochs : int or None
        Epochs of a neural net.
    wall_s : float
        Seconds it took; 0 where nothing had to be fitted.
    """

    fold: int
    candidate: int
    rung: int
    inner: int
    state: str
    score: float | None
    reason: str | None
    n_epochs: int | None = None
    wall_s: float = 0.0


class TrialFacts(TypedDict):
    """The content of a trial's file."""

    fingerprint: str
    fold: int
    candidate: int
    rung: int
    inner: int
    params: Cells
    share: float
    train: list[str]
    valid: list[str]
    test: list[str]
    seed: int
    state: str
    score: float | None
    reason: str | None
    n_epochs: int | None
    wall_s: float


@dataclass(frozen=True)
class TrialTask:
    """All that a fit of a search needs, in this process or in a worker.

    Attributes
    ----------
    pipeline : estimator
        Cloned, without the candidate's parameters.
    settings : mapping
        Parameters of the candidate, and those that its rung sets.
    data : Data
    outer : int
        Number of the outer fold.
    fold : Fold
        The inner fold, with the seed of this fit.
    candidate, rung : int
    share : float
        Share of the training windows that are fitted.
    metric : Metric
        Which candidates are compared by.
    threshold : str or float
        Rule, for metrics that need one.
    fingerprint : str
        Of the study.
    folder : Path or None
        Of the files of trials; None writes nothing.
    """

    pipeline: Any
    settings: Mapping[str, Any]
    data: Data
    outer: int
    fold: Fold
    candidate: int
    rung: int
    share: float
    metric: Metric
    threshold: str | float
    fingerprint: str
    folder: Path | None = None

    @property
    def where(self) -> str:
        """What it is, in messages."""
        return f"fold {self.outer}, candidate {self.candidate}, inner fold {self.fold.index}"

    @property
    def key(self) -> str:
        """Name of its file, without suffix."""
        return f"c{self.candidate:04d}-r{self.rung}-i{self.fold.index:02d}"

    @property
    def label(self) -> str:
        """Its name among all tasks of the study."""
        return f"fold-{self.outer:02d}/{self.key}"

    @property
    def path(self) -> Path | None:
        """Its file."""
        return None if self.folder is None else self.folder / f"{self.label}.json"

    def facts(self) -> Cells:
        """Return what is known before it is fitted."""
        return {
            "fingerprint": self.fingerprint,
            "fold": self.outer,
            "candidate": self.candidate,
            "rung": self.rung,
            "inner": self.fold.index,
            "params": {name: as_text(value) for name, value in self.settings.items()},
            "share": self.share,
            **self.fold.sides(),
            "seed": self.fold.seed,
        }


def trial_seed(random_state: int, outer: int, candidate: int, inner: int) -> int:
    """Return the seed of a fit, an int in [0, 2**31), from these numbers alone.

    It is the same on every rung, so that a candidate goes on as it began.
    """
    sequence = np.random.SeedSequence(random_state, spawn_key=(outer, 2, candidate, inner))
    return int(sequence.generate_state(1)[0] >> 1)


def run_trial(task: TrialTask) -> TrialOutcome:
    """Fit a candidate on the training subjects of an inner fold and score its test subjects.

    Parameters
    ----------
    task : TrialTask

    Returns
    -------
    TrialOutcome
        Also written to its file, where the task has a folder.  A fit that raises has failed, unless
        the fault is the machine's or the data's.

    Raises
    ------
    OSError, MemoryError, ImportError, SplitError, ContaminationError, DownloadError
        Such a fault; nothing is written.
    """
    started = time.perf_counter()
    last = None
    try:
        last, score = _scored(task)
        state, value, reason = "finished", score.value, score.reason
    except NOT_OF_A_CANDIDATE:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        state, value, reason = "failed", None, f"{type(error).__name__}: {text[:500]}"
    history = getattr(last, "history_", None)
    outcome = TrialOutcome(
        task.outer,
        task.candidate,
        task.rung,
        task.fold.index,
        state,
        value,
        reason,
        None if history is None else len(history),
        time.perf_counter() - started,
    )
    if task.path is not None:
        write_facts(task.path, {**task.facts(), **_told(outcome)})
    return outcome


def _told(outcome: TrialOutcome) -> Cells:
    return {name: value for name, value in asdict(outcome).items() if name in _TOLD}


_TOLD = ("state", "score", "reason", "n_epochs", "wall_s")


def _scored(task: TrialTask) -> tuple[Any, Score]:
    fold, data, where = task.fold, task.data, task.where
    pipeline = with_params(task.pipeline, task.settings, f"candidate {task.candidate}")
    place = FitPlace(["search", f"fold-{task.outer:02d}", task.key])
    estimator = configure(pipeline, fold, None, place)
    rows = fold.rows(data.subjects, data.recordings)
    if task.share < 1:
        rows = {**rows, "train": some_rows(rows["train"], data, task.share, fold.seed)}
    seen = fitted_rows(estimator, rows)
    targets = None if data.targets is None else data.targets[seen]
    fit(estimator, data.X[seen], data.y[seen], data.subjects[seen], targets)
    n_classes = len(data.classes)
    threshold = NO_THRESHOLD
    if task.metric.needs_threshold and n_classes == 2:
        valid = class_probabilities(estimator, data.X[rows["valid"]], where, n_classes)
        threshold = choose_threshold(data.y[rows["valid"]], valid[:, 1], task.threshold)
    test = rows["test"]
    proba = class_probabilities(estimator, data.X[test], where, n_classes)
    shares = None if data.targets is None else data.targets[test]
    score = task.metric(data.y[test], proba if data.by_class else proba[:, 1], threshold.value, shares)
    return final_step(estimator)[1], score


def some_rows(rows: np.ndarray, data: Data, share: float, seed: int) -> np.ndarray:
    """Return a share of rows: of each subject and class alike, at least one.

    Parameters
    ----------
    rows : ndarray of int
        Ascending.
    data : Data
    share : float
        More than 0, at most 1.
    seed : int
        Decides which; a larger share holds the rows of a smaller one.
    """
    order = rows[np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(4,))).permutation(len(rows))]
    strata = [data.subjects[order].astype(str), data.y[order]]
    _, subject = np.unique(strata[0], return_inverse=True)
    _, stratum = np.unique(np.stack([subject, strata[1]]), axis=1, return_inverse=True)
    kept = []
    for number in range(stratum.max(initial=-1) + 1):
        members = order[stratum.ravel() == number]
        kept.append(members[: max(1, round(share * len(members)))])
    return np.sort(np.concatenate(kept)) if kept else rows


def _others_build_on(task: TrialTask) -> bool:
    """Return whether a later candidate of the outer fold has a score, so that it was proposed by an
    engine that may have known how this fit went.
    """
    if task.path is None:
        return False
    stored = (read_facts(path, TrialFacts) for path in task.path.parent.glob("c*-r*-i*.json"))
    return any(one.get("candidate", -1) > task.candidate and one.get("score") is not None for one in stored)


def read_trial(task: TrialTask, *, retry: bool = False, built_on: bool = False) -> TrialOutcome | None:
    """Read what an earlier call left of a fit; None where it left nothing.

    Parameters
    ----------
    task : TrialTask
    retry : bool
        Whether a fit that failed counts as nothing.
    built_on : bool
        Whether the engine proposes by what it was told: then such a fit stands where a later
        candidate of the outer fold has a score.

    Raises
    ------
    RunFolderError
        The file is damaged, or of another fit.
    """
    if task.path is None or not task.path.is_file():
        return None
    stored = read_facts(task.path, TrialFacts)
    if stored.get("state") not in (FINISHED, FAILED):
        raise RunFolderError(f"{task.path}: damaged (state is {stored.get('state')!r}); delete it and run again")
    if retry and stored["state"] == FAILED and not (built_on and _others_build_on(task)):
        return None
    expected = task.facts()
    other = [name for name, value in expected.items() if stored.get(name) != value]
    if other:
        name = other[0]
        raise RunFolderError(
            f"{task.path}: {name} is {stored.get(name)!r}, now it would be {expected[name]!r} "
            f"({params_text(task.settings)}): the search now proposes something else, e.g. by another version of a "
            f"library (pip list); install the former one, or delete {os.fspath(task.path.parent.parent)} to search anew"
        )
    where = {name: stored[name] for name in ("fold", "candidate", "rung", "inner")}
    return TrialOutcome(**where, **{name: stored[name] for name in _TOLD})


def with_seed(fold: Fold, random_state: int, outer: int, candidate: int) -> Fold:
    """Return an inner fold with the seed of a candidate's fit."""
    return replace(fold, seed=trial_seed(random_state, outer, candidate, fold.index))
