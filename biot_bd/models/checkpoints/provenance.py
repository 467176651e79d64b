"""What a model was trained on, and the refusal to test it on subjects that it saw.

Every checkpoint has a :class:`Provenance`.  It comes from the table of known checkpoints (by name,
by Hub repository, or by the file's git blob id), from the record of a saved pipeline, or from a
sidecar: beside ``weights.ckpt`` a file ``weights.ckpt.json``, in a folder or Hub repository a file
``trained_on.json``, holding::

    {
        "trained_on": [
            {"dataset": "chb-mit", "subjects": ["chb-mit/01"], "how": "supervised"}
        ]
    }

``"subjects": null`` means all subjects of that data set.  A checkpoint of which nothing is known is
refused like one that saw a test subject: nobody could tell the difference in its scores.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from biot_bd.anonymous import is_anonymous, is_published, numbered_subjects, shuffled
from biot_bd.exceptions import ContaminationError
from biot_bd.models.checkpoints.seen_recordings import SeenRecordings
from biot_bd.runs import to_jsonable

KEY = "trained_on"
RECORDINGS = "recordings"
SIDECAR_IN_FOLDER = "trained_on.json"
_CHBMIT_CASE = re.compile(r"chb-mit/(?:sub-)?(?:chb)?0*(\d+)", re.IGNORECASE)
_SAME_CHILD = {21: 1}


@dataclass(frozen=True)
class Seen:
    """One data set that a model was trained on.

    Parameters
    ----------
    dataset : str
        The name space of its subjects: ``"chb-mit"`` for subjects ``chb-mit/01``, ...
    subjects : tuple of str or None
        Subjects by their full names; None for all subjects of the data set.
    how : str
        What was learnt from them, e.g. ``"supervised"`` or ``"unsupervised"``.

    See Also
    --------
    Provenance : All that a model has seen.

    Examples
    --------
    >>> from biot_bd.models import Seen
    >>> Seen("chb-mit", None, "supervised").covers("chb-mit/07")
    True
    >>> Seen("chb-mit", ("chb-mit/01",), "supervised").covers("chb-mit/07")
    False
    """

    dataset: str
    subjects: tuple[str, ...] | None
    how: str

    def covers(self, subject: str) -> bool:
        """Return whether ``subject`` (its full name) was seen."""
        if self.subjects is None:
            return _dataset_of(subject) == self.dataset
        return subject in self.subjects

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return to_jsonable(asdict(self))


@dataclass(frozen=True)
class Provenance:
    """What a checkpoint was trained on, through all models that it started from.

    Parameters
    ----------
    source : str
        Where it comes from, for messages.
    trained_on : tuple of Seen
        Data sets and subjects.
    known : bool
        Whether ``trained_on`` is complete.  False: nobody recorded it, and the checkpoint is
        refused.
    recordings : tuple of SeenRecordings
        The recordings, told by their content; those of older models and of arrays are not known.

    See Also
    --------
    provenance_of : That of a checkpoint.
    check_clean : Refuse a model that saw the test subjects.

    Examples
    --------
    >>> from biot_bd.models import Provenance
    >>> found = Provenance("mine").extended(["chb-mit/01", "siena/PN00"])
    >>> found.saw(["chb-mit/01", "chb-mit/02"])
    ['chb-mit/01']
    >>> Provenance.from_dict(found.to_dict()) == found
    True
    """

    source: str
    trained_on: tuple[Seen, ...] = ()
    known: bool = True
    recordings: tuple[SeenRecordings, ...] = ()

    @property
    def tells_recordings(self) -> bool:
        """Whether of every subject recordings are known, so that another name hides none."""
        told = {subject for seen in self.recordings for subject, _ in seen.subjects}
        return self.known and all(
            seen.subjects is not None and told.issuperset(seen.subjects) for seen in self.trained_on
        )

    def saw_recording(self, digest: str) -> list[str]:
        """Return whose recording it was in training, sorted; empty where it was none.

        Parameters
        ----------
        digest : str
            Of :func:`biot_bd.io.recording_digest`.
        """
        return sorted({subject for seen in self.recordings for subject in seen.subjects_of(digest)})

    def cannot_tell(self, subjects: Iterable[Any], recordings_known: bool) -> list[str]:
        """Return those of ``subjects`` of whom neither a name nor a recording can tell, sorted.

        Parameters
        ----------
        subjects : iterable of str
            Full names, published ones, own ones or numbers.
        recordings_known : bool
            Whether their recordings are compared, too.

        Notes
        -----
        A number says nothing beside the names of another store, nor a name beside numbers: there,
        recordings alone can be compared, if both sides tell theirs.
        """
        told = {subject for seen in self.recordings for subject, _ in seen.subjects}
        private = {name for seen in self.trained_on for name in seen.subjects or () if not is_published(name)}
        found = []
        for name in sorted({str(subject) for subject in subjects}):
            others = {one for one in private if _is_beside(name, one)}
            if others and not (recordings_known and others <= told):
                found.append(name)
        return found

    def saw(self, subjects: Iterable[Any]) -> list[str]:
        """Return those of ``subjects`` that the checkpoint was trained on, sorted."""
        names = {str(subject) for subject in subjects}
        return sorted(name for name in names if any(seen.covers(name) for seen in self.trained_on))

    def extended(
        self,
        subjects: Iterable[Any],
        how: str = "supervised",
        source: str | None = None,
        recordings: Iterable[tuple[str, str]] = (),
    ) -> Provenance:
        """Return the provenance after training on further ``subjects`` (none: they are unknown,
        so it is too).

        Parameters
        ----------
        subjects : iterable of str
            Subjects of training and of validation: the selected epoch depends on both.
        how : str
            See :class:`Seen`.
        source : str, optional
            Name of the new model; None keeps this one's.
        recordings : iterable of (str, str)
            Subject and digest (:func:`biot_bd.io.recording_digest`) of their recordings, as far as
            they are known.
        """
        own = _group(subjects, how)
        new = [(subject, digest) for subject, digest in recordings if subject not in self.saw_recording(digest)]
        joined = self.joined(Provenance("", own, known=bool(own), recordings=(SeenRecordings.of(new),) if new else ()))
        return joined if source is None else replace(joined, source=source)

    def joined(self, other: Provenance) -> Provenance:
        """Return what this and ``other`` saw together; known only where both are."""
        more = tuple(seen for seen in other.trained_on if seen not in self.trained_on)
        recordings = tuple(seen for seen in other.recordings if seen not in self.recordings)
        return Provenance(self.source, self.trained_on + more, self.known and other.known, self.recordings + recordings)

    def without_names(
        self, source: str | None = None, published: Iterable[Seen] = (), names: Mapping[str, str] | None = None
    ) -> Provenance:
        """Return the same with numbers for subjects; salted digests of recordings stay.

        Names that publishers of open data sets gave, and entries of published checkpoints, stay.
        ``known`` becomes False where a subject of whom no recording is told loses the name, or a
        whole data set does: nobody could compare those any more.

        Parameters
        ----------
        source : str, optional
            Name of the model; None: ``"a model"``, as the own one may be a path.
        published : iterable of Seen
            Entries that stay as they are.
        names : mapping of str to str, optional
            What subjects are called instead, where that is settled already; all of them.

        See Also
        --------
        biot_bd.anonymous.PUBLISHED : The names that stay.

        Examples
        --------
        >>> from biot_bd.models import Provenance
        >>> seen = Provenance("Smith").extended(
        ...     ["clinic/Smith"], recordings=[("clinic/Smith", "0a" * 16)]
        ... )
        >>> told = seen.without_names()
        >>> told.source, told.known, told.trained_on[0].subjects[0][-12:]
        ('a model', True, '/subject-001')
        >>> [name[-12:] for name in told.saw_recording("0a" * 16)]
        ['/subject-001']
        """
        stay = set(published)
        private = [seen for seen in self.trained_on if seen not in stay]
        told = {subject for seen in self.recordings for subject, _ in seen.subjects}
        every = {*told, *(one for seen in private for one in seen.subjects or ())}
        given = names or {}
        # A bare name stands for the same subject with that of a data set before it.
        called = {one: given.get(one, given.get(one.rpartition("/")[2])) for one in every}
        new = numbered_subjects(shuffled(one for one, number in called.items() if number is None))
        names = {one: number or new[one] for one, number in called.items()}
        lost = {new for old, new in names.items() if old != new} - {names[one] for one in told}
        whole = any(seen.subjects is None for seen in private)
        trained_on = [seen for seen in self.trained_on if seen in stay]
        for seen in private:
            trained_on += _group((names[one] for one in seen.subjects or ()), _plain_word(seen.how))
        recordings = tuple(
            replace(seen, subjects=tuple(sorted((names[subject], digests) for subject, digests in seen.subjects)))
            for seen in self.recordings
        )
        known = self.known and not lost and not whole
        return Provenance(source or "a model", tuple(dict.fromkeys(trained_on)), known, recordings)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it; :meth:`from_dict` takes it back."""
        told = {"source": self.source, KEY: [seen.to_dict() for seen in self.trained_on], "known": self.known}
        return told | ({RECORDINGS: [seen.to_dict() for seen in self.recordings]} if self.recordings else {})

    @classmethod
    def from_dict(cls, data: Any, source: str | None = None) -> Provenance:
        """Read what :meth:`to_dict` wrote, or a sidecar: a mapping with the key ``"trained_on"``.

        Parameters
        ----------
        data : dict or list
            A mapping with ``"trained_on"``, or its list alone.
        source : str, optional
            Name for messages; None takes the one written down.

        Raises
        ------
        ValueError
            It is of another form; the message shows the right one.
        """
        if isinstance(data, list):
            data = {KEY: data}
        inner = data.get(KEY) if isinstance(data, Mapping) else None
        if isinstance(inner, Mapping):  # a record or a sidecar around to_dict()
            return cls.from_dict(inner, source)
        name = source or (str(data["source"]) if isinstance(data, Mapping) and "source" in data else "a checkpoint")
        if not isinstance(inner, list):
            raise ValueError(f"{name}: {_FORM}, found {_short(data)}")
        known = data.get("known", True)
        if not isinstance(known, bool):
            raise ValueError(f"{name}: 'known' must be true or false, found {known!r}")
        told = data.get(RECORDINGS, [])
        if not isinstance(told, list):
            raise ValueError(f"{name}: {RECORDINGS!r} must be a list, found {_short(told)}")
        try:
            recordings = tuple(map(SeenRecordings.from_dict, told))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        return cls(name, tuple(_seen_from(entry, name) for entry in inner), known, recordings)


