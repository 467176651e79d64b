"""The folds of another study, so that all models of a comparison are fitted and tested on the
same subjects.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from biot_bd.evaluation.data import Data
from biot_bd.evaluation.model_selection.folds import Fold, check_fold, check_subjects, fold_seed
from biot_bd.evaluation.protocols import Protocol
from biot_bd.evaluation.result import Result
from biot_bd.evaluation.run_facts import RUN, Cells, RunFacts, read_facts, stored_facts
from biot_bd.exceptions import ProtocolError, SplitError
from biot_bd.json_values import DAMAGE

DEFAULTS: Cells = {
    "cv": "subject-loo",
    "scoring": ("average_precision", "roc_auc", "balanced_accuracy"),
    "threshold": "balanced-accuracy",
    "validation_fraction": 0.25,
}
"""What ``cross_validate`` does unless a protocol, stored splits or the caller say otherwise."""
SCORING_OF_SEVERAL = ("balanced_accuracy", "accuracy", "f1_macro")
"""How it scores more than two classes where nobody says."""


def settled(given: Cells, preset: Protocol | None, source: RunFacts | None) -> tuple[Any, ...]:
    """Return ``cv``, ``scoring``, ``threshold`` and ``validation_fraction`` of a study.

    Parameters
    ----------
    given : dict
        What the caller gave under these names; a value other than the default must agree with the
        rest.
    preset : Protocol or None
    source : dict or None
        ``run.json`` of the study whose splits are taken.

    Raises
    ------
    ProtocolError
        The caller, the protocol and the stored splits contradict each other.
    """
    fixed: dict[str, tuple[Any, str]] = {}
    if preset is not None:
        fixed = {n: (value, f"protocol {preset.name!r}") for n, value in preset.cross_validate_parameters().items()}
    for name in ("cv", "validation_fraction") if source is not None else ():
        stored = source["parameters"][name]  # type: ignore[index]
        if name in fixed and fixed[name][0] != stored and name == "cv":
            raise ProtocolError(f"{fixed[name][1]} is split by {fixed[name][0]!r}, the stored splits by {stored!r}")
        fixed[name] = (stored, "splits_from")
    out = []
    for name, default in DEFAULTS.items():
        value = tuple(given[name]) if isinstance(given[name], list) else given[name]
        if name in fixed:
            wanted, who = fixed[name]
            if value not in (default, wanted):
                raise ProtocolError(f"{who} fixes {name} at {wanted!r}; got {value!r}: leave one of the two out")
            value = wanted
        out.append(value)
    return tuple(out)


def stored_run(source: Any) -> RunFacts:
    """Return ``run.json`` of a result or of a run folder, which need not be finished.

    Raises
    ------
    FileNotFoundError
        The folder holds no run.
    TypeError
        Neither a result nor a path.
    SplitError
        The run stores no splits.
    """
    if isinstance(source, Result):
        run = source.run
    elif isinstance(source, (str, os.PathLike)):
        path = Path(source) / RUN
        if not path.is_file():
            raise FileNotFoundError(f"{source}: no run.json, so there are no splits to take; name a run folder")
        run = read_facts(path, RunFacts)
    else:
        raise TypeError(f"splits_from takes a Result or a run folder, not {type(source).__name__}")
    if not run.get("splits"):
        raise SplitError(f"{source if not isinstance(source, Result) else 'this result'}: the run stores no splits")
    return run


def kept_folds(folder: Path, made: Sequence[Fold], asked: Mapping[str, Any], data: Data) -> Sequence[Fold]:
    """Return the folds of a run that a folder holds, if only who validates differs from those made.

    A run that a former version began chose its validation subjects in another way; it goes on with
    those that it stored.

    Parameters
    ----------
    folder : Path
        Folder of the run; may be new.
    made : sequence of Fold
        What this version makes of the same data.
    asked : mapping
        ``cv``, ``validation_fraction``, ``random_state``; where the stored run was asked for
        something else, the folds made are returned.
    data : Data

    Raises
    ------
    RunFolderError
        The folder holds something else than a run.
    """
    stored = stored_facts(folder, RUN)
    if stored is None or any(stored.get("parameters", {}).get(name) != value for name, value in asked.items()):
        return made
    try:
        kept = stored_folds(stored, data.y, data.subjects, data.recordings, asked["random_state"])
    except (SplitError, *DAMAGE):
        return made  # the comparison of the two studies says what differs
    return kept if _outer(kept) == _outer(made) else made


def _outer(folds: Sequence[Fold]) -> list[tuple[Any, ...]]:
    return [(fold.index, sorted({*fold.train, *fold.valid}), sorted(fold.test), fold.dropped) for fold in folds]


def stored_folds(
    run: RunFacts, y: np.ndarray, subjects: np.ndarray, recordings: np.ndarray | None, random_state: int
) -> list[Fold]:
    """Rebuild the folds of a stored run for other windows of the same subjects.

    Parameters
    ----------
    run : dict
        Content of its ``run.json``.
    y, subjects : array of shape (n,)
        Labels and subject of each window.
    recordings : array of shape (n,) or None
        Recording of each window; needed where the stored folds leave out recordings.
    random_state : int
        With a fold's number the seed of that fold, as in a split made anew: the same number gives
        the stored seeds.

    Returns
    -------
    list of Fold
        The stored training, validation and test subjects.

    Raises
    ------
    SplitError
        Subjects of the stored folds have no windows here, a subject is on two sides, recordings are
        needed but unknown, or a fold's training subjects have one class.
    """
    present = set(subjects)
    folds = []
    for stored in run["splits"]:
        index = int(stored["fold"])
        train, valid, test = (tuple(stored[side]) for side in ("train", "valid", "test"))
        check_subjects(train, valid, test, f"stored fold {index}")
        missing = sorted({*train, *valid, *test} - present)
        if missing:
            raise SplitError(
                f"the stored splits need subjects who have no windows here: {', '.join(missing)}; use the data of that run"
            )
        dropped = tuple(stored.get("dropped_recordings") or ())
        if dropped and recordings is None:
            raise SplitError(f"stored fold {index} leaves out recordings ({dropped[0]}, ...), but arrays name none")
        unused = sorted(present - {*train, *valid, *test} - set(run["data"]["subjects"]))
        notes = [str(note) for note in stored.get("notes") or ()]
        if unused:
            notes.append(f"subjects that the stored splits do not use: {', '.join(unused)}")
        said = tuple(dict.fromkeys(notes))
        fold = Fold(index, train, valid, test, fold_seed(random_state, index), dropped, said)
        check_fold(fold, y, subjects, recordings)
        folds.append(fold)
    return folds
