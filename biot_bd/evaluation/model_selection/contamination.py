"""Whether an estimator starts from weights that have seen the subjects who shall test it.

Scores on such subjects say how well a model remembers, not how well it detects.  The checks here
look at an estimator before anything is fitted, downloaded or loaded: at ``pretrained`` in
pipelines, in pipelines inside pipelines, in meta-estimators and in the grids of searches, at
modules that were built from a checkpoint, and at frozen estimators.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import LoadInitState
from torch import nn

from biot_bd.exceptions import ContaminationError
from biot_bd.models import provenance_of
from biot_bd.models.checkpoints.provenance import Provenance, canonical_name, check_clean, some, untold_text

PARAMETER = "pretrained"
ACCEPT = "or set allow_contaminated=True, which is then written into every result"
_SHOWN = 6
FROM_FOLDER = "folder"


@dataclass(frozen=True)
class Origin:
    """One set of weights that an estimator would start from.

    Parameters
    ----------
    where : str
        Parameter that names it, e.g. ``"biotclassifier__pretrained"``.
    provenance : Provenance
        What these weights were trained on.
    source : str or None
        What the parameter says; None where the weights were handed over themselves.
    """

    where: str
    provenance: Provenance
    source: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {"where": self.where, **self.provenance.to_dict()}


@dataclass(frozen=True)
class Contamination:
    """A contamination that was allowed.

    Parameters
    ----------
    text : str
        What every output must say; begins with ``"contaminated: "``.
    subjects : tuple of str
        Test subjects who were seen, or of whom nobody can tell.
    """

    text: str
    subjects: tuple[str, ...]


# --- what an estimator starts from ----------------------------------------------------------------


def find_origins(estimator: Any, *, fitted: bool = False) -> list[Origin]:
    """Find all weights that an estimator may start from.

    Parameters
    ----------
    estimator : object
        An estimator, a parameter grid, a checkpoint (name, path, :class:`Provenance`, or an object
        with a ``provenance``), or a list of these.
    fitted : bool
        Whether what a fitted estimator has learnt counts.  False where it will be cloned and fitted
        anew.

    Returns
    -------
    list of Origin
        Each checkpoint once, in the order found; empty where everything starts from random weights.

    Raises
    ------
    FileNotFoundError, ValueError, OSError
        A checkpoint is not there, or its record is damaged; see
        :func:`biot_bd.models.provenance_of`.
    """
    found: dict[Any, Origin] = {}
    known: dict[str, Provenance] = {}
    for where, value in _weights(estimator, "", PARAMETER, frozenset(), fitted):
        if isinstance(value, Provenance):
            found.setdefault(value, Origin(where, value))
            continue
        text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
        if text not in known:  # a file is hashed to tell it, so look once
            known[text] = provenance_of(value)
        found.setdefault(known[text], Origin(where, known[text], text))
    return list(found.values())


def _weights(value: Any, where: str, key: str, above: frozenset[int], fitted: bool) -> Iterator[tuple[str, Any]]:
    """Yield (parameter, source or Provenance).

    ``fitted`` where what was learnt before stays in use.
    """
    if value is None or isinstance(value, type) or id(value) in above:
        return
    above = above | {id(value)}
    name = key.rpartition("__")[2]
    if isinstance(value, np.ndarray):
        value = value.tolist() if value.dtype.kind in "OUST" else None
    if isinstance(value, Provenance):
        yield where, value
    elif isinstance(value, (str, os.PathLike)):
        if name == PARAMETER:
            yield where or PARAMETER, value
    elif isinstance(value, Mapping):
        for entry, item in value.items():
            yield from _weights(item, _join(where, entry), str(entry), above, fitted)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for step, item in _items(value):
            yield from _weights(item, _join(where, step), key, above, fitted)
    elif isinstance(value, nn.Module):
        # Losses and augmentations are modules too, without anything learnt of subjects.
        found = _of_module(value, must_tell=name in ("module", PARAMETER) or "module__" in key)
        yield from () if found is None else ((where, found),)
    elif isinstance(value, LoadInitState):
        yield where, Provenance(f"the weights that {type(value).__name__} loads", (), known=False)
    elif isinstance(getattr(value, "provenance", None), Provenance):  # a published or loaded checkpoint
        yield where, value.provenance
    elif hasattr(value, "get_params") and not hasattr(value, "split"):
        yield from _of_estimator(value, where, above, fitted)


def _of_estimator(value: Any, where: str, above: frozenset[int], fitted: bool) -> Iterator[tuple[str, Any]]:
    if isinstance(value, FrozenEstimator):
        inside = list(_weights(value.estimator, _join(where, "estimator"), "estimator", above, True))
        if not inside:
            what = type(value.estimator).__name__
            inside = [(where, Provenance(f"the frozen {what}, fitted beforehand", (), known=False))]
        yield from inside
        return
    if fitted and isinstance(getattr(value, "provenance_", None), Provenance):
        yield where, value.provenance_
        return
    for name, item in value.get_params(deep=False).items():
        yield from _weights(item, _join(where, name), name, above, fitted)


def _items(value: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the items of a list.

    A pair of a name and an object, as in ``steps``, gives its name.
    """
    for item in value:
        if isinstance(item, tuple) and len(item) > 1 and isinstance(item[0], str) and not isinstance(item[1], str):
            yield item[0], item[1:]
        else:
            yield "", item