_FORM = (
    'the record of training must be {"trained_on": [{"dataset": "chb-mit", "subjects": ["chb-mit/01"], '
    '"how": "supervised"}]} ("subjects": null for all of the data set)'
)


_WORDS = ("subjects", "persons")  # the second in records from before format 2 of saved pipelines


def _seen_from(entry: Any, name: str) -> Seen:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("dataset"), str) or not entry.keys() & _WORDS:
        raise ValueError(f"{name}: {_FORM}, found the entry {_short(entry)}")
    subjects = next(entry[word] for word in _WORDS if word in entry)
    if subjects is not None and not (isinstance(subjects, list) and all(isinstance(p, str) for p in subjects)):
        raise ValueError(
            f"{name}: 'subjects' of {entry['dataset']} must be a list of names or null, found {subjects!r}"
        )
    full = None if subjects is None else tuple(p if "/" in p else f"{entry['dataset']}/{p}" for p in subjects)
    return Seen(entry["dataset"], full, str(entry.get("how", "unknown")))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "..."


_HOWS = ("supervised", "unsupervised", "self-supervised")


def _plain_word(how: str) -> str:
    """Return how something was learnt if it is a usual word; free text may name anybody."""
    return how if how in _HOWS else "unknown"


def _dataset_of(subject: str) -> str:
    return subject.rpartition("/")[0] or subject


def _group(subjects: Iterable[Any], how: str) -> tuple[Seen, ...]:
    by_dataset: dict[str, set[str]] = {}
    for subject in subjects:
        by_dataset.setdefault(_dataset_of(str(subject)), set()).add(str(subject))
    return tuple(Seen(dataset, tuple(sorted(names)), how) for dataset, names in sorted(by_dataset.items()))


# --- where it comes from --------------------------------------------------------------------------


def sidecar_of(path: str | os.PathLike[str]) -> Path:
    """Return where the record of a file of weights (``<file>.json``), or of a folder, lies."""
    path = Path(path)
    return path / SIDECAR_IN_FOLDER if path.is_dir() else path.with_name(path.name + ".json")


# --- the check ------------------------------------------------------------------------------------


def check_clean(
    provenance: Provenance | None,
    test_subjects: Sequence[Any] | None,
    *,
    allow: bool = False,
    recordings_compared: bool = False,
) -> str | None:
    """Refuse a checkpoint that saw a subject who shall test it.

    Parameters
    ----------
    provenance : Provenance or None
        Of the checkpoint; None (no checkpoint) is clean.
    test_subjects : sequence of str or None
        Full names of the test subjects; None or empty where the data name no subjects.
    allow : bool
        Go on all the same; the text that is returned must then stand in every result.
    recordings_compared : bool
        The caller compares recordings by their content.  Where one side has numbers for names
        (``--anonymous``), nothing else can tell.

    Returns
    -------
    str or None
        None when clean, else what to write into results.

    Raises
    ------
    ContaminationError
        A test subject was seen, it is not known what was seen, or the subjects are unknown; not
        with ``allow``.

    See Also
    --------
    provenance_of : What a checkpoint was trained on.

    Examples
    --------
    >>> from biot_bd.models import Provenance, check_clean
    >>> mine = Provenance("mine").extended(["chb-mit/01"])
    >>> print(check_clean(mine, ["chb-mit/02"]))
    None
    >>> check_clean(mine, ["chb-mit/01", "chb-mit/02"])  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    biot_bd.exceptions.ContaminationError: mine was trained on chb-mit/01 of chb-mit ...
    """
    problem = None if provenance is None else _problem(provenance, test_subjects, recordings_compared)
    if problem is None:
        return None
    text, remedy = problem
    if not allow:
        raise ContaminationError(f"{text}; {remedy}")
    return f"contaminated: {text}"