def _join(where: str, name: Any) -> str:
    """Name a parameter as scikit-learn does: ``steps`` stands for no level of its own."""
    parts = where.split("__")
    if parts[-1] in ("steps", "transformer_list", "transformers", "estimators") and name:
        parts.pop()
    return "__".join(part for part in (*parts, str(name)) if part)


def _of_module(module: nn.Module, must_tell: bool) -> Provenance | None:
    """Return what the weights of an instance saw: only one built from a checkpoint can tell."""
    reports = [getattr(part, "load_report", None) for part in module.modules()]
    found = [p for report in reports if isinstance(p := getattr(report, "provenance", None), Provenance)]
    if found:
        return reduce(Provenance.joined, found)
    given = f"the given instance of {type(module).__name__} (give the class and module__ parameters instead)"
    return Provenance(given, (), known=False) if must_tell else None


# --- the check ------------------------------------------------------------------------------------


def check_contamination(
    origins: Sequence[Origin],
    test_subjects: Iterable[Any] | None,
    *,
    recordings: pd.DataFrame | None = None,
    allow: bool = False,
) -> Contamination | None:
    """Refuse weights that saw subjects who shall test them.

    Parameters
    ----------
    origins : sequence of Origin
        From :func:`find_origins`.
    test_subjects : iterable of str or None
        Subjects of all folds' test parts; None where the data name none.
    recordings : pandas.DataFrame, optional
        ``Windows.recordings``: a recording that was seen is one under any name.  Those of other
        subjects do not matter.
    allow : bool
        Go on all the same.

    Returns
    -------
    Contamination or None
        None when clean; else what must stand in every output.

    Raises
    ------
    ContaminationError
        Not with ``allow``: a test subject or a recording of one was seen, nobody recorded what was
        seen, or the subjects cannot be told. The message names all checkpoints concerned.
    """
    if not isinstance(allow, (bool, np.bool_)):
        raise TypeError(f"allow_contaminated must be True or False, got {allow!r}")
    names = sorted({str(subject) for subject in test_subjects}) if test_subjects is not None else []
    errors, texts, subjects = [], [], set()
    tested = None if recordings is None else recordings[recordings["subject"].isin(names)]
    for origin in origins:
        for error, concerned in _problems(_canonical(origin.provenance), names, tested):
            errors.append(error)
            texts.append(error.partition("; ")[0])
            subjects |= concerned
    if not errors:
        return None
    if not allow:
        raise ContaminationError("; also: ".join(errors))
    return Contamination("contaminated: " + "; ".join(texts), tuple(sorted(subjects)))


def _problems(
    provenance: Provenance, names: Sequence[str], recordings: pd.DataFrame | None
) -> Iterator[tuple[str, set[str]]]:
    """Yield what is wrong with one set of weights, and the test subjects concerned."""
    by_name = {name for name in names if provenance.saw([canonical_name(name)])}
    by_content = _seen_by_content(provenance, recordings)
    if hidden := [row for row in by_content if row[1] not in by_name]:
        yield _hidden_text(provenance.source, hidden), {subject for _, subject, _ in hidden}
    doubtful = _doubtful(provenance, by_name - {subject for _, subject, _ in by_content}, recordings)
    try:
        _check_names(provenance, names)
        compared = [canonical_name(name) for name in names if name not in doubtful] or names
        check_clean(provenance, compared, recordings_compared=True)
    except ContaminationError as error:
        if not doubtful or doubtful != set(names):
            yield str(error), (by_name - doubtful if provenance.known and by_name - doubtful else set(names))
    if doubtful:
        yield _doubt_text(provenance.source, doubtful), doubtful
    told = _told_by_content(recordings)
    untold = provenance.cannot_tell([name for name in names if name not in told], recordings_known=False)
    if untold and provenance.known:
        yield f"{untold_text(provenance.source, untold)}; prepare the recordings again, {ACCEPT}", set(untold)


def _told_by_content(recordings: pd.DataFrame | None) -> set[str]:
    """Return the subjects all of whose recordings are told by their content."""
    if recordings is None:
        return set()
    return set(recordings["subject"]) - set(recordings.loc[recordings["digest"].isna(), "subject"])


def _seen_by_content(provenance: Provenance, recordings: pd.DataFrame | None) -> list[tuple[str, str, list[str]]]:
    """Return the recordings that were seen: name, subject, and whose they were in training."""
    if recordings is None or not provenance.recordings:
        return []
    known = recordings[recordings["digest"].notna()]
    rows = zip(known["recording"], known["subject"], map(provenance.saw_recording, known["digest"]), strict=True)
    return [row for row in rows if row[2]]


def _hidden_text(source: str, seen: Sequence[tuple[str, str, list[str]]]) -> str:
    shown = ", ".join(
        f"{recording} of {subject} (there of {', '.join(there)})" for recording, subject, there in seen[:3]
    )
    more = f" and {len(seen) - 3} more" if len(seen) > 3 else ""
    return (
        f"{source} was trained on recordings that test it, under other names: {shown}{more}; the samples are the same, so "
        f"give each child one name in all data sets, take a checkpoint that did not see them, test on other subjects, {ACCEPT}"
    )


def _doubtful(provenance: Provenance, subjects: set[str], recordings: pd.DataFrame | None) -> set[str]:
    """Return those subjects whose name alone was seen.

    All their recordings are known here and some there, none is the same, and the name begins with
    that of a folder.
    """
    if recordings is None or not subjects:
        return set()
    named = {canonical_name(subject) for seen in provenance.recordings for subject, _ in seen.subjects}
    found = set()
    for subject, rows in recordings[recordings["subject"].isin(subjects)].groupby("subject"):
        told = rows["digest"].notna().all() and (rows["namespace_from"] == FROM_FOLDER).all()
        if told and canonical_name(str(subject)) in named:
            found.add(str(subject))
    return found


def _doubt_text(source: str, subjects: set[str]) -> str:
    shown, folder = some(sorted(subjects), 12), min(subjects).rpartition("/")[0]
    return (
        f"{source} was trained on {shown}, of whom no recording is the same here, so they may be other children in another "
        f"folder called {folder!r}; if they are, tell them apart by load_dataset(..., namespace='another-name') "
        f"(--option namespace=another-name) and prepare again, if not, test on other subjects, {ACCEPT}"
    )