def _problem(
    provenance: Provenance, test_subjects: Sequence[Any] | None, recordings_compared: bool
) -> tuple[str, str] | None:
    name = provenance.source
    accept = "or set allow_contaminated=True, which is then written into every result"
    subjects = [] if test_subjects is None else [str(subject) for subject in test_subjects]
    if not subjects:
        return (
            f"{name}: the data name no subjects, so nobody can tell whether it was trained on those who test it",
            f"give Windows, or groups=, {accept}",
        )
    seen = provenance.saw(subjects)
    if seen:
        sets = ", ".join(f"{s.dataset} ({s.how})" for s in provenance.trained_on if any(map(s.covers, seen)))
        return (
            f"{name} was trained on {some(seen, 12)} of {sets}, who are among the {len(set(subjects))} test subjects",
            f"take a checkpoint that did not see them, test on other subjects, {accept}",
        )
    if not provenance.known:
        where = f"its sidecar (<file>.json, or {SIDECAR_IN_FOLDER} in a folder)"
        if os.path.exists(name):
            where = str(sidecar_of(name))
        return (
            f"{name}: nothing tells what it was trained on",
            f'write that into {where} as {{"trained_on": [...]}} (see biot_bd.models.checkpoints.provenance), {accept}',
        )
    if untold := provenance.cannot_tell(subjects, recordings_compared):
        return untold_text(name, untold), f"prepare the recordings again, so that they are told by content, {accept}"
    return None


def untold_text(source: str, subjects: Sequence[str]) -> str:
    """Return what a message says of subjects of whom numbers hide whether they were seen."""
    return (
        f"{source}: nobody can tell whether it was trained on {some(subjects, 12)}, as subjects have numbers for names on one "
        "side (--anonymous), so that recordings alone could be compared, and those are not all told"
    )


def _is_beside(one: str, other: str) -> bool:
    """Return whether a name and a number, or numbers of two stores, say nothing of each other."""
    if is_published(one) or is_published(other) or not (is_anonymous(one) or is_anonymous(other)):
        return False
    return _dataset_of(one) != _dataset_of(other)


def canonical_name(subject: str) -> str:
    """Return a subject's name as the data sets here write it.

    Examples
    --------
    >>> canonical_name("chb-mit/chb21"), canonical_name("clinic/01")
    ('chb-mit/01', 'clinic/01')
    """
    match = _CHBMIT_CASE.fullmatch(subject)
    if match is None:
        return subject
    number = int(match[1])
    return f"chb-mit/{_SAME_CHILD.get(number, number):02d}"


def some(names: Sequence[str], most: int) -> str:
    """Join names for a message, at most so many of them."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