def comparison_notes(origins: Sequence[Origin], recordings: pd.DataFrame | None) -> list[str]:
    """Return what to say where subjects were compared by name alone, one line a checkpoint.

    Parameters
    ----------
    origins : sequence of Origin
        From :func:`find_origins`.
    recordings : pandas.DataFrame or None
        ``Windows.recordings``; None where the data name none.
    """
    if recordings is None:
        here = "the data name no recordings"
    elif recordings["digest"].isna().any():
        here = "the prepared windows do not tell all recordings by their content (prepare them again)"
    else:
        here = ""
    lines = []
    for origin in origins:
        there = "" if origin.provenance.tells_recordings else "it does not tell which recordings it was trained on"
        if recordings is not None and origin.provenance.cannot_tell(recordings["subject"], recordings_known=False):
            lines.append(
                f"{origin.provenance.source}: compared by recordings alone, as subjects have numbers for names on one side "
                "(--anonymous); other recordings of the subjects that it was trained on would not be noticed"
            )
        elif reason := there or here:
            lines.append(f"{origin.provenance.source}: compared with the subjects by name alone, as {reason}")
    return lines


def _check_names(provenance: Provenance, subjects: Sequence[str]) -> None:
    """Raise where subjects without a data set cannot be compared with those who were seen."""
    bare = [subject for subject in subjects if "/" not in subject]
    if bare and any("/" in subject for seen in provenance.trained_on for subject in seen.subjects or ()):
        sets = ", ".join(dict.fromkeys(seen.dataset for seen in provenance.trained_on))
        shown = ", ".join(bare[:_SHOWN]) + (" ..." if len(bare) > _SHOWN else "")
        raise ContaminationError(
            f"{provenance.source}: the subjects {shown} name no data set, so nobody can tell whether they are among those it was "
            f"trained on ({sets}); call subjects 'dataset/subject', e.g. 'chb-mit/01' or 'clinic/{bare[0]}', {ACCEPT}"
        )


def _canonical(provenance: Provenance) -> Provenance:
    trained_on = tuple(
        seen
        if seen.subjects is None
        else replace(seen, subjects=tuple(dict.fromkeys(map(canonical_name, seen.subjects))))
        for seen in provenance.trained_on
    )
    return replace(provenance, trained_on=trained_on)


# --- what outputs say -----------------------------------------------------------------------------


def contamination_notes(run: Mapping[str, Any]) -> list[str]:
    """Return what outputs of a run (or of a saved model's record) must say first.

    Empty where it is clean.
    """
    text = run.get("contamination")
    return [str(text)] if text else []


def contamination_facts(
    origins: Sequence[Origin], contamination: Contamination | None, allowed: bool = False
) -> dict[str, Any]:
    """Return what ``run.json`` and records say.

    Checkpoints, and contamination (None and empty where clean).
    """
    return {
        "allow_contaminated": bool(allowed),
        "checkpoints": [origin.as_dict() for origin in origins],
        "contamination": None if contamination is None else contamination.text,
        "contaminated_subjects": [] if contamination is None else list(contamination.subjects),
    }


def full_record(
    last: Any, origins: Sequence[Origin], subjects: Sequence[str], recordings: Iterable[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Return the ``"trained_on"`` entry of a trained model's record.

    Own subjects and, through chains, all others.

    Parameters
    ----------
    last : estimator
        The fitted last step; a ``BIOTClassifier`` kept what it saw.
    origins : sequence of Origin
        What the whole pipeline started from, looked up before it was fitted.
    subjects : iterable of str
        Its own subjects of training and of validation.
    recordings : iterable of (str, str)
        Subject and digest of their recordings.
    """
    own = getattr(last, "provenance_", None)
    whole = own if isinstance(own, Provenance) else Provenance("a model trained from scratch")
    # A step before the classifier may have made arrays of the windows, which name no recordings.
    whole = whole.extended(subjects, recordings=recordings)
    for origin in origins:
        whole = whole.joined(origin.provenance)
    return whole.to_dict()
